# SPDX-License-Identifier: Apache-2.0
"""A hundred containers that write at once: is the total as fast as one alone, and does each get its share?

First only the Broadcaster, with a pipe and a log for each writer; then whole containers, started with `run -d`. All the
logs together keep more than the disk takes in that time: BENCH_SEGMENT_BYTES makes them smaller, one writer's too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.carriers import SEGMENTS, build_program, finish, open_directory
from benchmarks.interleave import Comparison, Replay, Sample, compare
from pyrt.core import frames
from pyrt.core.broadcast import Broadcaster
from tests.harness import Pyrt, start_instance
from tests.images import with_files
from tests.rootfs import busybox_tar

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "9"))
CROWD = int(os.environ.get("BENCH_CROWD", "100"))
MEGABYTES = int(os.environ.get("BENCH_CROWD_MEGABYTES", "2000"))
STEP_BYTES = 65536
SEGMENT_BYTES = int(os.environ.get("BENCH_SEGMENT_BYTES", "10000000"))  # the engine's default
NAMES = ("one pipe", "a pipe each", "one container", "a container each")


class Shares:
    """How much the luckiest and the unluckiest writer had written when the first was done, in each round."""

    def __init__(self) -> None:
        self.ratios: list[float] = []

    def add(self, written: list[int]) -> None:
        self.ratios.append(max(written) / max(1, min(written)))

    def line(self, what: str) -> str:
        rounds = self.ratios[1:]  # as with the times, the first is not counted
        return f"{what}: most / least written {statistics.median(rounds):.2f}, in the worst round {max(rounds):.2f}"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory, ratios: list[str]) -> Iterator[Comparison]:
    """Every contender's samples, taken in turn. Its table goes to the end of the output."""
    directory = tmp_path_factory.mktemp("crowd")
    program = build_program(directory, "floor_output", "-static")
    pipes, containers = Shares(), Shares()
    contenders = {
        "one pipe": _pipes(program, directory, 1, Shares()),
        "a pipe each": _pipes(program, directory, CROWD, pipes),
    }
    with contextlib.ExitStack() as closing:
        if os.geteuid() == 0:
            pyrt = closing.enter_context(_instance(program))
            contenders["one container"] = _containers(pyrt, directory, 1, Shares())
            contenders["a container each"] = _containers(pyrt, directory, CROWD, containers)
        found = compare(f"{MEGABYTES} MB, {CROWD} writers", contenders, rounds=ROUNDS)
    ratios += ["", *found.table("one pipe", "one container"), pipes.line("pipes")]
    ratios += [containers.line("containers")] if containers.ratios else []
    yield found


@pytest.mark.benchmark(group="crowd", timer=Replay.clock)
@pytest.mark.parametrize("name", NAMES)
def test_crowd(benchmark: Any, comparison: Comparison, name: str) -> None:
    if name not in comparison.samples:
        pytest.skip("containers need root")
    samples = comparison.samples[name]
    benchmark.pedantic(Replay(samples), rounds=len(samples), iterations=1)


def _pipes(program: Path, directory: Path, count: int, shares: Shares) -> Sample:
    """Seconds until all that `count` writers write together is in their logs."""
    each = MEGABYTES * 1_000_000 // count

    def sample() -> float:
        top = directory / "logs"
        with contextlib.ExitStack() as closing, Broadcaster() as broadcaster:
            closing.callback(shutil.rmtree, top)
            logs, writers = [], []
            held, gate = os.pipe()
            for number in range(count):
                (path := top / str(number)).mkdir(parents=True)
                with open_directory(path) as fd:
                    logs.append(broadcaster.open_log(fd, max_size_bytes=SEGMENT_BYTES, max_files=SEGMENTS))
                out, into = os.pipe()
                logs[-1].add_stream(out, frames.STDOUT)
                argv = [str(program), "write", str(each), str(STEP_BYTES)]
                writers.append(subprocess.Popen(argv, stdin=held, stdout=into))
                os.close(into)
            begin = time.perf_counter()
            os.close(held)
            os.close(gate)
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)  # the first of them
            shares.add([log.end_offset for log in logs])
            finish(*writers)
            while any(log.streams for log in logs):
                time.sleep(0.001)
            seconds = time.perf_counter() - begin
            assert all(log.end_offset > each for log in logs)
        return seconds

    return sample


@contextlib.contextmanager
def _instance(program: Path) -> Iterator[Pyrt]:
    pyrt = start_instance(pytest.skip)
    try:
        tar = with_files(busybox_tar(), {"bin/writer": (program.read_bytes(), 0o755)})
        pyrt.ok("import", "-", "bb", input=tar)
        yield pyrt
    finally:
        pyrt.close()


def _containers(pyrt: Pyrt, directory: Path, count: int, shares: Shares) -> Sample:
    """The same with a container for each writer; they wait for the end of one FIFO."""
    each = MEGABYTES * 1_000_000 // count
    cap = ["--log-opt", f"max-size={SEGMENT_BYTES}"]
    command = f"exec 3</gate/fifo; touch /gate/$HOSTNAME; writer write {each} {STEP_BYTES} <&3; touch /gate/done"

    def sample() -> float:
        gate = directory / "gate"
        gate.mkdir()
        os.mkfifo(gate / "fifo")
        held = os.open(gate / "fifo", os.O_RDWR)
        names = [pyrt.detached(*cap, "-v", f"{gate}:/gate", "bb", "sh", "-c", command) for _ in range(count)]
        try:
            while len(os.listdir(gate)) <= count:
                time.sleep(0.01)
            begin = time.perf_counter()
            os.close(held)
            while not (gate / "done").exists():
                time.sleep(0.002)
            shares.add([_written(pyrt, name) for name in names])
            pyrt.ok("wait", *names, timeout=120)
            seconds = time.perf_counter() - begin
            assert all(_written(pyrt, name) > each for name in names)
        finally:
            pyrt.ok("rm", "-f", *names, timeout=120)
            shutil.rmtree(gate)
        return seconds

    return sample


def _written(pyrt: Pyrt, name: str) -> int:
    """How far a container's log has come: its newest segment's name is the offset it begins at."""
    segments = sorted((pyrt.root / "containers" / name).glob("**/*.log"))
    return int(segments[-1].stem, 16) + segments[-1].stat().st_size if segments else 0
