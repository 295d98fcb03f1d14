# SPDX-License-Identifier: Apache-2.0
"""How long do the last lines of a 1 GiB log take, and those of its last moment? Whole commands.

The log lies in 64 files or in one, and its container runs or has ended; beside that a command that reads no log, and
`tail` of the same bytes, which knows no streams and no times.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import contenders, programs
from benchmarks.interleave import Comparison, Replay, compare
from benchmarks.programs import Command
from tests.harness import Pyrt, client_path
from tests.processes import wait_until
from tests.rootfs import busybox_tar

pytestmark = pytest.mark.root

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "30"))
SIZE = int(os.environ.get("BENCH_LOG_BYTES", str(1 << 30)))
GOAL_S = 0.020
LINE = "x" * 99
LAYOUTS = {"64 files": ("16m", "70"), "one file": ("2g", "1")}
WRITE = f"yes {LINE} | head -c {SIZE}; sleep 1; echo; echo the last line"
SHOWN = ("logs --tail 10", "logs --since", "logs -t --tail 10", "logs --format json --tail 10")
NAMES = (
    "true",
    "pyrt version",
    "tail -n 10 of a file",
    *(f"{shown}, {layout}, {state}" for layout in LAYOUTS for state in ("running", "ended") for shown in SHOWN),
)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory, ratios: list[str]) -> Iterator[Comparison]:
    """Every contender's samples, taken in turn. Its table goes to the end of the output."""
    client = client_path()
    if client is None:
        pytest.skip("not built: run scripts/setup")
    pyrt = Pyrt(client)
    try:
        pyrt.ok("import", "-", "bb", input=busybox_tar())
        with tempfile.NamedTemporaryFile() as file:
            for _ in range(SIZE // (len(LINE) + 1) // 100_000):
                file.write(f"{LINE}\n".encode() * 100_000)
            file.flush()
            clients = programs.build_clients(tmp_path_factory.mktemp("clients"))
            commands = [contenders.installed("/bin/true"), contenders.pyrt(pyrt, "version")]
            commands.append(contenders.installed("tail", "-n", "10", file.name))
            for size, files in LAYOUTS.values():
                for script in (f"{WRITE}; sleep 100000", WRITE):
                    commands += _contenders(pyrt, _write(pyrt, script, size, files))
            samples = {name: clients.whole(command) for name, command in zip(NAMES, commands, strict=True)}
            found = compare("1 GiB of log", samples, rounds=ROUNDS)
        ratios += ["", *found.table("pyrt version")]
        yield found
    finally:
        pyrt.close()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.benchmark(group="logs", timer=Replay.clock)
def test_logs(benchmark: Any, comparison: Comparison, name: str) -> None:
    if name in comparison.missing:
        pytest.fail(f"{name}: {comparison.missing[name]}")
    samples = comparison.samples[name]
    benchmark.pedantic(Replay(samples), rounds=len(samples), iterations=1)
    benchmark.extra_info["within the goal"] = sorted(samples)[len(samples) // 2] <= GOAL_S


def _write(pyrt: Pyrt, script: str, size: str, files: str) -> str:
    options = ("--log-opt", f"max-size={size}", "--log-opt", f"max-file={files}")
    identifier = pyrt.detached(*options, "bb", "sh", "-c", script)
    wait_until(lambda: pyrt.ok("logs", "--tail", "1", identifier).text == "the last line", seconds=300, what="its log")
    written = sum(path.stat().st_size for path in Path(pyrt.root, "containers", identifier, "log").glob("*.log"))
    assert written > SIZE
    return identifier


def _contenders(pyrt: Pyrt, identifier: str) -> list[Command]:
    moment = pyrt.ok("logs", "-t", "--tail", "1", identifier).text.split()[0]
    options = (("--tail", "10"), ("--since", moment), ("-t", "--tail", "10"), ("--format", "json", "--tail", "10"))
    return [contenders.pyrt(pyrt, "logs", *words, identifier) for words in options]
