# SPDX-License-Identifier: Apache-2.0
"""List containers: those that run, or all"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pyrt.commands.duration import human_duration
from pyrt.commands.flags import Flag, Options
from pyrt.commands.table import table

if TYPE_CHECKING:
    from pyrt.container.container import Container
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "[OPTIONS]"
MAXIMUM = 0
FLAGS = (
    Flag("all", "a", help="Also those that do not run any more"),
    Flag("quiet", "q", help="Show only ids"),
    Flag("no-trunc", help="Show ids and commands in full"),
)
# Docker 0.1.0's columns, then ours: what a script finds by position stays where it was.
HEADINGS = ("ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "COMMENT", "PORTS", "NAME")
COMMAND_CHARACTERS = 20


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    wanted = runtime.store.list()
    containers = [one for one in wanted if one.state.running or options.all and not one.leaving]
    width = 64 if options.no_trunc else 16
    if options.quiet:
        await session.out("".join(f"{container.id[:width]}\n" for container in containers))
        return 0
    rows = [cells(container, width, truncate=not options.no_trunc) for container in containers]
    await session.out(table([HEADINGS, *rows], minimum=12))
    return 0


def cells(container: Container, width: int, *, truncate: bool) -> tuple[str, ...]:
    record, state = container.record, container.state
    command = container.command
    if truncate:
        command = command[:COMMAND_CHARACTERS]
    return (
        container.id[:width],
        record.image_name,
        command,
        f"{human_duration(time.time() - record.created_at)} ago",
        state.describe(human_duration(state.running_for_s())),
        state.comment,
        ports(container),
        container.name,
    )


def ports(container: Container) -> str:
    if container.allocation is None:
        return ""
    return ", ".join(
        f"{mapping.host_ip}:{mapping.host_port}->{mapping.container_port}/{mapping.protocol}"
        for mapping in container.allocation.mappings
    )
