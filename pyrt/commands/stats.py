# SPDX-License-Identifier: Apache-2.0
"""Show what running containers use: CPU, memory, network, disks"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pyrt.commands.flags import Flag, Options
from pyrt.commands.format import Format, format_flag
from pyrt.commands.sizes import binary_size, decimal_size
from pyrt.engine.samples import Sample, take_sample

if TYPE_CHECKING:
    from pyrt.container.container import Container
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "[OPTIONS] [CONTAINER...]"
FLAGS = (
    Flag("all", "a", help="Also those that do not run"),
    Flag("no-stream", help="Print one table and end"),
    Flag("no-trunc", help="Show ids in full: 64 digits, not 16"),
    format_flag(),
)
FIELDS = {
    "ID": "ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
    "Container": "CONTAINER",
}
TABLE = "table " + "\t".join(f"{{{{.{name}}}}}" for name in FIELDS if name != "Container")
INTERVAL_S = 1.0
UNKNOWN = "--"
_Samples = dict[str, Sample]


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print a table every second, in place on a terminal; ends when those that were named have."""
    format = Format(options.format or TABLE, FIELDS)
    named = [runtime.get(name) for name in arguments]
    width = 64 if options.no_trunc else 16
    before = await _measure(runtime.cgroup_parent, _wanted(runtime, named, all=options.all))
    while True:
        await asyncio.sleep(INTERVAL_S)
        runtime.poll_events()
        containers = _wanted(runtime, named, all=options.all)
        now = await _measure(runtime.cgroup_parent, containers)
        text = format.all([_row(one, width, before.get(one.id), now.get(one.id)) for one in containers])
        await session.out(_in_place(text) if session.tty[1] and not options.no_stream else text)
        if options.no_stream or (named and not now):
            return 0
        before = now


def _wanted(runtime: Runtime, named: list[Container], *, all: bool) -> list[Container]:
    listed = named or runtime.store.list()
    return [one for one in listed if one.state.running or ((all or named) and not one.leaving)]


async def _measure(parent: str, containers: list[Container]) -> _Samples:
    running = [(one.id, one.state.pid) for one in containers if one.state.running]

    def measure() -> _Samples:
        taken = {id: take_sample(parent, pid) for id, pid in running}
        return {id: sample for id, sample in taken.items() if sample is not None}

    return await asyncio.to_thread(measure)


def _row(container: Container, width: int, before: Sample | None, now: Sample | None) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(FIELDS, UNKNOWN)
    row |= {"ID": container.id[:width], "Container": container.id[:width], "Name": container.name or UNKNOWN}
    if now is None:
        return row
    if before is not None:
        row["CPUPerc"] = f"{cpu_percent(before, now):.2f}%"
    if now.memory_bytes is not None:
        row["MemUsage"] = f"{binary_size(now.memory_bytes)} / {binary_size(now.memory_limit_bytes)}"
        row["MemPerc"] = f"{100 * now.memory_bytes / now.memory_limit_bytes:.2f}%"
    if container.record.config.network != "host":  # else the counters are the host's
        row["NetIO"] = f"{decimal_size(now.received_bytes)} / {decimal_size(now.sent_bytes)}"
    row["BlockIO"] = f"{decimal_size(now.read_bytes)} / {decimal_size(now.written_bytes)}"
    row["PIDs"] = now.pids
    return row


def cpu_percent(before: Sample, now: Sample) -> float:
    """Of one CPU's time: two that are busy are 200."""
    return max(0.0, 100 * (now.cpu_ns - before.cpu_ns) / max(1, now.at_ns - before.at_ns))


def _in_place(text: str) -> str:
    """From the top of the screen, each line and then the screen below cleared: nothing flickers."""
    return "\x1b[H" + text.replace("\n", "\x1b[K\n") + "\x1b[J"
