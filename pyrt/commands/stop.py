# SPDX-License-Identifier: Apache-2.0
"""Stop running containers: SIGTERM, then SIGKILL"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyrt.commands.each import each
from pyrt.commands.flags import Flag, Options, duration

if TYPE_CHECKING:
    from pyrt.container.container import Container
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "[OPTIONS] CONTAINER..."
FLAGS = (
    Flag(
        "time",
        "t",
        kind=duration,
        default=10.0,
        metavar="DURATION",
        help="Time between SIGTERM and SIGKILL: 10 (seconds, the default), 1m30s",
    ),
)
MINIMUM = 1


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print the id of each when it has ended. They all get their SIGTERM at once."""

    async def stop(container: Container) -> None:
        await runtime.stop(container, options.time)

    return await each(session, runtime, arguments, stop, together=asyncio.gather, show=True)
