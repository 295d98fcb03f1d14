# SPDX-License-Identifier: Apache-2.0
"""Show all that is known of containers and images, as JSON"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyrt.commands.description import describe_container, describe_image
from pyrt.commands.flags import Flag, Options, shown
from pyrt.commands.format import Format
from pyrt.commands.template.values import to_json
from pyrt.errors import NotFoundError, PyrtError, UsageError

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session


def object_type(text: str) -> str:
    if text not in ("container", "image"):
        raise UsageError("it is either container or image")
    return text


USAGE = "[OPTIONS] CONTAINER|IMAGE..."
FLAGS = (
    Flag(
        "format",
        "f",
        kind=str,
        default="",
        metavar="TEMPLATE",
        help="Print 'json' (one line each), or a template such as '{{.State.Pid}}'",
    ),
    Flag("type", kind=object_type, default="", metavar="container|image", help="Look for this only"),
)
MINIMUM = 1


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print the object for one name, a list of objects for several; with a format one line each.

    A container is looked for first, then an image. What there is not is told on stderr, after what there is.
    """
    format = Format(options.format) if options.format else None
    found: list[dict[str, Any]] = []
    failed: list[PyrtError] = []
    for name in arguments:
        try:
            found.append(describe(runtime, name, options.type))
        except PyrtError as error:
            if not (session.raw and isinstance(error, NotFoundError)):  # Docker 0.1.0 said nothing of what there is not
                failed.append(error)
    if format is not None:
        for description in found:
            await session.out(format.one(description) + "\n")
    elif found:
        await session.out(to_json(found if len(arguments) > 1 else found[0], indent=4) + "\n")
    for reason in failed:
        await session.err(f"Error: {reason}\n")
    return failed[-1].exit_code if failed else 0


def describe(runtime: Runtime, name: str, kind: str = "") -> dict[str, Any]:
    """Raises NotFoundError, and ConflictError for the beginning of several ids."""
    if kind != "image":
        try:
            return describe_container(runtime.get(name))
        except NotFoundError:
            if kind:
                raise
    try:
        return describe_image(runtime, runtime.tags.lookup_image(name))
    except NotFoundError:
        if kind:
            raise
        raise NotFoundError(f"No such object: {shown(name)}") from None
