# SPDX-License-Identifier: Apache-2.0
"""Where the kernel keeps a running container: its cgroups, as its first process tells them, and the processes in there.

For whoever only looks (top, stats), and did not make the groups. It does not matter which engine did.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

from pyrt.engine.hierarchies import CONFINED, Mounts, read_mounts

V2 = ""  # the key of the v2 tree among the controllers of v1


@functools.cache
def _mounts() -> Mounts:
    return read_mounts(Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape"))


def find_groups(parent: str, pid: int) -> dict[str, str]:
    """Return the directories of a container's own groups by controller, and under V2 the one in the v2 tree.

    `parent` is the instance's group, `pid` the container's first process. Empty where that has ended, or where there
    are no cgroups.
    """
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text("utf-8", "surrogateescape")
    except OSError:
        return {}
    return parse_groups(text, parent, _mounts())


def parse_groups(text: str, parent: str, mounts: Mounts) -> dict[str, str]:
    """Read a /proc/PID/cgroup; the process may be in a group below the container's, which is not named after it."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        above, _, below = path.partition(f"/{parent}/")
        name = below.partition("/")[0]
        if name in ("", CONFINED):
            continue
        for controller in controllers.split(","):
            mount = mounts.v2 if controller == V2 else mounts.v1.get(controller)
            if mount is not None:
                found[controller] = f"{mount}{above}/{parent}/{name}"
    return found


def find_pids(groups: dict[str, str], pid: int) -> list[int]:
    """Return the processes of a container, in order: those in its groups, or without any those in its PID namespace."""
    group = next((groups[name] for name in (V2, "freezer", "memory", "cpuacct", "pids") if name in groups), None)
    if group is None:
        return _pids_of_namespace(pid)
    found: set[int] = set()
    for directory, _, _ in os.walk(group):
        try:
            found.update(map(int, Path(directory, "cgroup.procs").read_text().split()))
        except OSError:  # removed meanwhile, or a threaded group, whose processes its parent lists
            continue
    return sorted(found - {0})  # 0: one of a PID namespace that is not ours


def _pids_of_namespace(pid: int) -> list[int]:
    found = []
    try:
        wanted = os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.readlink(f"/proc/{name}/ns/pid") == wanted:
                    found.append(int(name))
            except OSError:
                continue
    return sorted(found)
