# SPDX-License-Identifier: Apache-2.0
"""Make an image of a container"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyrt.commands.flags import Flag, Options
from pyrt.commands.reference import repository_and_tag
from pyrt.container.committing import commit

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "[OPTIONS] CONTAINER [REPOSITORY [TAG]]"
FLAGS = (
    Flag("author", "a", kind=str, default="", metavar="TEXT", help="Say who made it; kept in the image"),
    Flag("message", "m", kind=str, default="", metavar="TEXT", help="Say what it is; kept in the image"),
    Flag("pause", "p", default=True, help="Let a running container stand still meanwhile (--pause=false: do not)"),
)
MINIMUM, MAXIMUM = 1, 3


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Store the image, name it, and print its id. REPOSITORY:TAG in one word is the same as two words."""
    container = runtime.get(arguments[0])
    name = repository_and_tag(arguments[1:]) if len(arguments) > 1 else None
    image, packed = await commit(
        runtime, container, comment=options.message, author=options.author, pause=options.pause
    )
    runtime.events.tell(container, "commit", comment=options.message or None)
    if name is not None:
        await asyncio.to_thread(runtime.tags.set, *name, image.id, force=True)
        runtime.events.publish("image", "tag", image.id, ":".join(name))
    for line in packed.notices():
        await session.notice(line)
    await session.out(f"{image.id}\n")
    return 0
