# SPDX-License-Identifier: Apache-2.0
"""Room: whether the supervisor has descriptors for one thing more. Without them it could not even be told to stop.

Whoever comes first when they run short is refused: slots, which nobody waits for; then containers; then clients and
programs that come to one that runs. The last ones are for what must not fail: a line that a container writes, a daemon
that connects. Everything here is about this process, and thread-safe.
"""

from __future__ import annotations

from pyrt.core import descriptors
from pyrt.errors import PyrtError

RESERVE = 256  # that no start takes: exec, attach and logs go on working
LAST = 64  # that those do not take either
START = 16  # what a container holds while it is started; afterwards less than half, and one a port
LATER = 2  # what one that has not written anything opens when it does: the file of its log, and the index


def check_start(running: int) -> None:
    """Raise PyrtError when there are not enough for one container more beside `running` others."""
    if not _has(_reserve(), running):
        raise PyrtError(
            f"no room for one container more: the supervisor may have {descriptors.limit()} descriptors open, and "
            f"{running} containers need them; stop one, or raise the hard limit of open files for the daemon"
        )


def check_guest() -> None:
    """Raise PyrtError when there are not enough for one more client, or program in a container."""
    if descriptors.left() < min(LAST, descriptors.limit() // 16) + START:
        raise shortage()


def shortage() -> PyrtError:
    """Return the error of what cannot be done for want of descriptors."""
    return PyrtError(f"the supervisor has no descriptor left: it may have {descriptors.limit()} open; stop something")


def for_slots(running: int) -> bool:
    """Whether something may be prepared that nobody has asked for yet."""
    return _has(2 * _reserve(), running)


def _reserve() -> int:
    return min(RESERVE, descriptors.limit() // 4)


def _has(reserve: int, running: int) -> bool:
    return descriptors.left() >= reserve + START + LATER * running
