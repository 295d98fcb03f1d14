# SPDX-License-Identifier: Apache-2.0
"""The supervisor's loop: timers in order, descriptors that come and go meanwhile, callbacks that fail."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pyrt.container.loop import READ, WRITE, Loop


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def pipes() -> Iterator[list[tuple[int, int]]]:
    made = [os.pipe() for _ in range(3)]
    yield made
    for pair in made:
        for fd in pair:
            os.close(fd)


def test_timers_come_in_order_of_time_and_then_of_setting(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_later(0.02, lambda: seen.append("last"))
    loop.call_later(0.02, loop.stop)
    for name in "abc":
        loop.call_later(0.0, lambda name=name: seen.append(name))  # type: ignore[misc]
    loop.run()
    assert seen == ["a", "b", "c", "last"]


def test_a_cancelled_timer_does_not_come(loop: Loop) -> None:
    seen: list[str] = []
    first = loop.call_later(0.001, lambda: seen.append("first"))
    second = loop.call_later(0.001, lambda: seen.append("second"))
    loop.call_later(0.0, second.cancel)
    loop.call_later(0.002, loop.stop)
    first.cancel()
    first.cancel()
    loop.run()
    assert seen == []


def test_a_timer_set_by_a_timer(loop: Loop) -> None:
    seen: list[int] = []

    def again() -> None:
        seen.append(len(seen))
        loop.call_later(0, loop.stop if len(seen) == 5 else again)

    loop.call_later(0, again)
    loop.run()
    assert seen == [0, 1, 2, 3, 4]


def test_who_is_unwatched_in_a_round_is_not_called_in_it(loop: Loop, pipes: list[tuple[int, int]]) -> None:
    """Whichever of the two comes first takes the other out."""
    seen: list[int] = []

    def take(mine: int, other: int) -> None:
        seen.append(mine)
        loop.unwatch(other)
        loop.call_later(0.01, loop.stop)
        loop.unwatch(mine)

    (a, into_a), (b, into_b), _ = pipes
    loop.watch(a, READ, lambda: take(a, b))
    loop.watch(b, READ, lambda: take(b, a))
    os.write(into_a, b"x")
    os.write(into_b, b"x")
    loop.run()
    assert len(seen) == 1


def test_a_callback_that_raises_costs_nobody_else_anything(
    loop: Loop, pipes: list[tuple[int, int]], caplog: pytest.LogCaptureFixture
) -> None:
    (a, into_a), (b, into_b), _ = pipes

    def fail() -> None:
        raise ZeroDivisionError

    def bad() -> None:
        os.read(a, 1)
        fail()

    def good() -> None:
        os.read(b, 1)
        loop.call_later(0, fail)
        loop.call_later(0.001, loop.stop)

    loop.watch(a, READ, bad)
    loop.watch(b, READ, good)
    os.write(into_a, b"x")
    os.write(into_b, b"x")
    loop.run()
    assert len(caplog.records) == 2 and all(record.exc_info for record in caplog.records)


def test_watching_again_changes_what_is_waited_for(loop: Loop, pipes: list[tuple[int, int]]) -> None:
    _, into = pipes[0]
    seen: list[str] = []

    def writable() -> None:
        seen.append("write")
        loop.stop()

    loop.watch(into, READ, lambda: seen.append("read"))
    loop.watch(into, WRITE, writable)
    loop.run()
    assert seen == ["write"]


def test_a_hang_up_is_called_too_and_unwatching_twice_is_harmless(loop: Loop, pipes: list[tuple[int, int]]) -> None:
    out, into = os.pipe()
    os.close(into)
    loop.watch(out, READ, loop.stop)
    loop.run()
    loop2 = Loop()
    loop2.unwatch(out)
    os.close(out)
    loop2.unwatch(out)
