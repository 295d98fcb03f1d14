# SPDX-License-Identifier: Apache-2.0
"""Show the output of a container, running or not"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyrt.commands.flags import Flag, Options
from pyrt.core import frames
from pyrt.errors import NotFoundError, PyrtError

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "[OPTIONS] CONTAINER"
FLAGS = (Flag("follow", "f", help="Go on with what it writes until it ends"),)
MINIMUM = MAXIMUM = 1
BLOCK_BYTES = 1 << 20
LOGGED = frozenset((frames.STDOUT, frames.STDERR, frames.NOTICE))


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print what it wrote, to stdout and stderr as it wrote it, in the order in which it did."""
    container = runtime.get(arguments[0])
    if container.state.running:  # the supervisor alone knows where the log ends just now
        client = session.hand_over()
        try:
            await runtime.follow(container, client, to_the_end=options.follow, raw=session.raw)
            return 0
        except NotFoundError:
            session.take_back()  # it has ended since: its log is complete
        except BaseException:
            session.take_back()
            raise
    for segment in sorted(container.log_directory.glob("*.log")) if container.log_directory.exists() else []:
        await _send(session, str(segment))
    return 0


async def _send(session: Session, path: str) -> None:
    """A segment holds frames as the wire has them. The last may be torn, if the supervisor was killed while writing."""
    reader = frames.FrameReader()
    try:
        file = await asyncio.to_thread(open, path, "rb")
    except FileNotFoundError:  # dropped meanwhile, by the cap
        return
    except OSError as error:
        raise PyrtError(f"the log cannot be read: {path}: {error.strerror}") from error
    with file:
        while block := await asyncio.to_thread(file.read, BLOCK_BYTES):
            reader.feed(block)
            whole, damage = _whole(reader)
            await session.replay(whole)
            if damage:
                raise PyrtError(f"the log is damaged from here on: {path}: {damage}")


def _whole(reader: frames.FrameReader) -> tuple[list[tuple[int, bytes]], str]:
    """Return the frames that have arrived, up to what is none of a log (a power cut leaves zeros), and what that is."""
    found: list[tuple[int, bytes]] = []
    try:
        for kind, payload in reader:
            if kind not in LOGGED:
                return found, f"a frame of type {kind}"
            found.append((kind, payload))
    except frames.FrameError as error:
        return found, str(error)
    return found, ""
