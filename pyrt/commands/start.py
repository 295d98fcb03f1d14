# SPDX-License-Identifier: Apache-2.0
"""Start containers that do not run"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrt.commands import detaching
from pyrt.commands.each import each
from pyrt.commands.flags import Flag, Options
from pyrt.errors import UsageError

if TYPE_CHECKING:
    from pyrt.container.container import Container
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "[OPTIONS] CONTAINER..."
FLAGS = (
    Flag("attach", "a", help="Stay: its output, exit status and signals are this command's"),
    Flag("interactive", "i", help="As -a, and pass this command's stdin on to it"),
    detaching.FLAG,
)
MINIMUM = 1


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print the id of each when its program runs; attached, show what it writes from now on."""
    if options.attach or options.interactive:
        return await start_attached(session, runtime, options, arguments)

    async def start(container: Container) -> None:
        await runtime.start(container, size=session.size)

    return await each(session, runtime, arguments, start, show=True)


async def start_attached(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    stdin = options.interactive
    if len(arguments) > 1:
        raise UsageError("-a and -i start one container at a time")
    container = runtime.get(arguments[0])
    await session.detach_keys(options.detach_keys)
    client = session.hand_over()
    try:
        if not await runtime.start(container, size=session.size, client=client, stdin=stdin, raw=session.raw):
            await runtime.attach(
                container, client, stdin=stdin, stdout=True, stderr=True, signals=True, raw=session.raw
            )  # from now on, as `attach` does
    except BaseException:
        session.take_back()
        raise
    return 0
