# SPDX-License-Identifier: Apache-2.0
"""Run a command in a new container"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrt.commands import configuration, detaching
from pyrt.commands.flags import Flag, Options

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "[OPTIONS] IMAGE [COMMAND [ARG...]]"
FLAGS = (Flag("detach", "d", help="Run it in the background and print its id"), detaching.FLAG, *configuration.FLAGS)
MINIMUM = 1


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Start it; attached, its output and its exit status are the client's, and so, with -i, is its stdin."""
    image = runtime.tags.lookup_image(arguments[0])
    config = await configuration.make_config(session, image, options, arguments, detach=options.detach)
    if options.detach:
        container = await runtime.run(config, name=options.name or "", size=session.size)
        await session.out(f"{container.id}\n")
        return 0
    await session.detach_keys(options.detach_keys)
    client = session.hand_over()
    try:
        await runtime.run(config, name=options.name or "", size=session.size, client=client, raw=session.raw)
    except BaseException:
        session.take_back()
        raise
    return 0
