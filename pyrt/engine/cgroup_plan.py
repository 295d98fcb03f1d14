# SPDX-License-Identifier: Apache-2.0
"""What has to be made, written and joined for a container's cgroup, as the bytes that csrc/cgroup.h describes.

Worked out once per Layout and Limits, with a mark where the container's id goes: making the plan of one container is
then one bytes.replace. Also says what a machine cannot enforce, and puts the step of a plan that failed into words.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass

from pyrt.engine.hierarchies import CONFINED, Layout
from pyrt.engine.limits import Limits
from pyrt.errors import PyrtError, StartError

ID = b"\1"  # stands for the id: no path has it
LIMITING = ("memory", "cpu", "pids")


@dataclass(frozen=True, slots=True)
class Plan:
    """The container's directories and the bytes that make and join them, for one combination of Limits and devices."""

    create: bytes
    join: bytes
    warnings: tuple[str, ...]
    bpf: bool


def check(layout: Layout, limits: Limits, *, confine_devices: bool = True) -> tuple[str, ...]:
    """Return a warning for each thing enforced only in part; raise PyrtError for a limit that cannot be enforced."""
    for controller in sorted(limits.controllers()):
        if controller not in layout.groups:
            reason = layout.missing.get(controller, "it is not mounted")
            raise PyrtError(f"the {controller} limit cannot be enforced: no {controller} cgroup here ({reason})")
    warnings = []
    if limits.memory_bytes and not layout.swap and limits.total_bytes >= 0:
        if limits.memory_swap_bytes:
            raise PyrtError("--memory-swap cannot be enforced: this kernel does not account for swap (swapaccount=1)")
        warnings.append("this kernel does not account for swap: the memory limit is one of memory alone")
    if confine_devices and "devices" not in layout.groups and layout.v2 is None:
        reason = layout.missing.get("devices", "it is not mounted")
        warnings.append(f"access to devices is not restricted: no devices cgroup here ({reason})")
    return tuple(warnings)


@functools.lru_cache(maxsize=64)
def make(layout: Layout, limits: Limits, confine_devices: bool, spare: bool = False) -> Plan:
    """Work out a container's groups. `spare`: also those it has no use for before it gets limits (`limiting`)."""
    warnings = check(layout, limits, confine_devices=confine_devices)
    controllers = _controllers(layout) | limits.controllers()
    if spare:
        controllers |= layout.groups.keys() & LIMITING
    # The v2 group first: cgroup.kill there must reach whatever else fails.
    first = [layout.v2] if layout.v2 else []
    groups = dict.fromkeys([*first, *(layout.groups[name] for name in sorted(controllers))])
    create = [f"d{group}/\1" for group in groups] + _writes(layout, limits)
    join = [f"j{group}/\1/cgroup.procs" for group in groups]
    on_v1 = "devices" in layout.groups
    if confine_devices and on_v1:
        join.append(f"j{layout.groups['devices']}/{CONFINED}/cgroup.procs")
    return Plan(encode(create), encode(join), warnings, confine_devices and not on_v1 and layout.v2 is not None)


@functools.lru_cache(maxsize=64)
def limiting(layout: Layout, limits: Limits) -> bytes:
    """Return the bytes that write limits into groups which are there."""
    return encode(_writes(layout, limits))


def _writes(layout: Layout, limits: Limits) -> list[str]:
    records = []
    for controller in LIMITING:
        group = layout.groups.get(controller)
        for name, value in limits.files(controller, v2=controller in layout.on_v2, swap=layout.swap):
            records += [f"w{group}/\1/{name}", f"={value}"]
    return records


def _controllers(layout: Layout) -> frozenset[str]:
    """Return what every container gets a group of, limited or not: to count OOM kills, measure, freeze and kill."""
    always = {"memory"}
    if layout.v2 is None:  # the v2 tree alone tells the CPU time, freezes and kills, whatever controllers it has
        always |= {"cpuacct", "freezer"}
    elif not layout.freeze:
        always.add("freezer")
    return frozenset(always & layout.groups.keys())


def encode(records: list[str]) -> bytes:
    return b"".join(os.fsencode(record) + b"\0" for record in records)


def record_at(plan: bytes, step: int) -> str:
    records = plan.split(b"\0")
    return os.fsdecode(records[step]) if 0 <= step < len(records) else "?"


def failure(plan: bytes, step: int, error: int) -> StartError:
    """Turn the step that failed into words: which file, and what was to be written to it."""
    record = record_at(plan, step)
    if not record.startswith("="):
        return StartError("cgroup", error, record[1:])
    files = [os.fsdecode(other) for other in plan.split(b"\0")[:step] if other.startswith(b"w")]
    return StartError("cgroup", error, f"{record[1:]!r} to {files[-1][1:]}")
