# SPDX-License-Identifier: Apache-2.0
"""The cgroups that lxc-start makes, in every hierarchy there is: PARENT.lxc-ID/{monitor,payload}, and their removal.

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


def group_name(layout: Layout, container_id: str) -> str:
    """The one group of a container's in the root of every hierarchy that all others of lxc-start's are in."""
    return f"{layout.parent}.lxc-{container_id}"


class LxcCgroup(Cgroup):
    """A container's groups, together with those that lxc-start made for it."""

    __slots__ = ()

    def entrances(self, *, born: bool) -> list[str]:
        own = super().entrances(born=False)
        others = [mount for mount in _mounts() if not any(path.startswith(f"{mount}/") for path in own)]
        paths = [f"{mount}/{group_name(self._layout, self.id)}/payload/tasks" for mount in others]
        return super().entrances(born=born) + [path for path in paths if os.path.exists(path)]

    def remove(self, *, timeout_ms: int = 2000) -> None:
        super().remove(timeout_ms=timeout_ms)
        name = group_name(self._layout, self.id)
        _remove_all([f"{mount}/{name}" for mount in _mounts()], timeout_ms=timeout_ms)


def sweep(layout: Layout) -> None:
    """Remove what an earlier supervisor left of every container: their processes died with it. Raises PyrtError."""
    prefix = group_name(layout, "")
    left = [f"{mount}/{name}" for mount in _mounts() for name in os.listdir(mount) if name.startswith(prefix)]
    _remove_all(left, timeout_ms=2000)


def _mounts() -> list[str]:
    return all_mounts(Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape"))


def _remove_all(groups: list[str], *, timeout_ms: int) -> None:
    """Remove groups and all below them; waits for at most `timeout_ms` for the last process to leave."""
    deadline = time.monotonic() + timeout_ms / 1000
    for group in groups:
        for directory, _, _ in os.walk(group, topdown=False):
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
