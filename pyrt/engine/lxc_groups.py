# SPDX-License-Identifier: Apache-2.0
"""The cgroups that lxc-start makes, in every hierarchy there is: PARENT.lxc/ID/{monitor,payload}, and their removal.

The container's first process leaves them for pyrt's own group (pyrt.engine.cgroups) before its program runs, in the
hierarchies that pyrt uses: there limits hold and OOM kills are counted. In the others it stays in lxc's.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from pyrt.engine.cgroups import Cgroup
from pyrt.engine.hierarchies import Layout, all_mounts
from pyrt.errors import PyrtError

AGAIN_S = 0.005


def parent_name(layout: Layout) -> str:
    return f"{layout.parent}.lxc"


class LxcCgroup(Cgroup):
    """A container's groups, together with those that lxc-start made for it."""

    __slots__ = ()

    def remove(self, *, timeout_ms: int = 2000) -> None:
        super().remove(timeout_ms=timeout_ms)
        remove_groups(f"{parent_name(self._layout)}/{self.id}", timeout_ms=timeout_ms)


def remove_groups(path: str, *, timeout_ms: int) -> None:
    """Remove a group and all below it from every hierarchy; what is not there is no error.

    Waits for at most `timeout_ms` for the last process to leave, then raises PyrtError.
    """
    deadline = time.monotonic() + timeout_ms / 1000
    for mount in all_mounts(Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")):
        for directory, _, _ in os.walk(f"{mount}/{path}", topdown=False):
            while not _remove(directory):
                if time.monotonic() >= deadline:
                    raise PyrtError(f"cgroup {directory} cannot be removed: it still holds processes")
                time.sleep(AGAIN_S)


def _remove(directory: str) -> bool:
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise PyrtError(f"cgroup {directory} cannot be removed: {error.strerror}") from error
        return False
    return True
