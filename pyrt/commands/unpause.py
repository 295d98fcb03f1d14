# SPDX-License-Identifier: Apache-2.0
"""Let paused containers go on"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrt.commands.each import each
from pyrt.commands.flags import Options

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "CONTAINER..."
MINIMUM = 1


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print the id of each when that is so."""
    return await each(session, runtime, arguments, runtime.unpause, show=True)
