# SPDX-License-Identifier: Apache-2.0
"""FrameSession: pyrt's own client. Each direction is frames, and the client can be asked for variables and files.

Its read side is watched all the time: a client that closes it ends its command.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

from pyrt.core import frames
from pyrt.daemon.call import Call, parse_call
from pyrt.daemon.session import CHUNK_BYTES, OpenSession, Session, encode
from pyrt.errors import ProtocolError, PyrtError

log = logging.getLogger("pyrt.daemon")

FIRST_BYTE: Final = frames.CALL
_BUFFERED_BYTES: Final = 1 << 20  # how far a client's file may run ahead of the command that reads it
_LINE_BYTES: Final = 65536


async def open_session(connection: socket.socket) -> OpenSession:
    """Read the CALL. Raises ProtocolError and frames.FrameError."""
    loop = asyncio.get_running_loop()
    reader = frames.FrameReader(max_payload=frames.MAX_PAYLOAD)
    while (frame := reader.next_frame()) is None:
        data = await loop.sock_recv(connection, CHUNK_BYTES)
        if not data:
            raise ProtocolError("the connection ended within the first frame")
        reader.feed(data)
    return functools.partial(FrameSession, connection, call=parse_call(frame[1]), reader=reader)


def refusal(text: str) -> bytes:
    """Return what tells a client why it is turned away."""
    message = frames.encode(frames.ERROR, text.encode("utf-8", "backslashreplace"))
    return message + frames.encode(frames.EXIT, (125).to_bytes(4, "big"))


class FrameSession(Session):
    """One connection after its CALL."""

    raw = False

    def __init__(
        self, connection: socket.socket, *, call: Call, reader: frames.FrameReader, on_disconnect: Callable[[], None]
    ) -> None:
        super().__init__(
            connection,
            argv=call.argv,
            cwd=call.cwd,
            tty=call.tty,
            size=call.size,
            root=call.root,
            on_disconnect=on_disconnect,
        )
        self._reader = reader
        self._frames: deque[tuple[int, bytes]] = deque()
        self._frames_bytes = 0
        self._arrived = asyncio.Event()
        self._asking = asyncio.Lock()
        self._file: object | None = None  # whose STDIN frames may still be under way
        self._watching = False
        self._watch(True)

    # --- to the client -------------------------------------------------------------------------------------------

    async def out(self, text: str | bytes) -> None:
        await self._send_stream(frames.STDOUT, encode(text))

    async def err(self, text: str | bytes) -> None:
        await self._send_stream(frames.STDERR, encode(text))

    async def notice(self, text: str) -> None:
        await self._send_frame(frames.NOTICE, encode(text)[:_LINE_BYTES])

    async def fail(self, text: str) -> None:
        await self._send_frame(frames.ERROR, encode(text)[:_LINE_BYTES])

    async def detach_keys(self, keys: bytes) -> None:
        if keys:
            await self._send_frame(frames.KEYS, keys)

    async def _send_status(self, status: int) -> None:
        await self._send_frame(frames.EXIT, (status & 0xFFFFFFFF).to_bytes(4, "big"))

    async def _send_stream(self, kind: int, data: bytes) -> None:
        for start in range(0, len(data), CHUNK_BYTES):
            await self._send_frame(kind, data[start : start + CHUNK_BYTES])

    async def _send_frame(self, kind: int, payload: bytes) -> None:
        await self._send(frames.encode(kind, payload))

    # --- from the client -----------------------------------------------------------------------------------------

    async def environment(self, names: Iterable[str]) -> dict[str, str]:
        wanted = list(names)
        if not wanted:
            return {}
        async with self._asking:
            payload = b"".join(encode(name) + b"\0" for name in wanted)
            answer = await self._ask(frames.ASK, payload)
        pairs = (item.partition(b"=") for item in answer.split(b"\0") if item)
        return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}

    def open(self, path: str) -> AsyncIterator[bytes]:
        return self._source(frames.OPEN, path, encode(path))

    def pack(self, path: str, *, follow: bool, owners: bool) -> AsyncIterator[bytes]:
        flags = frames.COPY_FOLLOW * follow | frames.COPY_OWNERS * owners
        return self._source(frames.PACK, path, bytes([flags]) + encode(path))

    async def unpack(self, path: str, *, owners: bool) -> None:
        async with self._asking:
            reason = await self._ask(frames.UNPACK, bytes([frames.COPY_OWNERS * owners]) + encode(path))
        if reason:
            raise PyrtError(reason.decode("utf-8", "replace"))

    async def unpacked(self) -> None:
        async with self._asking:
            await self._ask(frames.FEED, b"")

    async def _source(self, kind: int, path: str, payload: bytes) -> AsyncIterator[bytes]:
        async with self._asking:
            reason = await self._ask(kind, payload)
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
        await self._send_frame(kind, payload)
        return await self._receive(frames.ANSWER)

    async def _receive(self, expected: int) -> bytes:
        while not self._frames:
            if self.gone:
                raise ConnectionAbortedError("the client has left")
            self._arrived.clear()
            await self._arrived.wait()
        kind, payload = self._frames.popleft()
        self._frames_bytes -= len(payload) + frames.HEADER_BYTES
        if self._frames_bytes < _BUFFERED_BYTES:
            self._watch(not (self.gone or self._handed_over))
        if kind != expected:
            raise ProtocolError(f"the client sent a frame of type {kind} where {expected} was expected")
        return payload

    # --- the socket ----------------------------------------------------------------------------------------------

    def hand_over(self) -> socket.socket:
        if not self.gone and (self._frames or self._reader.pending or self._file is not None or self._broken):
            raise ProtocolError("the client sent bytes before streaming began")
        return super().hand_over()

    def _watch(self, wanted: bool) -> None:
        if wanted == self._watching:
            return
        self._watching = wanted
        fd = self._socket.fileno()  # asyncio makes a text of what it does not know: of a socket by four system calls
        if wanted:
            self._loop.add_reader(fd, self._on_readable)
        else:
            self._loop.remove_reader(fd)

    def _on_readable(self) -> None:
        try:
            data = self._socket.recv(CHUNK_BYTES)
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
        super()._lost()
        self._arrived.set()
