# SPDX-License-Identifier: Apache-2.0
"""Give an image a name"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyrt.commands.flags import Flag, Options
from pyrt.commands.reference import repository_and_tag

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "[OPTIONS] IMAGE REPOSITORY [TAG]"
FLAGS = (Flag("force", "f", help="Take the name away from another image that has it"),)
MINIMUM, MAXIMUM = 2, 3


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Name it REPOSITORY:TAG, written so or as two words; without a tag it is `latest`. Prints nothing."""
    image = runtime.tags.lookup_image(arguments[0])
    repository, tag = repository_and_tag(arguments[1:])
    await asyncio.to_thread(runtime.tags.set, repository, tag, image.id, force=options.force)
    runtime.events.publish("image", "tag", image.id, f"{repository}:{tag}")
    return 0
