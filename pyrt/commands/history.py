# SPDX-License-Identifier: Apache-2.0
"""Show what an image was made of, step by step"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pyrt.commands.duration import human_duration
from pyrt.commands.flags import Flag, Options
from pyrt.commands.format import Format, format_flag
from pyrt.commands.table import table
from pyrt.errors import PyrtError
from pyrt.image.image import parse_time

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session
    from pyrt.image.image import Image

USAGE = "[OPTIONS] IMAGE"
FLAGS = (
    Flag("quiet", "q", help="Show only ids"),
    Flag("no-trunc", help="Show ids in full: 64 digits, not 16"),
    format_flag(),
)
MINIMUM = MAXIMUM = 1
FIELDS = {
    "ID": "ID",
    "CreatedSince": "CREATED",
    "CreatedBy": "CREATED BY",
    "CreatedAt": "CREATED AT",
    "Comment": "COMMENT",
}
MISSING = "<missing>"


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print the image first, then its ancestors; a step whose image is not here has no id."""
    format = Format(options.format, FIELDS) if options.format else None
    image = runtime.tags.lookup_image(arguments[0])
    rows = list(steps(runtime, image, 64 if options.no_trunc else 16))
    if options.quiet:
        await session.out("".join(f"{row['ID']}\n" for row in rows))
    elif format:
        await session.out(format.all(rows))
    else:
        shown = ("ID", "CreatedSince", "CreatedBy")
        await session.out(table([[FIELDS[name] for name in shown], *([row[name] for name in shown] for row in rows)]))
    return 0


def steps(runtime: Runtime, image: Image, width: int) -> Iterator[dict[str, Any]]:
    """An image adds one step to those of its parent."""
    current: Image | None = image
    entries = [*reversed(image.history)]
    while current is not None or entries:
        entry = entries.pop(0) if entries else {}
        created = current.created_seconds if current else parse_time(str(entry.get("created") or ""))
        yield {
            "ID": current.id[:width] if current else MISSING,
            "CreatedSince": "-" if created is None else f"{human_duration(time.time() - created)} ago",
            "CreatedBy": str(entry.get("created_by") or ""),
            "CreatedAt": current.created if current else str(entry.get("created") or ""),
            "Comment": current.comment if current else str(entry.get("comment") or ""),
        }
        current = _parent(runtime, current)


def _parent(runtime: Runtime, image: Image | None) -> Image | None:
    if image is None or not image.parent:
        return None
    try:
        return runtime.graph.get(image.parent)
    except PyrtError:
        return None
