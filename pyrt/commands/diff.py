# SPDX-License-Identifier: Apache-2.0
"""Show what a container has changed of its image's files"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pyrt.container.filesystem import changes

if TYPE_CHECKING:
    from pyrt.commands.flags import Options
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "CONTAINER"
MINIMUM = MAXIMUM = 1


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print a line for each change: A added, C changed, D deleted, and the path."""
    async with contextlib.aclosing(changes(runtime, runtime.get(arguments[0]))) as batches:
        async for batch in batches:
            await session.out("".join(f"{change}\n" for change in batch))
    return 0
