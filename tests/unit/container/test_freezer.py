# SPDX-License-Identifier: Apache-2.0
"""On whose behalf a container stands still: the user's, those who hold it, and nobody's any more once it is to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pyrt.container.freezer import Freezer
from pyrt.errors import ConflictError, NotFoundError, PyrtError


class Kernel:
    """A cgroup that is frozen after `steps` attempts, the loop that is to make them, and what was said."""

    def __init__(self, steps: int = 1) -> None:
        self.steps = steps
        self.frozen = False
        self.said: list[object] = []
        self.due: list[tuple[float, Callable[[], None]]] = []
        fake: Any = self
        self.freezer = Freezer(fake, fake, self.said.append)

    def try_freeze(self) -> bool:
        self.steps -= 1
        self.frozen = self.steps <= 0
        return self.frozen

    def thaw(self) -> None:
        self.frozen = False

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Kernel:
        self.due.append((delay_s, callback))
        return self

    def cancel(self) -> None:
        self.due.clear()

    def turn(self) -> None:
        due, self.due = self.due, []
        for _, callback in due:
            callback()

    def done(self, error: PyrtError | None) -> None:
        self.said.append(error if error is None else (type(error), str(error)))


def test_pause_and_unpause() -> None:
    kernel = Kernel(steps=3)
    kernel.freezer.pause(kernel.done)
    assert not kernel.said and not kernel.freezer.paused, "nobody waits for the kernel"
    with pytest.raises(ConflictError, match="paused already"):
        kernel.freezer.pause(kernel.done)
    kernel.turn()
    kernel.turn()
    assert kernel.said == [True, None] and kernel.frozen, "told to everybody, then answered"
    with pytest.raises(ConflictError, match="paused already"):
        kernel.freezer.pause(kernel.done)
    kernel.freezer.unpause()
    assert kernel.said == [True, None, False] and not kernel.frozen
    with pytest.raises(ConflictError, match="not paused"):
        kernel.freezer.unpause()


def test_those_who_hold_it_and_the_user_do_not_know_of_each_other() -> None:
    kernel = Kernel()
    kernel.freezer.hold("commit", kernel.done)
    kernel.freezer.pause(kernel.done)
    kernel.freezer.hold("cp", kernel.done)
    kernel.freezer.release("commit")
    kernel.freezer.unpause()
    assert kernel.frozen, "one of them still reads"
    kernel.freezer.release("cp")
    kernel.freezer.release("cp")
    assert not kernel.frozen
    kernel.freezer.pause(kernel.done)
    kernel.freezer.hold("diff", kernel.done)
    kernel.freezer.release("diff")
    assert kernel.frozen and kernel.freezer.paused


def test_a_hold_given_up_before_it_was_there() -> None:
    kernel = Kernel(steps=3)
    kernel.freezer.hold("commit", kernel.done)
    kernel.freezer.release("commit")
    kernel.turn()
    assert not kernel.frozen and kernel.said == [(ConflictError, "the container is not held any more")]


def test_a_daemon_that_dies_holds_nothing_and_what_is_paused_stays_so() -> None:
    kernel = Kernel()
    kernel.freezer.hold("commit", kernel.done)
    kernel.freezer.release_all()
    assert not kernel.frozen
    kernel.freezer.pause(kernel.done)
    kernel.freezer.release_all()
    assert kernel.frozen and kernel.freezer.paused


def test_what_is_to_end_goes_on_whoever_wanted_it_frozen() -> None:
    kernel = Kernel(steps=2)
    kernel.freezer.hold("commit", kernel.done)
    kernel.freezer.thaw()
    assert kernel.said == [(ConflictError, "the container is being ended")] and not kernel.due
    kernel.freezer.pause(kernel.done)
    kernel.freezer.thaw()
    assert kernel.said[1:] == [True, None, False] and not kernel.frozen
    kernel.freezer.thaw()
    assert len(kernel.said) == 4


def test_the_end_comes_first() -> None:
    kernel = Kernel(steps=9)
    kernel.freezer.pause(kernel.done)
    kernel.freezer.end()
    assert kernel.said == [(NotFoundError, "the container is not running")] and not kernel.due


def test_what_cannot_be_frozen_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(steps=1000)
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    kernel.freezer.pause(kernel.done)
    kernel.freezer.hold("commit", kernel.done)
    now[0] += 10
    kernel.turn()
    text = "the container could not be frozen within 5 s"
    assert kernel.said == [(PyrtError, text)] * 2 and not kernel.frozen and not kernel.due
    kernel.steps = 0
    kernel.freezer.pause(kernel.done)
    kernel.freezer.unpause()
    assert not kernel.frozen, "the hold that failed counts for nothing"
