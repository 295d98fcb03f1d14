# SPDX-License-Identifier: Apache-2.0
"""Write the whole root file system of a container as a tar archive"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrt.commands.lending import lent
from pyrt.container import filesystem
from pyrt.errors import UsageError

if TYPE_CHECKING:
    from pyrt.commands.flags import Options
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "CONTAINER"
MINIMUM = MAXIMUM = 1


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Write the archive to stdout. The connection is pyrt-tar's while it writes; what is left to say comes after it."""
    container = runtime.get(arguments[0])
    if session.tty[1]:
        raise UsageError("an archive is nothing for a terminal: redirect it, as in pyrt export NAME > FILE")
    with lent(session) as connection:
        packed = await filesystem.export(runtime, container, connection, raw=session.raw)
    runtime.events.tell(container, "export")
    if not session.raw:  # there it would become a part of the archive
        for line in packed.notices():
            await session.notice(line)
    return 0
