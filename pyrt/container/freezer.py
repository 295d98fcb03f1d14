# SPDX-License-Identifier: Apache-2.0
"""Freezer: whether a container's processes are stopped where they are, and on whose behalf."""

from __future__ import annotations

import time
from collections.abc import Callable

from pyrt.container.loop import Loop, Timer
from pyrt.engine.cgroups import Cgroup
from pyrt.errors import ConflictError, NotFoundError, PyrtError

STEP_S = 0.002
DEADLINE_S = 5.0  # a process that waits for a dead disk cannot be frozen, nor anything else

Done = Callable[[PyrtError | None], None]


class Freezer:
    """Freezes a container while a user wants it paused, or somebody who reads its files holds it.

    Used in the supervisor's loop, which never waits for the kernel here: `done` is called when all processes stand
    still, or with the reason why they do not. on_paused(bool) is called when what the user wanted has changed.
    """

    def __init__(self, loop: Loop, cgroup: Cgroup, on_paused: Callable[[bool], None]) -> None:
        self.paused = False
        self._loop = loop
        self._cgroup = cgroup
        self._on_paused = on_paused
        self._holds: set[str] = set()
        self._pending: list[tuple[str, Done]] = []  # whose freezing is under way; "" is the user's
        self._frozen = False
        self._deadline = 0.0
        self._timer: Timer | None = None

    def pause(self, done: Done) -> None:
        """Freeze it until `unpause`. Raises ConflictError when it is paused."""
        if self.paused or any(holder == "" for holder, _ in self._pending):
            raise ConflictError("the container is paused already")
        self._freeze("", done)

    def unpause(self) -> None:
        """Raises ConflictError when it is not paused."""
        if not self.paused:
            raise ConflictError("the container is not paused")
        self._set_paused(False)
        self._thaw_unless_wanted()

    def hold(self, holder: str, done: Done) -> None:
        """Freeze it until `release` by this holder, paused or not."""
        self._holds.add(holder)
        self._freeze(holder, done)

    def release(self, holder: str) -> None:
        """Undo `hold`, however far it has got. Harmless for one that holds nothing."""
        self._holds.discard(holder)
        self._thaw_unless_wanted()

    def release_all(self) -> None:
        """Whoever held it has died."""
        self._holds.clear()
        self._thaw_unless_wanted()

    def thaw(self) -> None:
        """Let it go on whatever anybody wanted: it has been told to end, and a frozen process cannot."""
        if not (self.paused or self._holds or self._pending):
            return
        self._holds.clear()
        self._thaw(ConflictError("the container is being ended"))
        self._set_paused(False)

    def end(self) -> None:
        """The container has ended."""
        self._holds.clear()
        self.paused = False
        if self._frozen or self._pending:
            self._thaw(NotFoundError("the container is not running"))

    def _freeze(self, holder: str, done: Done) -> None:
        self._pending.append((holder, done))
        if self._timer is None:
            self._deadline = time.monotonic() + DEADLINE_S
            self._step()

    def _step(self) -> None:
        self._timer = None
        try:
            self._frozen = self._frozen or self._cgroup.try_freeze()
        except (OSError, PyrtError) as error:
            self._give_up(PyrtError(str(error)))
            return
        if self._frozen:
            pending, self._pending = self._pending, []
            for holder, done in pending:
                if holder == "":
                    self._set_paused(True)
                done(None)
        elif time.monotonic() < self._deadline:
            self._timer = self._loop.call_later(STEP_S, self._step)
        else:
            self._give_up(PyrtError(f"the container could not be frozen within {DEADLINE_S:g} s"))

    def _give_up(self, error: PyrtError) -> None:
        """Half frozen is worse than running."""
        self._holds.difference_update(holder for holder, _ in self._pending)
        self._thaw(error)

    def _thaw_unless_wanted(self) -> None:
        user_waits = any(holder == "" for holder, _ in self._pending)
        if not (self.paused or self._holds or user_waits):
            self._thaw(ConflictError("the container is not held any more"))

    def _thaw(self, reason: PyrtError) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._frozen = False
        self._cgroup.thaw()
        pending, self._pending = self._pending, []
        for _, done in pending:
            done(reason)

    def _set_paused(self, paused: bool) -> None:
        if self.paused != paused:
            self.paused = paused
            self._on_paused(paused)
