# SPDX-License-Identifier: Apache-2.0
"""The same in pure Python, as somebody new to the problem would write it: correct, plain, without a trick."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

HEADER = struct.Struct(">BxxxI")
STDOUT = 1


def broadcast(source_fd: int, log_path: Path, readers: Sequence[socket.socket]) -> None:
    """Copy a pipe as frames to a log file and to every reader, until its end."""
    with open(log_path, "ab", buffering=0) as log:
        while data := os.read(source_fd, 65536):
            frame = HEADER.pack(STDOUT, len(data)) + data
            log.write(frame)
            for reader in readers:
                reader.sendall(frame)


async def send(writer: asyncio.StreamWriter, kind: int, payload: bytes) -> None:
    """Send one frame."""
    writer.write(HEADER.pack(kind, len(payload)) + payload)
    await writer.drain()


async def receive(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Receive one frame; IncompleteReadError at the end."""
    kind, length = HEADER.unpack(await reader.readexactly(HEADER.size))
    return kind, await reader.readexactly(length)


async def send_many(connection: socket.socket, kind: int, payload: bytes, count: int, *, batch: int = 1) -> None:
    """Send `count` frames, then the end; `batch` of them a write."""
    _, writer = await asyncio.open_connection(sock=connection)
    for start in range(0, count, batch):
        frames = (HEADER.pack(kind, len(payload)) + payload for _ in range(min(batch, count - start)))
        writer.write(b"".join(frames))
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def receive_many(connection: socket.socket, count: int) -> None:
    """Receive `count` frames."""
    reader, writer = await asyncio.open_connection(sock=connection)
    for _ in range(count):
        await receive(reader)
    writer.close()
    await writer.wait_closed()


async def echo(connection: socket.socket) -> None:
    """Send every frame back, until the end."""
    reader, writer = await asyncio.open_connection(sock=connection)
    try:
        while True:
            await send(writer, *await receive(reader))
    except asyncio.IncompleteReadError:
        writer.close()
        await writer.wait_closed()
