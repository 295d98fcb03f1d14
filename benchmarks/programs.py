# SPDX-License-Identifier: Apache-2.0
"""The programs that the benchmarks bring along: the C floor and the clients, compiled for a run, and plain Python.

Floor and plain Python serve: they do one run for each line they get, as warm as the process they are compared with.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from benchmarks.interleave import Failed, Sample

HERE = Path(__file__).parent
FLOOR_PARTS = ("start", "init", "cgroup", "veth")
SHOWN = 100  # characters of an error


def build_floor(directory: Path) -> Path:
    """Compile the start floor; returns the program. Its init is linked as pyrt's own is: see setup.py."""
    sources = [HERE / f"floor_{part}.c" for part in FLOOR_PARTS]
    if musl := shutil.which("musl-gcc"):
        triplet = sysconfig.get_config_var("MULTIARCH")
        flags = ("-static", "-idirafter", "/usr/include", "-idirafter", f"/usr/include/{triplet}")
        return _compile(directory / "floor_start", sources, *flags, compiler=musl)
    return _compile(directory / "floor_start", sources, "-static")


def build_clients(directory: Path) -> Clients:
    """Compile what starts commands."""
    return Clients(_compile(directory / "clients", [HERE / "clients.c"]))


def _compile(program: Path, sources: Sequence[Path], *flags: str, compiler: str = "gcc") -> Path:
    subprocess.run([compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", *flags, "-o", program, *sources], check=True)
    return program


@dataclass(frozen=True, slots=True)
class Command:
    """A command line; `{}` in it becomes the number of the start. `missing` says why it cannot be run here."""

    argv: tuple[str | Path, ...] = ()
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Clients:
    """Starts commands from C and measures them until they were collected."""

    program: Path

    def run(self, command: Command, *, clients: int = 1, total: int = 1) -> list[float]:
        """Returns seconds: of the whole, then of each start. Raises Failed, with the command's first line of error."""
        if command.missing:
            raise Failed(command.missing)
        argv = [self.program, str(clients), str(total), *command.argv]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        if done.returncode:
            raise Failed(_first_line(done.stderr) or f"status {done.returncode}")
        return [float(line) / 1e6 for line in done.stdout.splitlines()]

    def whole(self, command: Command) -> Sample:
        """One run of a command to its end."""
        return lambda: self.run(command)[1]

    def each(self, command: Command, *, clients: int, total: int) -> Sample:
        """Seconds for each of `total` runs by `clients` at a time: the inverse of a rate."""
        return lambda: self.run(command, clients=clients, total=total)[0] / total


class Server:
    """A program that makes one run for each line it is sent, and answers each with "EXEC_US WHOLE_US"."""

    def __init__(self, *argv: str | Path) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace")
        self._error = ""

    def to_exec(self) -> float:
        return self._run()[0]

    def whole(self) -> float:
        return self._run()[1]

    def _run(self) -> list[float]:
        assert self._process.stdin and self._process.stdout and self._process.stderr
        if self._error:
            raise Failed(self._error)
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # its error says why
        line = self._process.stdout.readline()
        if not line:
            self._error = _first_line(self._process.stderr.read()) or "it ended"
            raise Failed(self._error)
        return [float(word) / 1e6 for word in line.split()]

    def close(self) -> None:
        """Wait for the program to take down what it has prepared."""
        streams = (self._process.stdin, self._process.stdout, self._process.stderr)
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()
        for stream in streams:
            if stream:
                stream.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def plain_python(rootfs: Path, scratch: Path, seccomp: Path) -> Server:
    return Server(sys.executable, "-S", HERE / "plain_python.py", rootfs, scratch, seccomp)


def popen(rootfs: Path) -> Sample:
    """A process by subprocess.Popen, in no container at all."""

    def sample() -> float:
        begin = time.perf_counter()
        subprocess.Popen([rootfs / "bin" / "true"], stdin=subprocess.DEVNULL).wait()
        return time.perf_counter() - begin

    return sample


def at_once(commands: Sequence[Sequence[str | Path]], *, total: int) -> Sample:
    """Seconds for each of `total` runs that these commands make among them."""

    def sample() -> float:
        null, pipe = subprocess.DEVNULL, subprocess.PIPE
        begin = time.perf_counter()
        processes = [subprocess.Popen(argv, stdout=null, stderr=pipe, text=True) for argv in commands]
        errors = [process.communicate()[1] for process in processes]
        seconds = time.perf_counter() - begin
        if any(process.returncode for process in processes):
            raise Failed(next((_first_line(error) for error in errors if error), "it failed"))
        return seconds / total

    return sample


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")[:SHOWN]
