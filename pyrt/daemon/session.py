# SPDX-License-Identifier: Apache-2.0
"""Session: one client's connection, as a command sees it, whichever protocol the client speaks.

The socket stays a plain non-blocking one (no asyncio transport around it), so that a command can hand it over to the
supervisor.
"""

from __future__ import annotations

import abc
import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from typing import ClassVar, Final, Protocol

CHUNK_BYTES: Final = 256 << 10
_LINGER_S: Final = 2.0


def encode(text: str | bytes) -> bytes:
    """Encode as the words of argv were decoded; what cannot be a file name's bytes is shown escaped."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


class Session(abc.ABC):
    """One connection after its first words. Everything here belongs to the event loop's thread.

    `on_disconnect` is called once, when the client has left or breaks the protocol.
    """

    raw: ClassVar[bool]  # whether the client takes bare bytes: whoever streams to it must know

    def __init__(
        self,
        connection: socket.socket,
        *,
        argv: list[str],
        cwd: str,
        tty: tuple[bool, bool, bool],
        size: tuple[int, int],
        root: str,
        on_disconnect: Callable[[], None],
    ) -> None:
        self.argv = argv
        self.cwd = cwd
        self.tty = tty
        self.size = size
        self.root = root  # the root the client means to use; "" where it does not say
        self.gone = False  # the client has left: nothing can be sent any more
        self._socket = connection
        self._on_disconnect = on_disconnect
        self._loop = asyncio.get_running_loop()
        self._sending = asyncio.Lock()
        self._handed_over = False
        self._broken = False  # half a message was sent: another would be read as its rest

    @property
    def handed_over(self) -> bool:
        return self._handed_over

    # --- to the client -------------------------------------------------------------------------------------------

    @abc.abstractmethod
    async def out(self, text: str | bytes) -> None:
        """Write to the client's stdout."""

    @abc.abstractmethod
    async def err(self, text: str | bytes) -> None:
        """Write to the client's stderr."""

    @abc.abstractmethod
    async def notice(self, text: str) -> None:
        """Show one line from pyrt itself on the client's stderr."""

    @abc.abstractmethod
    async def fail(self, text: str) -> None:
        """Show `Error: TEXT` on the client's stderr. An exit status has to follow."""

    @abc.abstractmethod
    async def detach_keys(self, keys: bytes) -> None:
        """Say, before the connection is handed over, which keys leave the container running; none: the usual ones."""

    async def exit(self, status: int) -> None:
        """End the conversation with a status, and let the client take what it has not read yet."""
        await self._send_status(status)
        # Closing with bytes of the client unread would reset the connection, and with it what was just sent.
        self._watch(False)
        try:
            self._socket.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(_LINGER_S):
                while await self._loop.sock_recv(self._socket, CHUNK_BYTES):
                    pass
        except (OSError, TimeoutError):
            pass

    @abc.abstractmethod
    async def _send_status(self, status: int) -> None: ...

    async def _send(self, data: bytes) -> None:
        if self._handed_over:
            raise RuntimeError("the connection was handed over: nothing can be sent on it")
        async with self._sending:
            if self.gone or self._broken:
                raise ConnectionAbortedError("the client has left")
            self._broken = True
            await self._loop.sock_sendall(self._socket, data)
            self._broken = False

    # --- from the client -----------------------------------------------------------------------------------------

    @abc.abstractmethod
    async def environment(self, names: Iterable[str]) -> dict[str, str]:
        """Ask for variables of the client's environment; those that are not set are missing from the answer."""

    @abc.abstractmethod
    def open(self, path: str) -> AsyncIterator[bytes]:
        """Read a file on the client's side piece by piece; "-" is the client's stdin.

        Raises PyrtError where it cannot be opened. A file that breaks off raises too, by ending the whole command:
        the client leaves.
        """

    @abc.abstractmethod
    def pack(self, path: str, *, follow: bool, owners: bool) -> AsyncIterator[bytes]:
        """Read a tar of something on the client's side, which a word of its command has to name; as `open`.

        `follow`: of a symbolic link what it leads to; `owners`: with extended attributes.
        """

    @abc.abstractmethod
    async def unpack(self, path: str, *, owners: bool) -> None:
        """Have a tar unpacked on the client's side, at what a word of its command names.

        The tar then goes to the connection in frames of type FEED, and `unpacked` is its end. What goes wrong there the
        client says itself, and leaves. Raises PyrtError where it refuses.
        """

    @abc.abstractmethod
    async def unpacked(self) -> None:
        """End the tar, and wait until it is unpacked."""

    # --- the socket ----------------------------------------------------------------------------------------------

    def hand_over(self) -> socket.socket:
        """Give the connection away. From now on the session sends and reads nothing."""
        if self.gone:
            raise ConnectionAbortedError("the client has left")
        if self._handed_over:
            raise RuntimeError("the connection was handed over already")
        self._watch(False)
        self._handed_over = True
        return self._socket

    def take_back(self) -> None:
        """Undo `hand_over`, where the other side did not want the connection and has sent nothing on it."""
        self._handed_over = False
        self._watch(True)

    def close(self) -> None:
        """Close this process's copy of the connection."""
        self._watch(False)
        self.gone = True
        self._socket.close()

    @abc.abstractmethod
    def _watch(self, wanted: bool) -> None:
        """Begin or cease to look out for a client that leaves. Harmless twice."""

    def _lost(self) -> None:
        if self.gone:
            return
        self._watch(False)
        self.gone = True
        self._on_disconnect()


class OpenSession(Protocol):
    """Makes the session of a connection whose first words have been read."""

    def __call__(self, *, on_disconnect: Callable[[], None]) -> Session: ...
