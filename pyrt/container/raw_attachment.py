# SPDX-License-Identifier: Apache-2.0
"""A client that speaks no frames, connected to a container: its bytes are the container's stdin, and nothing else."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from pyrt.container.attachment import Attachment, Target
from pyrt.container.loop import Loop
from pyrt.container.stdin import Feed

_CHUNK_BYTES: Final = 64 << 10


class RawAttachment(Attachment):
    """Reads a raw client's bytes. Its end of input is not its end: it goes on reading what the container writes.

    It knows no credit: while the container does not read, nor do we. Where there is no stdin to feed nothing is read
    before the end, so that a client which sends all the same is held back by its own socket. That it hung up is seen by
    the broadcaster.
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        target: Target,
        stdin: Feed | None,
        on_gone: Callable[[Attachment], None],
    ) -> None:
        self._ended = stdin is None
        super().__init__(loop, sock, target, stdin, on_gone)

    def _listen(self) -> None:
        if not self._ended or self._leaving:
            super()._listen()

    def _on_room(self) -> None:
        self._listen()

    def _read(self) -> bool:
        if self.socket.fileno() < 0:
            return False
        try:
            data = self.socket.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            self._gone()
            return False
        if data:
            self._feed(data)
        elif self._leaving:
            self._gone()
        else:
            self._end()
        return bool(data)

    def _feed(self, data: bytes) -> None:
        if self._stdin is None or self._leaving:
            return
        self._stdin.write(data)
        if self._stdin.pending_bytes:
            self._loop.unwatch(self.socket.fileno())

    def _end(self) -> None:
        """The client has sent all it will. Over TCP a client that was killed looks the same.

        So a terminal is not told: what runs in it shall outlive its client.
        """
        self._ended = True
        self._loop.unwatch(self.socket.fileno())
        if self._stdin is not None and not self._stdin.terminal:
            self._stdin.end()
