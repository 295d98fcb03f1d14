# SPDX-License-Identifier: Apache-2.0
"""Connect to a running container: its output from now on, its stdin, its exit status"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrt.commands import detaching
from pyrt.commands.flags import Flag, Options

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "[OPTIONS] CONTAINER"
FLAGS = (
    Flag("stdin", "i", help="Connect stdin, if the container was given one (-i)"),
    Flag("stdout", "o", help="Connect stdout"),
    Flag("stderr", "e", help="Connect stderr; with none of the three, all that there are"),
    Flag("no-stdin", help="Do not connect stdin"),
    Flag("sig-proxy", default=True, help="Pass signals on to the container (default: true)"),
    detaching.FLAG,
)
MINIMUM = MAXIMUM = 1


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Hand the connection over; the status is the container's."""
    chosen = options.stdin, options.stdout, options.stderr
    stdin, stdout, stderr = chosen if any(chosen) else (True, True, True)
    container = runtime.get(arguments[0])
    await session.detach_keys(options.detach_keys)
    client = session.hand_over()
    try:
        await runtime.attach(
            container,
            client,
            stdin=stdin and not options.no_stdin,
            stdout=stdout,
            stderr=stderr,
            signals=options.sig_proxy,
            raw=session.raw,
        )
    except BaseException:
        session.take_back()
        raise
    return 0
