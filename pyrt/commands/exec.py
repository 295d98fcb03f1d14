# SPDX-License-Identifier: Apache-2.0
"""Run one more program in a running container"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrt.commands import detaching
from pyrt.commands.configuration import absolute, parse_env, user
from pyrt.commands.flags import Flag, Options
from pyrt.container.executing import Program
from pyrt.container.starting import Viewer

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "[OPTIONS] CONTAINER COMMAND [ARG...]"
FLAGS = (
    Flag("detach", "d", help="Run it in the background, its output going nowhere"),
    Flag("interactive", "i", help="Pass this command's stdin on to it; else its stdin is empty"),
    Flag("tty", "t", help="Give it a terminal (with -i: Ctrl-P Ctrl-Q detaches)"),
    detaching.FLAG,
    Flag("env", "e", kind=list, metavar="NAME[=VALUE]", help="Set a variable; NAME alone takes the value it has here"),
    Flag("user", "u", kind=user, metavar="USER[:GROUP]", help="Run as this user (default: the container's)"),
    Flag("workdir", "w", kind=absolute, metavar="DIRECTORY", help="Start there (default: where the container did)"),
    Flag("privileged", help="All capabilities, no system call filter"),
)
MINIMUM = 2


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Start it; unless detached, its output and its exit status are the client's, and so, with -i, is its stdin."""
    container = runtime.get(arguments[0])
    program = Program(
        argv=tuple(arguments[1:]),
        env=await parse_env(session, options.env),
        user=options.user or "",
        cwd=options.workdir or "",
        privileged=options.privileged,
        tty=options.tty,
        stdin=options.interactive,
    )
    if options.detach:
        await runtime.execute(container, program, Viewer(session.size))
        return 0
    await session.detach_keys(options.detach_keys)
    client = session.hand_over()
    try:
        await runtime.execute(container, program, Viewer(session.size, client, raw=session.raw))
    except BaseException:
        session.take_back()
        raise
    return 0
