# SPDX-License-Identifier: Apache-2.0
"""How long does one more program in a running container take? `pyrt exec` and `runc exec` of /bin/true, whole."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks import contenders
from benchmarks.interleave import Comparison, Failed, Replay, Sample, compare
from tests.harness import Pyrt, client_path
from tests.rootfs import busybox_tar

pytestmark = pytest.mark.root

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "100"))
REST_SECONDS = float(os.environ.get("BENCH_REST_MS", "0")) / 1e3
LIMITS = ["-m", str(contenders.MEMORY_BYTES), "--cpus", "1", "--pids-limit", str(contenders.PIDS)]
NAMES = ("pyrt exec", "pyrt exec -t", "runc exec")
CONTAINER = "pyrt-bench-exec"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory, ratios: list[str]) -> Iterator[Comparison]:
    """Every contender's samples, taken in turn, each into a container of its own. The table goes to the end."""
    directory = tmp_path_factory.mktemp("exec")
    rootfs = directory / "rootfs"
    rootfs.mkdir()
    tar = busybox_tar()
    subprocess.run(["tar", "-x", "-C", rootfs], input=tar, check=True)
    with _pyrt(tar) as pyrt, _runc(rootfs, directory) as runc:
        found = compare(
            f"exec of /bin/true, {'back to back' if not REST_SECONDS else f'{REST_SECONDS * 1e3:g} ms apart'}",
            dict(zip(NAMES, (_exec(pyrt), _exec(pyrt, "-t"), runc), strict=True)),
            rounds=ROUNDS,
            rest_seconds=REST_SECONDS,
        )
    ratios += ["", *found.table("runc exec")]
    yield found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.benchmark(group="exec", timer=Replay.clock)
def test_exec(benchmark: Any, comparison: Comparison, name: str) -> None:
    if name in comparison.missing:
        pytest.skip(f"{name}: {comparison.missing[name]}")
    samples = comparison.samples[name]
    benchmark.pedantic(Replay(samples), rounds=len(samples), iterations=1)


@contextmanager
def _pyrt(tar: bytes) -> Iterator[Pyrt | None]:
    client = client_path()
    if client is None:
        yield None
        return
    pyrt = Pyrt(client)
    try:
        pyrt.ok("import", "-", "bb", input=tar)
        pyrt.detached("--name", CONTAINER, *LIMITS, "bb", "/bin/sleep", "9999")
        yield pyrt
    finally:
        pyrt.close()


def _exec(pyrt: Pyrt | None, *flags: str) -> Sample:
    if pyrt is None:
        return _missing("not built: run scripts/setup")
    options = ["--root", str(pyrt.root), "--run-dir", str(pyrt.run_dir)]
    return contenders.command([pyrt.client, *options, "exec", *flags, CONTAINER, "/bin/true"])


@contextmanager
def _runc(rootfs: Path, directory: Path) -> Iterator[Sample]:
    """A container of runc's that sleeps, and the sample of an `exec` into it."""
    bundle = directory / "runc"
    bundle.mkdir()
    config = contenders.bundle_config(rootfs)
    config["process"]["args"] = ["/bin/sleep", "9999"]
    (bundle / "config.json").write_text(json.dumps(config))
    base: list[str | Path] = ["runc", "--root", directory / "runc-state"]
    null = subprocess.DEVNULL
    try:
        run = [*base, "run", "-d", "--bundle", bundle, CONTAINER]
        begun = subprocess.run(run, stdin=null, stdout=null, stderr=null)
    except FileNotFoundError:
        yield _missing("not installed")
        return
    if begun.returncode:
        yield _missing(f"run -d: status {begun.returncode}")
        return
    try:
        yield contenders.command([*base, "exec", CONTAINER, "/bin/true"])
    finally:
        subprocess.run([*base, "delete", "-f", CONTAINER], stdin=null, stdout=null, stderr=null, check=True)


def _missing(reason: str) -> Sample:
    def sample() -> float:
        raise Failed(reason)

    return sample
