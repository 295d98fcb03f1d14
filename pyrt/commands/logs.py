# SPDX-License-Identifier: Apache-2.0
"""Show the output of a container, running or not"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pyrt.commands.flags import Flag, Options
from pyrt.commands.moment import moment_ns
from pyrt.container.output import Selection
from pyrt.core import broadcast
from pyrt.errors import PyrtError, UsageError

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session


def tail(text: str) -> int:
    """Turn a number of lines, or `all`, into one; all of them are -1."""
    if text == "all":
        return -1
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise UsageError("expected a number of lines, or all")
    return int(text)


def shape(text: str) -> str:
    if text != "json":
        raise UsageError("json is the only one there is")
    return text


USAGE = "[OPTIONS] CONTAINER"
FLAGS = (
    Flag("follow", "f", help="Go on with what it writes until it ends"),
    Flag("tail", "n", kind=tail, default=-1, metavar="NUMBER", help="Begin with the last so many lines (default: all)"),
    Flag("since", kind=moment_ns, metavar="TIME", help="Only lines since then: a time, or how long ago (10m)"),
    Flag("until", kind=moment_ns, metavar="TIME", help="Only lines up to then"),
    Flag("timestamps", "t", help="Put the time in front of each line"),
    Flag("format", kind=shape, metavar="json", help="Print an object a line, with the line, its stream and its time"),
)
MINIMUM = MAXIMUM = 1


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print what it wrote, to stdout and stderr as it wrote it, in the order in which it did."""
    container = runtime.get(arguments[0])
    if container.record.config.log_driver == "none":
        raise PyrtError(f"no output of container {container.label} is kept: it was made with --log-driver none")
    if not container.state.running and not container.log_directory.exists():
        return 0  # it was never started
    selection = Selection(
        follow=options.follow,
        tail=None if options.tail < 0 else options.tail,
        since_ns=options.since,
        until_ns=options.until,
        style=broadcast.JSON if options.format else broadcast.TIMES if options.timestamps else broadcast.PLAIN,
    )
    client = session.hand_over()
    try:
        await runtime.show_log(container, client, selection, raw=session.raw)
    except BaseException:
        session.take_back()
        raise
    return 0
