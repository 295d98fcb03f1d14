# SPDX-License-Identifier: Apache-2.0
"""Wait until containers end and print their exit statuses"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrt.commands.flags import Options

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "CONTAINER..."
MINIMUM = 1


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print a line for each: its status, or `unknown` and the reason where nobody saw its end (and fail then)."""
    worst = 0
    for container in [runtime.get(name) for name in arguments]:
        await container.ended()
        status = container.state.exit_status
        if status is None:
            worst = 125
            await session.err(
                f"Error: container {container.label}: how it ended is not known: {container.state.reason}\n"
            )
        await session.out(f"{'unknown' if status is None else status}\n")
    return worst
