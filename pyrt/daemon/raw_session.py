# SPDX-License-Identifier: Apache-2.0
"""RawSession: a client of Docker 0.1.0. Both directions are bare bytes; there is no exit status, and nothing to ask."""

from __future__ import annotations

import select
import socket
from collections.abc import AsyncIterator, Callable, Iterable

from pyrt.daemon.session import CHUNK_BYTES, Session, encode
from pyrt.errors import PyrtError

_SIZE = (24, 80)  # the client does not tell that of its terminal
_NO_TREES = "a client of Docker 0.1.0 cannot copy files; use - and an archive on its stdin or stdout"


class RawSession(Session):
    """One connection after its first line. What the client sends stays in the socket until somebody wants it.

    Its end of input is not its end: it half-closes as soon as it has nothing to send, and goes on reading. It has left
    when the connection has hung up or was reset.
    """

    raw = True

    def __init__(self, connection: socket.socket, *, argv: list[str], on_disconnect: Callable[[], None]) -> None:
        super().__init__(
            connection,
            argv=argv,
            cwd="/",
            tty=(False, False, False),
            size=_SIZE,
            root="",
            on_disconnect=on_disconnect,
        )
        self._hangup: select.epoll | None = None
        self._watch(True)

    async def out(self, text: str | bytes) -> None:
        await self._send(encode(text))

    err = out

    async def notice(self, text: str) -> None:
        await self._send(encode(text.rstrip("\n") + "\n"))

    async def fail(self, text: str) -> None:
        await self._send(encode(f"Error: {text}\n"))

    async def detach_keys(self, keys: bytes) -> None:
        pass

    async def _send_status(self, status: int) -> None:
        pass

    async def environment(self, names: Iterable[str]) -> dict[str, str]:
        return {}

    async def open(self, path: str) -> AsyncIterator[bytes]:
        if path != "-":
            raise PyrtError(f"cannot open {path!r}: a client of Docker 0.1.0 cannot send files; use - and its stdin")
        try:
            while piece := await self._loop.sock_recv(self._socket, CHUNK_BYTES):
                yield piece
        except ConnectionError:
            self._lost()
            raise

    def pack(self, path: str, *, follow: bool, owners: bool) -> AsyncIterator[bytes]:
        raise PyrtError(_NO_TREES)

    async def unpack(self, path: str, *, owners: bool) -> None:
        raise PyrtError(_NO_TREES)

    async def unpacked(self) -> None:
        raise PyrtError(_NO_TREES)

    def _watch(self, wanted: bool) -> None:
        # The loop's own epoll would report what nobody has read yet over and over; this one waits for the end alone.
        if wanted and self._hangup is None:
            self._hangup = select.epoll()
            self._hangup.register(self._socket, 0)  # EPOLLHUP and EPOLLERR come unasked
            self._loop.add_reader(self._hangup, self._lost)
        elif not wanted and self._hangup is not None:
            self._loop.remove_reader(self._hangup)
            self._hangup.close()
            self._hangup = None
