# SPDX-License-Identifier: Apache-2.0
"""rcli, the protocol of Docker 0.1.0: one line, a JSON array of the arguments, and then bare bytes both ways."""

from __future__ import annotations

import asyncio
import functools
import json
import socket
from typing import Any, Final

from pyrt.daemon.call import is_argument
from pyrt.daemon.raw_session import RawSession
from pyrt.daemon.session import OpenSession
from pyrt.errors import ProtocolError

FIRST_BYTE: Final = ord("[")
LINE_BYTES: Final = 1 << 20
_PEEK_BYTES: Final = 64 << 10


async def open_session(connection: socket.socket) -> OpenSession:
    """Read the line and not a byte more: what follows it is the command's stdin. Raises ProtocolError."""
    line = bytearray()
    while not line.endswith(b"\n"):
        await readable(connection)
        ahead = connection.recv(_PEEK_BYTES, socket.MSG_PEEK)
        if not ahead:
            raise ProtocolError("the connection ended within the first line")
        line += connection.recv(ahead.find(b"\n") + 1 or len(ahead))
        if len(line) > LINE_BYTES:
            raise ProtocolError(f"the first line is longer than {LINE_BYTES} bytes")
    return functools.partial(RawSession, connection, argv=parse_line(bytes(line)))


def parse_line(line: bytes) -> list[str]:
    """Return the arguments. Raises ProtocolError, whose text is meant for the client."""
    try:
        value: Any = json.loads(line.decode())
    except (ValueError, RecursionError):
        raise ProtocolError("the first line is not JSON") from None
    if not isinstance(value, list) or not all(is_argument(word) for word in value):
        raise ProtocolError("the first line is not a list of arguments")
    return value


def refusal(text: str) -> bytes:
    """Return what tells a client why it is turned away."""
    return f"Error: {text}\n".encode("utf-8", "backslashreplace")


async def readable(connection: socket.socket) -> None:
    """Wait until there is something to read, or the end."""
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    fd = connection.fileno()
    loop.add_reader(fd, arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(fd)
