# SPDX-License-Identifier: Apache-2.0
"""Two processes and a socket: one sends frames as fast as it can, the other takes each into its hands.

`python -m benchmarks.exchange SENDER COUNT SIZE` is the sending one. Its socket is stdin; it begins when a byte comes.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import newcomer
from benchmarks.interleave import Sample
from pyrt.core import frames

GATHERED_BYTES = 65536
Send = Callable[[socket.socket, bytes, int], None]
Receive = Callable[[socket.socket, int], None]


def send_one_by_one(connection: socket.socket, payload: bytes, count: int) -> None:
    """A system call for each frame."""
    fd = connection.fileno()
    for _ in range(count):
        frames.write_frame(fd, frames.STDOUT, payload)


def send_gathered(connection: socket.socket, payload: bytes, count: int) -> None:
    """A system call for 64 KiB of frames, or for one that is larger."""
    fd, batch = connection.fileno(), gathered(len(payload))
    for start in range(0, count, batch):
        frames.write_frames(fd, frames.STDOUT, [payload for _ in range(min(batch, count - start))])


def send_asyncio(connection: socket.socket, payload: bytes, count: int) -> None:
    """struct and asyncio streams: a write and a drain for each frame."""
    asyncio.run(newcomer.send_many(connection, frames.STDOUT, payload, count))


def send_asyncio_gathered(connection: socket.socket, payload: bytes, count: int) -> None:
    """The same, 64 KiB of frames a write."""
    asyncio.run(newcomer.send_many(connection, frames.STDOUT, payload, count, batch=gathered(len(payload))))


def receive_pyrt(connection: socket.socket, count: int) -> None:
    fd, reader = connection.fileno(), frames.FrameReader()
    while count > 0 and reader.recv(fd) > 0:
        for _kind, _payload in reader:
            count -= 1
    assert count == 0


def receive_asyncio(connection: socket.socket, count: int) -> None:
    asyncio.run(newcomer.receive_many(connection, count))


def gathered(size_bytes: int) -> int:
    return max(1, GATHERED_BYTES // (size_bytes + frames.HEADER_BYTES))


def exchange(send: Send, receive: Receive, size_bytes: int, count: int) -> Sample:
    """Seconds for `count` frames, from the first to be sent to the last received."""

    def sample() -> float:
        ours, theirs = socket.socketpair()
        argv = [sys.executable, "-m", "benchmarks.exchange", send.__name__, str(count), str(size_bytes)]
        with ours:
            with theirs:
                sender = subprocess.Popen(argv, stdin=theirs.fileno(), cwd=Path(__file__).parents[1])
            assert ours.recv(1) == b"r", "the sender is not ready"
            begin = time.perf_counter()
            ours.sendall(b"g")
            receive(ours, count)
            seconds = time.perf_counter() - begin
            assert sender.wait() == 0
        return seconds

    return sample


def main(name: str, count: str, size_bytes: str) -> None:
    with socket.socket(fileno=0) as connection:
        connection.sendall(b"r")
        connection.recv(1)
        globals()[name](connection, b"x" * int(size_bytes), int(count))


if __name__ == "__main__":
    main(*sys.argv[1:])
