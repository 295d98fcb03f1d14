# SPDX-License-Identifier: Apache-2.0
"""List containers: those that run, or all"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyrt.commands.duration import human_duration
from pyrt.commands.filters import filter_flag, matching, parse_filters
from pyrt.commands.flags import Flag, Options, natural, shown
from pyrt.commands.format import Format, format_flag
from pyrt.commands.sizes import decimal_size
from pyrt.commands.table import table
from pyrt.container.state import Status
from pyrt.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from pyrt.container.container import Container
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

FILTERS = ("id", "name", "status", "exited", "ancestor", "since", "before", "network", "volume")
USAGE = "[OPTIONS]"
MAXIMUM = 0
FLAGS = (
    Flag("all", "a", help="Also those that do not run any more"),
    Flag("quiet", "q", help="Show only ids"),
    Flag("no-trunc", help="Show ids and commands in full"),
    Flag(
        "last",
        "n",
        kind=natural,
        default=None,
        metavar="NUMBER",
        help="The last so many that were made, running or not",
    ),
    Flag("latest", "l", help="The last one that was made, running or not"),
    Flag("size", "s", help="Also how much each has written to its root"),
    filter_flag(", ".join(FILTERS)),
    format_flag(),
)
# Docker 0.1.0's columns, then ours: what a script finds by position stays where it was.
HEADINGS = ("ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "COMMENT", "PORTS", "NAME")
FIELDS = {
    "ID": "ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "Comment": "COMMENT",
    "Ports": "PORTS",
    "Names": "NAMES",
    "CreatedAt": "CREATED AT",
    "State": "STATE",
    "Networks": "NETWORKS",
    "Mounts": "MOUNTS",
    "Size": "SIZE",
}
COMMAND_CHARACTERS = 20
SHORT = 16


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print a line for each, the newest first."""
    format = Format(options.format, FIELDS) if options.format else None
    containers = select(runtime, options)
    now = time.time()
    width, truncate = (64, False) if options.no_trunc else (16, True)
    if options.quiet:
        await session.out("".join(f"{container.id[:width]}\n" for container in containers))
        return 0
    sized = options.size or (format is not None and format.uses("Size"))
    sizes = [await asyncio.to_thread(one.written_bytes) for one in containers] if sized else []
    if format is not None:
        listed = [fields(container, now, width, truncate=truncate) for container in containers]
        for row, size in zip(listed, sizes, strict=False):
            row["Size"] = decimal_size(size)
        await session.out(format.all(listed))
        return 0
    rows = [HEADINGS, *(cells(container, now, width, truncate=truncate) for container in containers)]
    if sized:
        rows = [(*row, size) for row, size in zip(rows, ("SIZE", *map(decimal_size, sizes)), strict=True)]
    await session.out(table(rows, minimum=12))
    return 0


def select(runtime: Runtime, options: Options) -> list[Container]:
    """Return the containers that are asked for, the newest first."""
    filters = parse_filters(options.filter, FILTERS)
    last = 1 if options.latest else options.last
    every = options.all or last is not None or "status" in filters or "exited" in filters
    listed = [one for one in runtime.store.list() if one.state.status is Status.RUNNING or every and not one.leaving]
    tests = {key: [_test(runtime, key, value) for value in values] for key, values in filters.items()}
    return matching(listed, tests)[:last]


def _test(runtime: Runtime, key: str, value: str) -> Callable[[Container], bool]:
    """Return the question that a filter asks of a container. Raises UsageError, NotFoundError."""
    match key:
        case "id":
            return lambda one: one.id.startswith(value)
        case "name":
            return _name_test(value)
        case "status":
            known = [*(status.value for status in Status), "paused"]
            if value not in known:
                raise UsageError(
                    f"--filter status={shown(value)}: there is no such status; there are {', '.join(known)}"
                )
            return lambda one: one.state.condition == value
        case "exited":
            code = natural(value)
            return lambda one: one.state.status is Status.EXITED and one.state.exit_status == code
        case "ancestor":
            images = _descendants(runtime, value)
            return lambda one: one.image_id in images
        case "since":
            earliest = runtime.get(value).record.created_at
            return lambda one: one.record.created_at > earliest
        case "before":
            latest = runtime.get(value).record.created_at
            return lambda one: one.record.created_at < latest
        case "network":
            return lambda one: one.record.config.network == value
        case _:
            return lambda one: any(value in (volume.source, volume.target) for volume in one.record.config.volumes)


def _name_test(value: str) -> Callable[[Container], bool]:
    """A part of the name; ^ and $ stand for its beginning and its end, and docker's slash before it for nothing."""
    start, end = value.startswith("^"), value.endswith("$")
    part = value.removeprefix("^").removeprefix("/").removesuffix("$")
    if start and end:
        return lambda one: one.name == part
    if start:
        return lambda one: one.name.startswith(part)
    return lambda one: one.name.endswith(part) if end else part in one.name


def _descendants(runtime: Runtime, name: str) -> set[str]:
    """The ids of an image, and of those that were made from it."""
    try:
        found = [runtime.tags.lookup_image(name).id]
    except NotFoundError:
        return set()
    children = runtime.graph.by_parent()
    for id in found:  # which grows meanwhile
        found += [image.id for image in children.get(id, ())]
    return set(found)


def cells(container: Container, now: float, width: int, *, truncate: bool) -> tuple[str, ...]:
    """The row of the table, at this time."""
    record, state = container.record, container.state
    status = state.status
    if status is Status.RUNNING:
        described = state.describe(human_duration(now - state.started_at))
    else:
        described = "Created" if status is Status.CREATED else state.describe("")
    if truncate and width == SHORT:  # kept: of many containers the record and all it leads to would be cold memory
        if container.listed[3] is not record:
            container.listed = (record.id[:SHORT], record.image_name, container.command[:COMMAND_CHARACTERS], record)
        id, image, command, _ = container.listed
    else:
        id, image, command = record.id[:width], record.image_name, container.command
        command = command[:COMMAND_CHARACTERS] if truncate else command
    return (
        id,
        image,
        command,
        f"{human_duration(now - record.created_at)} ago",
        described,
        state.comment,
        "" if container.allocation is None else ports(container),
        record.name,
    )


def fields(container: Container, now: float, width: int, *, truncate: bool) -> dict[str, Any]:
    """The row of a template."""
    record = container.record
    row: dict[str, Any] = dict(zip(FIELDS, cells(container, now, width, truncate=truncate), strict=False))
    row["CreatedAt"] = time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(record.created_at))
    row["State"] = container.state.condition
    row["Networks"] = record.config.network
    row["Mounts"] = ",".join(volume.source for volume in record.config.volumes)
    return row


def ports(container: Container) -> str:
    if container.allocation is None:
        return ""
    return ", ".join(map(str, container.allocation.mappings)) if container.allocation.mappings else ""
