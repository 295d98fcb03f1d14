# SPDX-License-Identifier: Apache-2.0
"""Show the processes of a running container"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pyrt.commands.flags import Options
from pyrt.commands.table import table
from pyrt.engine.groups import find_groups, find_pids
from pyrt.errors import ConflictError

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "CONTAINER"
MINIMUM = MAXIMUM = 1
HEADINGS = ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")
_TICKS = os.sysconf("SC_CLK_TCK")
_DAY_S = 86400


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print a line for each, with the ids that the host knows it by; users are numbers, their names are the image's."""
    container = runtime.get(arguments[0])
    if not container.state.running:
        raise ConflictError(f"container {container.label} is not running")
    rows = await asyncio.to_thread(processes, runtime.cgroup_parent, container.state.pid)
    await session.out(table([HEADINGS, *rows], minimum=0))
    return 0


def processes(parent: str, pid: int) -> list[tuple[str, ...]]:
    """Return a row for each process of a container whose first one is `pid`. What ends meanwhile is left out.

    `parent` is the cgroup of the instance.
    """
    uptime_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    rows = []
    for member in find_pids(find_groups(parent, pid), pid):
        try:
            rows.append(_row(member, uptime_s))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return rows


def _row(pid: int, uptime_s: float) -> tuple[str, ...]:
    path = f"/proc/{pid}"
    with open(f"{path}/stat", encoding="utf-8", errors="surrogateescape") as file:
        before, _, after = file.read().rpartition(")")
    with open(f"{path}/status", "rb") as status:
        uid = next(int(line.split()[2]) for line in status if line.startswith(b"Uid:"))
    with open(f"{path}/cmdline", encoding="utf-8", errors="surrogateescape") as cmdline:
        command = " ".join(cmdline.read().rstrip("\0").split("\0"))
    fields = after.split()
    parent, terminal, started = int(fields[1]), int(fields[4]), int(fields[19])
    cpu_s, age_s = (int(fields[11]) + int(fields[12])) / _TICKS, uptime_s - started / _TICKS
    share = int(100 * cpu_s / age_s) if age_s > 0 else 0
    name = before.partition("(")[2]
    cells: Iterable[object] = (
        uid,
        pid,
        parent,
        min(share, 99),
        start_time(time.time() - age_s, age_s),
        terminal_name(terminal),
        cpu_time(cpu_s),
        command or f"[{name}]",
    )
    return tuple(map(str, cells))


def start_time(started: float, age_s: float) -> str:
    return time.strftime("%H:%M" if age_s < _DAY_S else "%b%d", time.localtime(started))


def cpu_time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}"


def terminal_name(number: int) -> str:
    """Name a terminal by its device number, as /proc has it; "?" for none."""
    major, minor = os.major(number), os.minor(number)
    if 136 <= major <= 143:
        return f"pts/{(major - 136) * 256 + minor}"
    return f"tty{minor}" if major == 4 else "?"
