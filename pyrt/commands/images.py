# SPDX-License-Identifier: Apache-2.0
"""List images, or those of one repository"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyrt.commands.duration import human_duration
from pyrt.commands.flags import Flag, Options
from pyrt.commands.table import table
from pyrt.image.host import host_image
from pyrt.image.image import Image

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "[OPTIONS] [REPOSITORY]"
MAXIMUM = 1
FLAGS = (
    Flag("all", "a", help="Also show images without a name from which others were made"),
    Flag("quiet", "q", help="Show only ids"),
    Flag("no-trunc", help="Show ids in full: 64 digits, not 16"),
)
HEADINGS = ("REPOSITORY", "TAG", "ID", "CREATED", "PARENT")


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print the named images by name, then those without a name, the newest first."""
    rows = list(_rows(runtime, name=arguments[0] if arguments else "", all=options.all))
    width = 64 if options.no_trunc else 16
    if options.quiet:
        await session.out("".join(f"{image.id[:width]}\n" for _, _, image in rows))
    else:
        await session.out(table([HEADINGS, *(_cells(runtime, row, width) for row in rows)]))
    for id, reason in runtime.graph.damaged.items():
        await session.notice(f"image {id[:width]} is damaged and cannot be used: {reason}")
    if runtime.tags.damaged:
        await session.notice(f"{runtime.tags.damaged}; it was set aside, and images have lost their names")
    return 0


def _rows(runtime: Runtime, *, name: str, all: bool) -> Iterator[tuple[str, str, Image]]:
    images = runtime.graph.map()
    unnamed = images if all else runtime.graph.heads()
    known = {**images, host_image().id: host_image()}
    for repository, tags in sorted(runtime.tags.repositories.items()):
        for tag, id in sorted(tags.items()):
            unnamed = {other: image for other, image in unnamed.items() if other != id}
            if id in known and name in ("", repository):
                yield repository, tag, known[id]
    if not name:
        for image in sorted(unnamed.values(), key=lambda image: image.created_seconds or 0.0, reverse=True):
            yield "<none>", "<none>", image


def _cells(runtime: Runtime, row: tuple[str, str, Image], width: int) -> tuple[str, ...]:
    repository, tag, image = row
    parent = runtime.tags.image_name(image.parent) if image.parent else ""
    if parent == image.parent:
        parent = parent[:width]
    created = image.created_seconds
    age = "-" if created is None else f"{human_duration(time.time() - created)} ago"
    return repository, tag, image.id[:width], age, parent
