# SPDX-License-Identifier: Apache-2.0
"""A client that speaks frames, and a daemon's front around it, in one event loop."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from pyrt.core import frames
from pyrt.daemon.call import Call
from pyrt.daemon.frame_session import FrameSession
from pyrt.daemon.raw_session import RawSession
from pyrt.daemon.session import Session


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a test's coroutine; one that hangs fails by itself."""

    async def bounded() -> Any:
        async with asyncio.timeout(20):
            return await main

    return asyncio.run(bounded())


def call_payload(*argv: str) -> bytes:
    return json.dumps({"version": 2, "argv": argv, "cwd": "/", "tty": [False] * 3, "size": [0, 0]}).encode()


class FakeClient:
    """The client's end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.reader = frames.FrameReader(max_payload=frames.MAX_PAYLOAD)

    async def send(self, kind: int, payload: bytes = b"") -> None:
        await self.raw(frames.encode(kind, payload))

    async def raw(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def receive(self) -> tuple[int, bytes] | None:
        """The next frame; None at the end."""
        while (frame := self.reader.next_frame()) is None:
            try:
                data = await asyncio.get_running_loop().sock_recv(self.socket, 1 << 18)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self.reader.feed(data)
        return frame

    async def rest(self) -> list[tuple[int, bytes]]:
        """Every frame until the EXIT or the end; then leave."""
        found = []
        while (frame := await self.receive()) is not None:
            found.append(frame)
            if frame[0] == frames.EXIT:
                break
        self.socket.close()
        return found


async def converse(
    serve: Callable[[Session], Awaitable[Any]], client: Callable[[FakeClient], Awaitable[Any]], *argv: str
) -> tuple[Any, Any]:
    """Let `serve` and `client` talk; what both returned (or raised, or that they were cancelled)."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    call = Call(list(argv), "/", (False, False, False), (0, 0))

    async def server() -> Any:
        task = asyncio.current_task()
        assert task

        def leave() -> None:
            task.cancel()

        reader = frames.FrameReader(max_payload=frames.MAX_PAYLOAD)
        session = FrameSession(ours, call=call, reader=reader, on_disconnect=leave)
        try:
            return await serve(session)
        finally:
            session.close()

    with ours, theirs:
        outcomes: Any = await asyncio.gather(server(), client(FakeClient(theirs)), return_exceptions=True)
    return outcomes[0], outcomes[1]


async def converse_raw(
    serve: Callable[[Session], Awaitable[Any]],
    client: Callable[[socket.socket], Awaitable[Any]],
    pair: tuple[socket.socket, socket.socket] | None = None,
) -> tuple[Any, Any]:
    """As `converse`, for a session without frames; the client gets its end of the connection as it is."""
    ours, theirs = pair or socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)

    async def server() -> Any:
        task = asyncio.current_task()
        assert task

        def leave() -> None:
            task.cancel()

        session = RawSession(ours, argv=[], on_disconnect=leave)
        try:
            return await serve(session)
        finally:
            session.close()

    with ours, theirs:
        outcomes: Any = await asyncio.gather(server(), client(theirs), return_exceptions=True)
    return outcomes[0], outcomes[1]


async def receive_all(connection: socket.socket) -> bytes:
    """What comes until the end; then leave."""
    found = b""
    while data := await asyncio.get_running_loop().sock_recv(connection, 1 << 18):
        found += data
    connection.close()
    return found
