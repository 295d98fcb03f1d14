# SPDX-License-Identifier: Apache-2.0
"""Send running containers a signal: SIGKILL, or another"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from pyrt.commands.each import each, some_at_once
from pyrt.commands.flags import Flag, Options
from pyrt.errors import ConflictError, UsageError

if TYPE_CHECKING:
    from pyrt.container.container import Container
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session


def signal_number(text: str) -> int:
    """Turn `9`, `KILL`, `SIGKILL`, `sigkill` into 9."""
    if text.isascii() and text.isdigit():
        number = int(text)
        if 1 <= number <= signal.SIGRTMAX:
            return number
        raise UsageError("no such signal")
    name = text.upper()
    try:
        return int(signal.Signals[name if name.startswith("SIG") else f"SIG{name}"])
    except KeyError:
        raise UsageError("no such signal") from None


USAGE = "[OPTIONS] CONTAINER..."
FLAGS = (
    Flag(
        "signal",
        "s",
        kind=signal_number,
        default=signal.SIGKILL,
        metavar="SIGNAL",
        help="The signal, by name or number: TERM, SIGTERM, 15",
    ),
)
MINIMUM = 1


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """After SIGKILL it returns when they have ended; any other signal is sent and that is all."""

    async def kill(container: Container) -> None:
        try:
            run = await runtime.signal(container, options.signal)
        except ConflictError:
            if session.raw:  # Docker 0.1.0 said nothing of one that does not run
                return
            raise
        if options.signal == signal.SIGKILL:
            await container.ended(run)

    return await each(session, runtime, arguments, kill, together=some_at_once)
