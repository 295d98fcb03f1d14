# SPDX-License-Identifier: Apache-2.0
"""How fast does a container's output move? The Broadcaster, the C floor and tee: 64 KiB writes, a log, one reader.

Writer and reader are the same C program for all, so the ratio is of what stands between them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.interleave import Comparison, Replay, compare
from pyrt.core import frames
from pyrt.core.broadcast import Broadcaster

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "15"))
MEGABYTES = int(os.environ.get("BENCH_MEGABYTES", "512"))
TOTAL_BYTES = MEGABYTES * 1_000_000
SEGMENT_BYTES, SEGMENTS = 10_000_000, 5  # the engine's default cap
ROOT = Path(__file__).parents[1]
NAMES = ("C floor", "pyrt", "pyrt, 3 readers more that do not read", "tee")


class Programs:
    """The C writer, reader and floor, and a directory for their logs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "floor_output"
        sources = [ROOT / "benchmarks" / "floor_output.c", ROOT / "csrc" / "frames.c"]
        subprocess.run(["gcc", "-O2", "-std=gnu11", f"-I{ROOT / 'csrc'}", "-o", self.path, *sources], check=True)

    def start(self, *arguments: object, stdin: Any = None, stdout: Any = None) -> subprocess.Popen[bytes]:
        return subprocess.Popen([self.path, *map(str, arguments)], stdin=stdin, stdout=stdout)

    @contextlib.contextmanager
    def log_directory(self) -> Iterator[Path]:
        path = self.directory / "log"
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path)


def finish(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        assert process.wait() == 0, process.args
        if process.stdout:
            process.stdout.close()


def run_floor(programs: Programs) -> float:
    ours, theirs = socket.socketpair()
    with programs.log_directory() as log:
        begin = time.perf_counter()
        with ours, theirs:
            writer = programs.start("write", TOTAL_BYTES, stdout=subprocess.PIPE)
            floor = programs.start("floor", log, SEGMENT_BYTES, SEGMENTS, stdin=writer.stdout, stdout=ours)
            reader = programs.start("read", TOTAL_BYTES, stdin=theirs)
        finish(writer, floor, reader)
        return time.perf_counter() - begin


def run_tee(programs: Programs) -> float:
    with programs.log_directory() as log:
        begin = time.perf_counter()
        writer = programs.start("write", TOTAL_BYTES, stdout=subprocess.PIPE)
        tee = subprocess.Popen(["tee", log / "log"], stdin=writer.stdout, stdout=subprocess.PIPE)
        reader = programs.start("read", TOTAL_BYTES, stdin=tee.stdout)
        assert tee.stdout
        tee.stdout.close()
        finish(writer, reader)
        tee.wait()
        return time.perf_counter() - begin


def run_pyrt(programs: Programs, stuck: int = 0) -> float:
    with programs.log_directory() as path, Broadcaster() as broadcaster, contextlib.ExitStack() as closing:
        directory = os.open(path, os.O_RDONLY)
        log = broadcaster.open_log(directory, max_size_bytes=SEGMENT_BYTES, max_files=SEGMENTS)
        os.close(directory)
        for _ in range(stuck):
            for end in socket.socketpair():
                closing.enter_context(end)
            log.add_reader(end.fileno())
        ours, theirs = socket.socketpair()
        begin = time.perf_counter()
        out, into = os.pipe()
        log.add_stream(out, frames.STDOUT)
        with ours, theirs:
            log.add_reader(ours.fileno(), guaranteed=True)
            writer = programs.start("write", TOTAL_BYTES, stdout=into)
            os.close(into)
            reader = programs.start("read", TOTAL_BYTES, stdin=theirs)
        log.finish()
        finish(writer, reader)
        return time.perf_counter() - begin


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory, ratios: list[str]) -> Comparison:
    """Every contender's samples, taken in turn. Its table goes to the end of the output."""
    programs = Programs(tmp_path_factory.mktemp("output"))
    found = compare(
        f"{MEGABYTES} MB of output",
        dict(
            zip(
                NAMES,
                (
                    lambda: run_floor(programs),
                    lambda: run_pyrt(programs),
                    lambda: run_pyrt(programs, stuck=3),
                    lambda: run_tee(programs),
                ),
                strict=True,
            )
        ),
        rounds=ROUNDS,
    )
    ratios += ["", *found.table("C floor", "tee")]
    return found


@pytest.mark.benchmark(group="output", timer=Replay.clock)
@pytest.mark.parametrize("name", NAMES)
def test_output(benchmark: Any, comparison: Comparison, name: str) -> None:
    samples = comparison.samples[name]
    benchmark.pedantic(Replay(samples), rounds=len(samples), iterations=1)
