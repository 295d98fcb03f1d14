# SPDX-License-Identifier: Apache-2.0
"""Stop containers and start them again"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyrt.commands.each import each
from pyrt.commands.flags import Options
from pyrt.commands.stop import FLAGS as FLAGS

if TYPE_CHECKING:
    from pyrt.container.container import Container
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "[OPTIONS] CONTAINER..."
MINIMUM = 1


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print the id of each when its program runs again. Those that do not run are started."""

    async def restart(container: Container) -> None:
        await runtime.restart(container, options.time, size=session.size)

    return await each(session, runtime, arguments, restart, together=asyncio.gather, show=True)
