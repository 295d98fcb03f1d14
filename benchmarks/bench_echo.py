# SPDX-License-Identifier: Apache-2.0
"""How long after a key is the character on the screen? One byte to a container's terminal and its echo back.

The container's own line discipline echoes, so what is measured is the way there and back, and no program of its.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.interleave import Comparison, Failed, Replay, Sample, compare
from benchmarks.runtimes import Runtime, runtimes
from tests.terminal import Terminal

pytestmark = pytest.mark.root

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "50"))
KEYS = 50  # a sample is the median of so many
CONTAINER = "pyrt-bench-echo"
PLAIN = "no container, only a terminal"
PROGRAM = ["/bin/sh", "-c", "stty -icanon; printf ready; exec cat >/dev/null"]  # a line that never ends is not cut off
NAMES = (PLAIN, "pyrt run -it", "pyrt attach", "docker run -it", "docker attach", "podman + conmon attach")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory, ratios: list[str]) -> Iterator[Comparison]:
    """Every contender's samples, taken in turn. Its table goes to the end of the output."""
    with contextlib.ExitStack() as closing:
        found = closing.enter_context(runtimes(tmp_path_factory.mktemp("echo")))
        plain = Runtime(environment=dict(os.environ))
        samples = (
            closing.enter_context(_typing(plain, PROGRAM)),
            closing.enter_context(_run(found["pyrt"])),
            closing.enter_context(_attach(found["pyrt"])),
            closing.enter_context(_run(found["docker"])),
            closing.enter_context(_attach(found["docker"])),
            closing.enter_context(_attach(found["podman + conmon"])),
        )
        result = compare("echo of one byte", dict(zip(NAMES, samples, strict=True)), rounds=ROUNDS)
    ratios += ["", *result.table(PLAIN, "docker attach")]
    yield result


@pytest.mark.benchmark(group="echo", timer=Replay.clock)
@pytest.mark.parametrize("name", NAMES)
def test_echo(benchmark: Any, comparison: Comparison, name: str) -> None:
    if name in comparison.missing:
        pytest.skip(f"{name}: {comparison.missing[name]}")
    samples = comparison.samples[name]
    benchmark.pedantic(Replay(samples), rounds=len(samples), iterations=1)


@contextlib.contextmanager
def _run(runtime: Runtime) -> Iterator[Sample]:
    """The terminal of a `run -it`."""
    with _typing(runtime, [] if runtime.missing else runtime.run("--rm", "-i", "-t", argv=PROGRAM)) as sample:
        yield sample


@contextlib.contextmanager
def _attach(runtime: Runtime) -> Iterator[Sample]:
    """The terminal of an `attach` to a container that was there before."""
    if runtime.missing:
        with _typing(runtime, []) as sample:
            yield sample
        return
    # it says that it is ready only when somebody types: an attached client sees only what comes after it
    program = [*PROGRAM[:2], "head -c 1 >/dev/null; " + PROGRAM[2]]
    runtime(*runtime.run("-d", "-i", "-t", "--name", CONTAINER, argv=program)[len(runtime.command) :])
    try:
        with _typing(runtime, [*runtime.command, "attach", CONTAINER], poke=b"\r") as sample:
            yield sample
    finally:
        runtime("rm", "-f", CONTAINER)


@contextlib.contextmanager
def _typing(runtime: Runtime, argv: list[str], *, poke: bytes = b"") -> Iterator[Sample]:
    if runtime.missing:
        yield _missing(runtime.missing)
        return
    with Terminal(argv, env=runtime.environment) as terminal:
        if poke:
            _until_raw(terminal)
            terminal.send(poke)
        terminal.expect(b"ready", seconds=30)

        def sample() -> float:
            return statistics.median(_key(terminal.fd) for _ in range(KEYS))

        sample()
        yield sample
        terminal.process.kill()


def _key(fd: int) -> float:
    begin = time.perf_counter()
    os.write(fd, b"x")
    echoed = os.read(fd, 1)
    seconds = time.perf_counter() - begin
    assert echoed == b"x"
    return seconds


def _until_raw(terminal: Terminal) -> None:
    """Wait until the client has taken its terminal: what is typed before is echoed by that."""
    before = terminal.modes()
    deadline = time.monotonic() + 30
    while terminal.modes() == before:
        assert time.monotonic() < deadline, "the client does not take its terminal"
        time.sleep(0.01)


def _missing(reason: str) -> Sample:
    def sample() -> float:
        raise Failed(reason)

    return sample
