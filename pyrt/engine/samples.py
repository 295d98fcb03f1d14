# SPDX-License-Identifier: Apache-2.0
"""Sample: what a running container uses at one moment, from its cgroups, its network namespace and its processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pyrt.engine.groups import V2, find_groups, find_pids

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_HOST_MEMORY_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters since the container's start; `at_ns` is on the monotonic clock.

    None stands for what the kernel does not tell here. `read` and `written` are those of the processes that live.
    """

    at_ns: int
    cpu_ns: int
    memory_bytes: int | None
    memory_limit_bytes: int
    pids: int
    received_bytes: int
    sent_bytes: int
    read_bytes: int
    written_bytes: int


def take_sample(parent: str, pid: int) -> Sample | None:
    """Look at a container whose first process is `pid`; None when that has ended. Blocks for a moment.

    `parent` is the cgroup of the instance.
    """
    groups = find_groups(parent, pid)
    pids = find_pids(groups, pid)
    if not pids:
        return None
    received, sent = network_bytes(_read(f"/proc/{pid}/net/dev"))
    read, written = _io_bytes(pids)
    usage, limit = _memory(groups)
    return Sample(
        at_ns=time.monotonic_ns(),
        cpu_ns=_cpu_ns(groups, pids),
        memory_bytes=usage,
        memory_limit_bytes=min(limit or _HOST_MEMORY_BYTES, _HOST_MEMORY_BYTES),
        pids=len(pids),
        received_bytes=received,
        sent_bytes=sent,
        read_bytes=read,
        written_bytes=written,
    )


def network_bytes(text: str) -> tuple[int, int]:
    """Return what was received and sent, from the text of a /proc/PID/net/dev, by all interfaces but the loopback."""
    received = sent = 0
    for line in text.splitlines():
        name, colon, counters = line.partition(":")
        if colon and name.strip() != "lo":
            fields = counters.split()
            received += int(fields[0])
            sent += int(fields[8])
    return received, sent


def _cpu_ns(groups: dict[str, str], pids: Iterable[int]) -> int:
    if V2 in groups and (microseconds := named_number(_read(f"{groups[V2]}/cpu.stat"), "usage_usec")) is not None:
        return microseconds * 1000
    if "cpuacct" in groups and (text := _read(f"{groups['cpuacct']}/cpuacct.usage")):
        return int(text)
    total = 0
    for pid in pids:  # without a group: of the processes that live, and the children they have waited for
        fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        total += sum(map(int, fields[11:15])) * _TICK_NS
    return total


def _memory(groups: dict[str, str]) -> tuple[int | None, int | None]:
    """Return what is used, without what the kernel can drop at any time, and the limit."""
    if "memory" in groups:
        group, names = groups["memory"], ("memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file")
    elif V2 in groups:
        group, names = groups[V2], ("memory.current", "memory.max", "inactive_file")
    else:
        return None, None
    usage, limit = _read(f"{group}/{names[0]}").strip(), _read(f"{group}/{names[1]}").strip()
    if not usage:
        return None, None
    droppable = named_number(_read(f"{group}/memory.stat"), names[2]) or 0
    return max(0, int(usage) - droppable), int(limit) if limit.isdigit() else None


def _io_bytes(pids: Iterable[int]) -> tuple[int, int]:
    read = written = 0
    for pid in pids:
        text = _read(f"/proc/{pid}/io")
        read += named_number(text, "read_bytes:") or 0
        written += named_number(text, "write_bytes:") or 0
    return read, written


def named_number(text: str, name: str) -> int | None:
    """Return the number after `name` in a text of "name number" lines."""
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None


def _read(path: str) -> str:
    """The text of a file of the kernel's, "" where there is none, or no more."""
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""
