# SPDX-License-Identifier: Apache-2.0
"""List images, or those of one repository"""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pyrt.commands.duration import human_duration
from pyrt.commands.filters import filter_flag, matching, parse_filters
from pyrt.commands.flags import Flag, Options
from pyrt.commands.format import Format, format_flag
from pyrt.commands.sizes import decimal_size
from pyrt.commands.table import table
from pyrt.errors import UsageError
from pyrt.image.host import host_image
from pyrt.image.image import Image

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

NONE = "<none>"
FILTERS = ("dangling", "reference", "before", "since")
USAGE = "[OPTIONS] [REPOSITORY]"
MAXIMUM = 1
FLAGS = (
    Flag("all", "a", help="Also show images without a name from which others were made"),
    Flag("quiet", "q", help="Show only ids"),
    Flag("no-trunc", help="Show ids in full: 64 digits, not 16"),
    filter_flag(", ".join(FILTERS)),
    format_flag(),
)
HEADINGS = ("REPOSITORY", "TAG", "ID", "CREATED", "PARENT")
FIELDS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "ID": "ID",
    "CreatedSince": "CREATED",
    "Parent": "PARENT",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Digest": "DIGEST",
    "Comment": "COMMENT",
}
_Row = tuple[str, str, Image]


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print the named images by name, then those without a name, the newest first."""
    format = Format(options.format, FIELDS) if options.format else None
    filters = parse_filters(options.filter, FILTERS)
    tests = {key: [_test(runtime, key, value) for value in values] for key, values in filters.items()}
    rows = matching(list(_rows(runtime, name=arguments[0] if arguments else "", all=options.all)), tests)
    width, names = 64 if options.no_trunc else 16, runtime.tags.by_id()
    if options.quiet:
        await session.out("".join(f"{image.id[:width]}\n" for _, _, image in rows))
    elif format:
        await session.out(format.all(_fields(runtime, names, row, width) for row in rows))
    else:
        await session.out(table([HEADINGS, *(_cells(names, row, width) for row in rows)]))
    for id, reason in runtime.graph.damaged.items():
        await session.notice(f"image {id[:width]} is damaged and cannot be used: {reason}")
    if runtime.tags.damaged:
        await session.notice(f"{runtime.tags.damaged}; it was set aside, and images have lost their names")
    return 0


def _rows(runtime: Runtime, *, name: str, all: bool) -> Iterator[_Row]:
    images = runtime.graph.map()
    unnamed = dict(images if all else runtime.graph.heads())
    known = {**images, host_image().id: host_image()}
    for repository, tags in sorted(runtime.tags.repositories.items()):
        for tag, id in sorted(tags.items()):
            unnamed.pop(id, None)
            if id in known and name in ("", repository):
                yield repository, tag, known[id]
    if not name:
        for image in sorted(unnamed.values(), key=lambda image: image.created_seconds or 0.0, reverse=True):
            yield NONE, NONE, image


def _test(runtime: Runtime, key: str, value: str) -> Callable[[_Row], bool]:
    """Return the question that a filter asks of a row. Raises UsageError, NotFoundError."""
    if key == "dangling":
        if value.lower() not in ("true", "false"):
            raise UsageError("--filter dangling: it is true or false")
        return lambda row: (row[0] == NONE) == (value.lower() == "true")
    if key == "reference":  # a pattern of a shell, for the repository or the whole name
        return lambda row: (
            row[0] != NONE and any(fnmatch.fnmatchcase(name, value) for name in (row[0], f"{row[0]}:{row[1]}"))
        )
    moment = runtime.tags.lookup_image(value).created_seconds or 0.0
    if key == "before":
        return lambda row: (row[2].created_seconds or 0.0) < moment
    return lambda row: (row[2].created_seconds or 0.0) > moment


def _cells(names: Mapping[str, list[str]], row: _Row, width: int) -> tuple[str, ...]:
    repository, tag, image = row
    parent = names[image.parent][0] if image.parent in names else image.parent[:width]
    created = image.created_seconds
    age = "-" if created is None else f"{human_duration(time.time() - created)} ago"
    return repository, tag, image.id[:width], age, parent


def _fields(runtime: Runtime, names: Mapping[str, list[str]], row: _Row, width: int) -> dict[str, Any]:
    """The row of a template."""
    image = row[2]
    values: dict[str, Any] = dict(zip(FIELDS, _cells(names, row, width), strict=False))
    values["CreatedAt"] = image.created if image.created_seconds is not None else "-"
    values["Size"] = decimal_size(runtime.graph.size_bytes(image))
    values["Digest"] = f"sha256:{image.id}"
    values["Comment"] = image.comment
    return values
