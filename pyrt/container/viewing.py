# SPDX-License-Identifier: Apache-2.0
"""Clients that are shown the log of a container which does not run, as the supervisor has them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from pyrt.container.attachment import Attachment
from pyrt.container.channel import Message
from pyrt.container.loop import Loop
from pyrt.container.process import FIRST_WORD_S
from pyrt.container.raw_attachment import RawAttachment
from pyrt.core import frames
from pyrt.core.broadcast import Broadcaster, Log
from pyrt.errors import unreadable_log


class Viewing:
    """One client and the files as they were when it came. Nothing it may send has anybody to act on it."""

    def __init__(
        self, loop: Loop, log: Log, sock: socket.socket, raw: bool, on_gone: Callable[[Viewing], None]
    ) -> None:
        self.log = log
        self._on_gone = on_gone
        kind = RawAttachment if raw else Attachment
        self.attachment = kind(loop, sock, self, None, lambda attachment: on_gone(self))

    def resize(self, rows: int, columns: int) -> None:
        pass

    def deliver(self, number: int) -> None:
        pass

    def grant(self, attachment: Attachment, total_bytes: int) -> None:
        pass

    def on_reader_event(self, *, gone: bool) -> None:
        """The broadcaster is done with it: it has everything, or it hung up."""
        self._on_gone(self)
        if gone:
            self.attachment.close()
        else:
            self.attachment.finish()


class Viewings:
    """All of them. on_closed() is called when one has gone."""

    def __init__(self, loop: Loop, broadcaster: Broadcaster, root: Path, on_closed: Callable[[], None]) -> None:
        self.by_log: dict[Log, Viewing] = {}
        self._loop = loop
        self._broadcaster = broadcaster
        self._containers = root / "containers"
        self._on_closed = on_closed

    def begin(self, request: Message, fds: list[int]) -> None:
        """Show a log to the client in `fds`, taking that over. Raises PyrtError where it cannot be opened."""
        path = self._containers / request["id"] / "log"
        try:
            dirfd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                log = self._broadcaster.open_view(dirfd, str(path))
            finally:
                os.close(dirfd)
        except OSError as error:
            raise unreadable_log(path, error) from error
        sock, raw = socket.socket(fileno=fds.pop(0)), request["raw"]
        try:
            if not raw:
                sock.settimeout(FIRST_WORD_S)
                sock.sendall(frames.encode(frames.START, b"\0"))
        except OSError:  # it has gone already
            sock.close()
            log.close()
            return
        viewing = Viewing(self._loop, log, sock, raw, self._on_gone)
        self.by_log[log] = viewing
        options = {**request["reader"], "follow": False}
        last = b"" if raw else frames.encode(frames.EXIT, bytes(4))
        try:
            viewing.attachment.reader_id = log.add_reader(sock.fileno(), raw=raw, last=last, **options)
        except BaseException:
            viewing.attachment.close()
            self._on_gone(viewing)
            raise

    def _on_gone(self, viewing: Viewing) -> None:
        if self.by_log.pop(viewing.log, None) is not None:
            viewing.log.close()
            self._on_closed()
