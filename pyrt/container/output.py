# SPDX-License-Identifier: Apache-2.0
"""A container's output from its log: what of it is wanted, and where in the log that is.

The daemon looks for the place, in a thread, and the supervisor's broadcaster sends what is there: of a container that
runs from the log it is writing, of any other from the files.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyrt.container.container import Container
from pyrt.core import broadcast, lines
from pyrt.errors import NotFoundError, PyrtError, unreadable_log

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What of a log is wanted; what a line is, and when, says csrc/log_lines.h. Times in nanoseconds since 1970."""

    follow: bool = False
    tail: int | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    style: int = broadcast.PLAIN


async def show(runtime: Runtime, container: Container, client: socket.socket, selection: Selection, raw: bool) -> None:
    """Have a container's log sent to a client (borrowed), which is told nothing more. Raises PyrtError before that."""
    try:
        await _show(runtime, container, client, selection, raw)
    except NotFoundError:  # the log: it may have been removed with the container, meanwhile
        container.check_present()
        raise


async def _show(runtime: Runtime, container: Container, client: socket.socket, selection: Selection, raw: bool) -> None:
    now_ns = time.time_ns()
    until_ns = selection.until_ns if selection.until_ns is not None and selection.until_ns < now_ns else None
    reader: dict[str, Any] = {
        "offset": broadcast.START,
        "follow": selection.follow and until_ns is None,
        "style": selection.style,
    }
    if selection.tail is not None or selection.since_ns is not None or until_ns is not None:
        cut = await asyncio.to_thread(_find, container, selection.tail, selection.since_ns, until_ns)
        reader |= {"offset": cut.offset, "starts": cut.starts, "until": cut.end if until_ns is not None else None}
    request = {"id": container.id, "raw": raw, "reader": reader, "settle_s": None}
    if reader["follow"] and selection.until_ns is not None:
        request["settle_s"] = (selection.until_ns - now_ns) / 1e9
    if container.state.running:  # the supervisor alone knows where the log ends just now
        try:
            await runtime.supervision.ask("follow", request, [client.fileno()])
            return
        except NotFoundError:
            pass  # it has ended since: its log is complete
    await runtime.supervision.ask("show", request, [client.fileno()])


def _find(container: Container, tail: int | None, since_ns: int | None, until_ns: int | None) -> lines.Cut:
    try:
        dirfd = os.open(container.log_directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return lines.find(dirfd, tail=tail, since_ns=since_ns, until_ns=until_ns)
        finally:
            os.close(dirfd)
    except OSError as error:
        raise unreadable_log(container.log_directory, error) from error
    except lines.DamageError as error:
        raise PyrtError(f"the log is damaged: {container.log_directory}: {error}") from error
