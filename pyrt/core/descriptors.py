# SPDX-License-Identifier: Apache-2.0
"""Descriptors: how many this process may have open, how many more it can open, and what its containers inherit.

Hosts start programs with a soft limit of 1,024, for those that still use select(); a parent of a thousand containers
needs more than that, and its containers should not see that it has.
"""

from __future__ import annotations

import contextlib
import os
import resource

MOST = 1 << 20  # what is worth asking for where the hard limit is astronomical

_handed_down: int | None = None  # the soft limit of programs that this process starts; None: it is our own


def raise_limit(handed_down: int | None = None) -> None:
    """Take as many as the hard limit allows (*process*).

    What `namespaces.prepare` starts from now on has the soft limit there was, or `handed_down` if it is given.
    """
    global _handed_down
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _handed_down is None or handed_down is not None:
        _handed_down = soft if handed_down is None else handed_down
    if soft < min(hard, MOST):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, MOST), hard))


def handed_down() -> int:
    """The soft limit of what this process starts for others."""
    return limit() if _handed_down is None else _handed_down


def hand_down(pid: int) -> None:
    """Give a child that has just been started the soft limit that was there before `raise_limit`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if handed_down() < soft:
        with contextlib.suppress(ProcessLookupError):  # it has ended already: its parent is about to hear of that
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (handed_down(), hard))


def limit() -> int:
    """How many this process may have open at once."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def left() -> int:
    """How many more this process can open: 3 µs from Linux 6.2 on, before that as long as it takes to list them."""
    return limit() - (os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd")) - 1)
