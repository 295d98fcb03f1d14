# SPDX-License-Identifier: Apache-2.0
"""What can stand between a container that writes and those who read: each carries the same stream to a log and to them.

Writer and readers are the same C programs for all carriers, so a ratio is of what stands between them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import newcomer
from benchmarks.interleave import Failed, Sample
from pyrt.core import frames
from pyrt.core.broadcast import Broadcaster

SEGMENT_BYTES, SEGMENTS = 10_000_000, 5  # the engine's default cap
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Load:
    """What one container writes, and how many read it."""

    total_bytes: int
    step_bytes: int = 65536  # of each write
    readers: int = 1


class Carriers:
    """Makes samples: seconds from the writer's start until every reader has everything."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = build_program(directory, "floor_output")

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([self.path, *map(str, arguments)], **options)

    def floor(self, load: Load) -> Sample:
        """Nothing but the kernel's work, one blocking C process."""

        def sample() -> float:
            with self._log_directory() as log, self._sockets(load) as (ends, readers):
                begin = time.perf_counter()
                writer = self._writer(load, subprocess.PIPE)
                fds = [end.fileno() for end in ends]
                floor = self.start("floor", log, SEGMENT_BYTES, SEGMENTS, *fds, stdin=writer.stdout, pass_fds=fds)
                _close(ends)
                finish(writer, floor, *readers)
                return time.perf_counter() - begin

        return sample

    def pyrt(self, load: Load, *, stuck: int = 0) -> Sample:
        """The Broadcaster, in this process; `stuck` readers more never read."""

        def sample() -> float:
            with self._log_directory() as path, Broadcaster() as broadcaster, contextlib.ExitStack() as closing:
                with open_directory(path) as directory:
                    log = broadcaster.open_log(directory, max_size_bytes=SEGMENT_BYTES, max_files=SEGMENTS)
                for _ in range(stuck):
                    for end in socket.socketpair():
                        closing.enter_context(end)
                    log.add_reader(end.fileno())
                ends, readers = closing.enter_context(self._sockets(load))
                begin = time.perf_counter()
                out, into = os.pipe()
                log.add_stream(out, frames.STDOUT)
                for end in ends:
                    log.add_reader(end.fileno(), guaranteed=True)
                _close(ends)
                writer = self._writer(load, into)
                os.close(into)
                log.finish()
                finish(writer, *readers)
                return time.perf_counter() - begin

        return sample

    def newcomer(self, load: Load) -> Sample:
        """Pure Python as one would write it first, in a thread of this process."""

        def sample() -> float:
            with self._log_directory() as log, self._sockets(load) as (ends, readers):
                begin = time.perf_counter()
                writer = self._writer(load, subprocess.PIPE)
                assert writer.stdout
                source = writer.stdout.fileno()
                thread = threading.Thread(target=newcomer.broadcast, args=(source, log / "log", ends))
                thread.start()
                thread.join()
                _close(ends)
                finish(writer, *readers)
                return time.perf_counter() - begin

        return sample

    def tee(self, load: Load) -> Sample:
        """coreutils' tee, to a file without a cap and to pipes, without frames."""

        def sample() -> float:
            if not shutil.which("tee"):
                raise Failed("not installed")
            with self._log_directory() as log:
                pipes = [os.pipe() for _ in range(load.readers)]
                ins = [into for _, into in pipes]
                readers = [self.start("read", load.total_bytes, stdin=out) for out, _ in pipes]
                begin = time.perf_counter()
                writer = self._writer(load, subprocess.PIPE)
                targets = [str(log / "log"), *(f"/dev/fd/{into}" for into in ins[1:])]
                tee = subprocess.Popen(["tee", *targets], stdin=writer.stdout, stdout=ins[0], pass_fds=ins[1:])
                for fd in [fd for pair in pipes for fd in pair]:
                    os.close(fd)
                finish(writer, tee, *readers)
                return time.perf_counter() - begin

        return sample

    def _writer(self, load: Load, stdout: int) -> subprocess.Popen[bytes]:
        return self.start("write", load.total_bytes, load.step_bytes, stdin=subprocess.DEVNULL, stdout=stdout)

    @contextlib.contextmanager
    def _sockets(self, load: Load) -> Iterator[tuple[list[socket.socket], list[subprocess.Popen[bytes]]]]:
        """The ends to write to, and the running readers at the others."""
        ends, readers = [], []
        for _ in range(load.readers):
            ours, theirs = socket.socketpair()
            with theirs:
                readers.append(self.start("read", load.total_bytes, stdin=theirs))
            ends.append(ours)
        try:
            yield ends, readers
        finally:
            _close(ends)

    @contextlib.contextmanager
    def _log_directory(self) -> Iterator[Path]:
        path = self.directory / "log"
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path)


def build_program(directory: Path, name: str, *flags: str) -> Path:
    """Compile benchmarks/NAME.c with the frames it speaks; returns the program."""
    path = directory / name
    sources = [ROOT / "benchmarks" / f"{name}.c", ROOT / "csrc" / "frames.c"]
    subprocess.run(["gcc", "-O2", "-std=gnu11", *flags, f"-I{ROOT / 'csrc'}", "-o", path, *sources], check=True)
    return path


@contextlib.contextmanager
def open_directory(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def finish(*processes: subprocess.Popen[bytes]) -> None:
    """Wait for each; all must have done what they were to do."""
    for process in processes:
        if process.stdout:
            process.stdout.close()
    for process in processes:
        assert process.wait() == 0, process.args


def _close(ends: Sequence[socket.socket]) -> None:
    for end in ends:
        end.close()
