# SPDX-License-Identifier: Apache-2.0
"""Wait until containers end and print their exit statuses"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrt.commands.flags import Options
from pyrt.container.state import State, Status

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "CONTAINER..."
MINIMUM = 1


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print a line for each: its status, or `unknown` and the reason where nobody saw its end (and fail then)."""
    worst = 0
    for container in [runtime.get(name) for name in arguments]:
        ended = await container.ended()
        status = ended.exit_status
        if status is None:
            worst = 125
            await session.err(f"Error: container {container.label}: {unknown(ended)}\n")
        await session.out(f"{'unknown' if status is None else status}\n")
    return worst


def unknown(state: State) -> str:
    """Why there is no exit status."""
    if state.status is Status.CREATED:
        return "it has not been started"
    return f"how it ended is not known: {state.reason}"
