# SPDX-License-Identifier: Apache-2.0
"""Show what happens to containers and images, as it happens"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any

from pyrt.commands.filters import filter_flag, matching, parse_filters
from pyrt.commands.flags import Flag, Options
from pyrt.commands.format import Format, format_flag
from pyrt.commands.moment import moment
from pyrt.image.image import format_time

if TYPE_CHECKING:
    from pyrt.container.events import Event, Reader
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session


FILTERS = ("container", "image", "event", "type")
USAGE = "[OPTIONS]"
MAXIMUM = 0
FLAGS = (
    Flag("since", kind=moment, default=None, metavar="TIME", help="Begin with what happened since then, if it is kept"),
    Flag("until", kind=moment, default=None, metavar="TIME", help="End then, instead of never"),
    filter_flag(", ".join(FILTERS)),
    format_flag(),
)
FIELDS = ("Type", "Action", "Actor", "id", "name", "status", "from", "time", "timeNano")


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print a line for each event from now on; the daemon keeps the last 1000 for --since."""
    format = Format(options.format, {name: name.upper() for name in FIELDS}) if options.format else None
    filters = parse_filters(options.filter, FILTERS)
    tests = {key: [_test(runtime, key, value) for value in values] for key, values in filters.items()}
    with runtime.events.subscribe(history=options.since is not None) as reader:
        async for missed, events in _read(reader, options.until):
            if missed:
                await session.notice(f"{missed} events came too fast, and are missing here")
            wanted = [one for one in matching(events, tests) if options.since is None or one.time >= options.since]
            await session.out("".join(f"{format.one(fields(event)) if format else line(event)}\n" for event in wanted))
    return 0


async def _read(reader: Reader, until: float | None) -> AsyncIterator[tuple[int, list[Event]]]:
    """Yield what the reader reads, up to this time."""
    while True:
        try:
            async with asyncio.timeout(None if until is None else max(0.0, until - time.time())):
                missed, events = await reader.read()
        except TimeoutError:
            return
        yield missed, [event for event in events if until is None or event.time <= until]
        if until is not None and time.time() >= until:
            return


def _test(runtime: Runtime, key: str, value: str) -> Callable[[Event], bool]:
    match key:
        case "container":
            return lambda event: event.kind == "container" and (event.name == value or event.id.startswith(value))
        case "image":
            return lambda event: value in _image_names(event) or (event.kind == "image" and event.id.startswith(value))
        case "event":
            return lambda event: event.verb == value
        case _:
            return lambda event: event.kind == value


def _image_names(event: Event) -> Iterable[str]:
    name = event.name if event.kind == "image" else event.attributes.get("image", "")
    return name, name.removesuffix(":latest")


def line(event: Event) -> str:
    """Return an event as docker shows it: time, kind, verb, id, and the rest in parentheses."""
    attributes = ", ".join(f"{key}={value}" for key, value in sorted(_attributes(event).items()))
    text = f"{format_time(event.time)} {event.kind} {event.verb} {event.id} ({attributes})"
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def fields(event: Event) -> dict[str, Any]:
    """Return an event as docker's API has it."""
    return {
        "Type": event.kind,
        "Action": event.verb,
        "Actor": {"ID": event.id, "Attributes": _attributes(event)},
        "id": event.id,
        "name": event.name,
        "status": event.verb,
        "from": event.attributes.get("image", ""),
        "time": int(event.time),
        "timeNano": int(event.time * 1e9),
    }


def _attributes(event: Event) -> dict[str, str]:
    return dict(event.attributes) | ({"name": event.name} if event.name else {})
