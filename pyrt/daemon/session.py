# SPDX-License-Identifier: Apache-2.0
"""Session: one client's connection, as a command sees it.

The socket stays a plain non-blocking one (no asyncio transport around it), so that a command can hand it over to the
supervisor. Its read side is watched all the time: a client that goes away ends its command.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

from pyrt.core import frames
from pyrt.daemon.call import Call
from pyrt.errors import ProtocolError, PyrtError

log = logging.getLogger("pyrt.daemon")

_CHUNK_BYTES: Final = 256 << 10
_BUFFERED_BYTES: Final = 1 << 20  # how far a client's file may run ahead of the command that reads it
_LINGER_S: Final = 2.0


def _encode(text: str | bytes) -> bytes:
    """Encode as the words of argv were decoded; what cannot be a file name's bytes is shown escaped."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


class Session:
    """One connection after its CALL. Everything here belongs to the event loop's thread.

    `on_disconnect` is called once, when the client closes its side or breaks the protocol.
    """

    def __init__(
        self, connection: socket.socket, *, call: Call, reader: frames.FrameReader, on_disconnect: Callable[[], None]
    ) -> None:
        self.argv = call.argv
        self.cwd = call.cwd
        self.tty = call.tty
        self.size = call.size
        self.gone = False  # the client has left: nothing can be sent any more
        self._socket = connection
        self._reader = reader
        self._on_disconnect = on_disconnect
        self._loop = asyncio.get_running_loop()
        self._frames: deque[tuple[int, bytes]] = deque()
        self._frames_bytes = 0
        self._arrived = asyncio.Event()
        self._sending = asyncio.Lock()
        self._asking = asyncio.Lock()
        self._file: object | None = None  # whose STDIN frames may still be under way
        self._handed_over = False
        self._watching = False
        self._broken = False  # half a frame was sent: another would be read as its rest
        self._watch(True)

    @property
    def handed_over(self) -> bool:
        return self._handed_over

    # --- to the client -------------------------------------------------------------------------------------------

    async def out(self, text: str | bytes) -> None:
        """Write to the client's stdout."""
        await self._send_stream(frames.STDOUT, _encode(text))

    async def err(self, text: str | bytes) -> None:
        """Write to the client's stderr."""
        await self._send_stream(frames.STDERR, _encode(text))

    async def notice(self, text: str) -> None:
        """Show one line from pyrt itself on the client's stderr."""
        await self._send(frames.NOTICE, _encode(text)[:65536])

    async def fail(self, text: str) -> None:
        """Show `Error: TEXT` on the client's stderr. An exit status has to follow."""
        await self._send(frames.ERROR, _encode(text)[:65536])

    async def exit(self, status: int) -> None:
        """Send the status, which ends the conversation, and let the client take what it has not read yet."""
        await self._send(frames.EXIT, (status & 0xFFFFFFFF).to_bytes(4, "big"))
        # Closing with bytes of the client unread would reset the connection, and with it the frames just sent.
        self._watch(False)
        try:
            self._socket.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(_LINGER_S):
                while await self._loop.sock_recv(self._socket, _CHUNK_BYTES):
                    pass
        except (OSError, TimeoutError):
            pass

    async def _send_stream(self, kind: int, data: bytes) -> None:
        for start in range(0, len(data), _CHUNK_BYTES):
            await self._send(kind, data[start : start + _CHUNK_BYTES])

    async def _send(self, kind: int, payload: bytes) -> None:
        if self._handed_over:
            raise RuntimeError("the connection was handed over: nothing can be sent on it")
        async with self._sending:
            if self.gone or self._broken:
                raise ConnectionAbortedError("the client has left")
            self._broken = True
            await self._loop.sock_sendall(self._socket, frames.encode(kind, payload))
            self._broken = False

    # --- from the client -----------------------------------------------------------------------------------------

    async def environment(self, names: Iterable[str]) -> dict[str, str]:
        """Ask for variables of the client's environment; those that are not set are missing from the answer."""
        wanted = list(names)
        if not wanted:
            return {}
        async with self._asking:
            payload = b"".join(_encode(name) + b"\0" for name in wanted)
            answer = await self._ask(frames.ASK, payload)
        pairs = (item.partition(b"=") for item in answer.split(b"\0") if item)
        return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}

    async def open(self, path: str) -> AsyncIterator[bytes]:
        """Read a file on the client's side piece by piece; "-" is the client's stdin.

        Raises PyrtError with the client's reason where it cannot be opened. A file that breaks off raises too, by
        ending the whole command: the client leaves.
        """
        async with self._asking:
            reason = await self._ask(frames.OPEN, _encode(path))
            if reason:
                raise PyrtError(reason.decode("utf-8", "replace"))
            file = self._file = object()
        while piece := await self._receive(frames.STDIN):
            yield piece
            if self._file is not file:
                raise RuntimeError(f"the rest of {path!r} was given up by asking the client something else")
        self._file = None

    async def _ask(self, kind: int, payload: bytes) -> bytes:
        if self._file is not None:  # the last file was not read to its end
            self._file = None
            while await self._receive(frames.STDIN):
                pass
        await self._send(kind, payload)
        return await self._receive(frames.ANSWER)

    async def _receive(self, expected: int) -> bytes:
        while not self._frames:
            if self.gone:
                raise ConnectionAbortedError("the client has left")
            self._arrived.clear()
            await self._arrived.wait()
        kind, payload = self._frames.popleft()
        self._frames_bytes -= len(payload)
        if self._frames_bytes < _BUFFERED_BYTES:
            self._watch(not (self.gone or self._handed_over))
        if kind != expected:
            raise ProtocolError(f"the client sent a frame of type {kind} where {expected} was expected")
        return payload

    # --- the socket ----------------------------------------------------------------------------------------------

    def hand_over(self) -> socket.socket:
        """Give the connection away. From now on the session sends and reads nothing."""
        if self.gone:
            raise ConnectionAbortedError("the client has left")
        if self._handed_over:
            raise RuntimeError("the connection was handed over already")
        if self._frames or self._reader.pending or self._file is not None or self._broken:
            raise ProtocolError("the client sent bytes before streaming began")
        self._watch(False)
        self._handed_over = True
        return self._socket

    def take_back(self) -> None:
        """Undo `hand_over`, where the other side did not want the connection and has sent nothing on it."""
        self._handed_over = False
        self._watch(True)

    async def raw(self, data: bytes) -> None:
        """Send whole frames as they are."""
        async with self._sending:
            if self.gone or self._broken:
                raise ConnectionAbortedError("the client has left")
            self._broken = True
            await self._loop.sock_sendall(self._socket, data)
            self._broken = False

    def close(self) -> None:
        """Close this process's copy of the connection."""
        self._watch(False)
        self.gone = True
        self._socket.close()

    def _watch(self, wanted: bool) -> None:
        if wanted == self._watching:
            return
        self._watching = wanted
        if wanted:
            self._loop.add_reader(self._socket, self._on_readable)
        else:
            self._loop.remove_reader(self._socket)

    def _on_readable(self) -> None:
        try:
            data = self._socket.recv(_CHUNK_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            log.debug("connection lost: %s", error)
            data = b""
        if not data:
            return self._lost()
        try:
            self._reader.feed(data)
            while (frame := self._reader.next_frame()) is not None:
                self._frames.append(frame)
                self._frames_bytes += len(frame[1]) + frames.HEADER_BYTES
        except frames.FrameError as error:
            log.warning("a client sent bytes that are no frame: %s; closed", error)
            return self._lost()
        if self._frames_bytes >= _BUFFERED_BYTES:
            self._watch(False)
        self._arrived.set()

    def _lost(self) -> None:
        self._watch(False)
        self.gone = True
        self._arrived.set()
        self._on_disconnect()
