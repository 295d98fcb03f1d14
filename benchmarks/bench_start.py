# SPDX-License-Identifier: Apache-2.0
"""How long does a container take to start? pyrt, the C floor, and the other runtimes on the same root file system."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import contenders, engine_start
from benchmarks.interleave import Comparison, Failed, Replay, Sample, compare
from tests.harness import Pyrt, client_path
from tests.rootfs import busybox_tar

pytestmark = pytest.mark.root

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "30"))
REST_SECONDS = float(os.environ.get("BENCH_REST_MS", "0")) / 1e3
LIMITS = ["-m", str(contenders.MEMORY_BYTES), "--cpus", "1", "--pids-limit", str(contenders.PIDS)]
NAMES = (
    "floor, begin to exec",
    "floor + veth, begin to exec",
    "pyrt in process, begin to exec",
    "pyrt in process + veth, begin to exec",
    "floor, whole run",
    "pyrt run",
    "pyrt run --network none",
    "pyrt run --engine lxc --network none",
    "crun run",
    "runc run",
    "bwrap",
    "lxc-start",
)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory, ratios: list[str]) -> Iterator[Comparison]:
    """Every contender's samples, taken in turn. Its tables go to the end of the output."""
    directory = tmp_path_factory.mktemp("start")
    rootfs, scratch = directory / "rootfs", directory / "scratch"
    scratch.mkdir()
    rootfs.mkdir()
    tar = busybox_tar()
    subprocess.run(["tar", "-x", "-C", rootfs], input=tar, check=True)
    pyrt = _instance(tar)
    bridge = f"ptf{os.getpid() % 100000}"
    subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "set", bridge, "up"], check=True)
    try:
        with contenders.hugetlb_hierarchy(), contenders.lxc_leftovers_removed():
            found = compare(
                f"start, {'back to back' if not REST_SECONDS else f'{REST_SECONDS * 1e3:g} ms apart'}",
                _contenders(directory, rootfs, scratch, bridge, pyrt),
                rounds=ROUNDS,
                rest_seconds=REST_SECONDS,
            )
        ratios += ["", *found.table("floor, begin to exec", "crun run")]
        yield found
    finally:
        subprocess.run(["ip", "link", "delete", bridge], check=True)
        if pyrt:
            pyrt.close()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.benchmark(group="start", timer=Replay.clock)
def test_start(benchmark: Any, comparison: Comparison, name: str) -> None:
    if name in comparison.missing:
        pytest.skip(f"{name}: {comparison.missing[name]}")
    samples = comparison.samples[name]
    benchmark.pedantic(Replay(samples), rounds=len(samples), iterations=1)


def _instance(tar: bytes) -> Pyrt | None:
    client = client_path()
    if client is None:
        return None
    pyrt = Pyrt(client)
    try:
        pyrt.ok("import", "-", "bb", input=tar)
    except BaseException:
        print(pyrt.report())
        pyrt.close()
        raise
    return pyrt


def _contenders(directory: Path, rootfs: Path, scratch: Path, bridge: str, pyrt: Pyrt | None) -> dict[str, Sample]:
    program = contenders.build_floor(directory)
    samples = [
        contenders.floor(program, rootfs, scratch),
        contenders.floor(program, rootfs, scratch, "-v", bridge),
        lambda: engine_start.prepare_and_go(rootfs, scratch),
        lambda: engine_start.prepare_and_go(rootfs, scratch, bridge=bridge),
        contenders.floor(program, rootfs, scratch, figure="whole"),
        _pyrt(pyrt),
        _pyrt(pyrt, "--network", "none"),
        _pyrt(pyrt, "--engine", "lxc", "--network", "none"),
        contenders.oci("crun", rootfs, directory),
        contenders.oci("runc", rootfs, directory),
        contenders.bwrap(rootfs),
        contenders.lxc(rootfs, directory),
    ]
    return dict(zip(NAMES, samples, strict=True))


def _pyrt(pyrt: Pyrt | None, *flags: str) -> Sample:
    if pyrt is None:
        return _not_built
    options = ["--root", str(pyrt.root), "--run-dir", str(pyrt.run_dir)]
    return contenders.command([pyrt.client, *options, "run", "--rm", *LIMITS, *flags, "bb", "/bin/true"])


def _not_built() -> float:
    raise Failed("not built: run scripts/setup")
