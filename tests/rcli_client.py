# SPDX-License-Identifier: Apache-2.0
"""A client of Docker 0.1.0's protocol, written from its description and sharing no code with pyrt.

It sends one line, a JSON array of its arguments; then what it reads from standard input. It half-closes the connection
when that ends, shows whatever comes back, and ends when the other side does, with status 0: the protocol knows none.

    python tests/rcli_client.py HOST:PORT|/SOCKET [ARG...]
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import termios
import threading
import tty
from collections.abc import Sequence
from typing import Any

CHUNK_BYTES = 64 << 10


def dial(address: str, *, timeout: float | None = 30) -> socket.socket:
    """Connect to HOST:PORT, or to a unix socket by its path. The caller owns the connection."""
    if address.startswith("/"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        connection.connect(address)
        return connection
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=timeout)


def line(argv: Sequence[str]) -> bytes:
    return json.dumps(list(argv)).encode() + b"\n"


def call(address: str, *argv: str, input: bytes = b"", timeout: float = 30) -> bytes:
    """Run a command with this standard input; return everything it showed."""
    with dial(address, timeout=timeout) as connection:
        sender = threading.Thread(target=send_all, args=(connection, line(argv) + input))
        sender.start()
        try:
            return read_all(connection)
        finally:
            connection.close()
            sender.join()


def send_all(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the command has ended without reading all of it


def read_all(connection: socket.socket) -> bytes:
    shown = bytearray()
    while data := connection.recv(CHUNK_BYTES):
        shown += data
    return bytes(shown)


def converse(connection: socket.socket) -> None:
    """Pass standard input on and show what comes, until the other side closes."""
    watched: list[Any] = [connection, sys.stdin.fileno()]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if connection in ready:
            data = connection.recv(CHUNK_BYTES)
            if not data:
                return
            show(data)
        if sys.stdin.fileno() in ready:
            typed = os.read(sys.stdin.fileno(), CHUNK_BYTES)
            if typed:
                connection.sendall(typed)
            else:
                connection.shutdown(socket.SHUT_WR)
                watched.remove(sys.stdin.fileno())


def show(data: bytes) -> None:
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


def main(address: str, *argv: str) -> None:
    saved = None
    if os.isatty(sys.stdin.fileno()) and not os.environ.get("NORAW"):
        saved = termios.tcgetattr(sys.stdin)
        tty.setraw(sys.stdin)
    try:
        with dial(address, timeout=None) as connection:
            connection.sendall(line(argv))
            converse(connection)
    finally:
        if saved is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)


if __name__ == "__main__":
    main(*sys.argv[1:])
