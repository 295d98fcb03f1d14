# SPDX-License-Identifier: Apache-2.0
"""Remove containers, their output and what they wrote"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrt.commands.each import each, some_at_once
from pyrt.commands.flags import Flag, Options

if TYPE_CHECKING:
    from pyrt.container.container import Container
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "[OPTIONS] CONTAINER..."
FLAGS = (Flag("force", "f", help="Also running ones, which are killed first"),)
MINIMUM = 1


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    async def remove(container: Container) -> None:
        await runtime.remove(container, force=options.force)

    return await each(session, runtime, arguments, remove, together=some_at_once)
