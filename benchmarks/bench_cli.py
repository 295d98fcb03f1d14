# SPDX-License-Identifier: Apache-2.0
"""How long does a command take that only shows something? Whole commands, beside docker's, and with many containers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import contenders
from benchmarks.interleave import Comparison, Failed, Replay, Sample, compare
from tests.harness import Pyrt, client_path
from tests.rootfs import busybox_tar

pytestmark = pytest.mark.root

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "30"))
MANY = 500
NAMES = (
    "true",
    "pyrt version",
    "pyrt ps",
    "pyrt inspect",
    f"pyrt ps -a, {MANY} containers",
    f"pyrt ps -a --format, {MANY} containers",
    f"pyrt inspect, {MANY} containers",
    "docker version",
    "docker ps",
)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory, ratios: list[str]) -> Iterator[Comparison]:
    """Every contender's samples, taken in turn. Its tables go to the end of the output."""
    client = client_path()
    if client is None:
        pytest.skip("not built: run scripts/setup")
    few, many = Pyrt(client), Pyrt(client)
    try:
        for pyrt in (few, many):
            pyrt.ok("import", "-", "bb", input=busybox_tar())
        for number in range(MANY):
            many.ok("create", "--name", f"c{number}", "bb", "sleep", "60")
        with contenders.dockerd(tmp_path_factory.mktemp("docker")) as address:
            found = compare("commands that show", _contenders(few, many, address), rounds=ROUNDS)
        ratios += ["", *found.table("docker version", "pyrt ps")]
        yield found
    finally:
        few.close()
        many.close()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.benchmark(group="cli", timer=Replay.clock)
def test_cli(benchmark: Any, comparison: Comparison, name: str) -> None:
    if name in comparison.missing:
        pytest.skip(f"{name}: {comparison.missing[name]}")
    samples = comparison.samples[name]
    benchmark.pedantic(Replay(samples), rounds=len(samples), iterations=1)


def _contenders(few: Pyrt, many: Pyrt, address: str | None) -> dict[str, Sample]:
    samples = [
        contenders.command(["/bin/true"]),
        _pyrt(few, "version"),
        _pyrt(few, "ps"),
        _pyrt(few, "inspect", "bb"),
        _pyrt(many, "ps", "-a"),
        _pyrt(many, "ps", "-a", "--format", "{{.ID}} {{.Names}}"),
        _pyrt(many, "inspect", "c77"),
        _docker(address, "version"),
        _docker(address, "ps"),
    ]
    return dict(zip(NAMES, samples, strict=True))


def _pyrt(pyrt: Pyrt, *words: str) -> Sample:
    return contenders.command([pyrt.client, "--root", str(pyrt.root), "--run-dir", str(pyrt.run_dir), *words])


def _docker(address: str | None, verb: str) -> Sample:
    if address is None:
        return _no_docker
    return contenders.command(["docker", "-H", address, verb])


def _no_docker() -> float:
    raise Failed("no dockerd here")
