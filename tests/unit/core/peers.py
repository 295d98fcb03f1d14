# SPDX-License-Identifier: Apache-2.0
"""What the tests of the broadcaster share: a peer that reads, pipes that write, waiting for what must happen."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path

from pyrt.core import frames
from pyrt.core.broadcast import Broadcaster, Event, Log

TRAILER = frames.encode(frames.EXIT, b"\0\0\0\x07")


def open_log(broadcaster: Broadcaster, path: Path, size: int = 1 << 20, files: int = 4) -> Log:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return broadcaster.open_log(directory, max_size_bytes=size, max_files=files)
    finally:
        os.close(directory)


def add_pipe(log: Log, stream: int = frames.STDOUT) -> int:
    out, into = os.pipe()
    log.add_stream(out, stream)
    return into


class Reader:
    """The peer of one reader, on a socket."""

    def __init__(self, log: Log, **options: object) -> None:
        self.log = log
        ours, self.socket = socket.socketpair()
        with ours:  # the broadcaster has its own
            self.id = log.add_reader(ours.fileno(), **options)  # type: ignore[arg-type]
        self.socket.settimeout(30)

    def __del__(self) -> None:
        self.socket.close()

    def read(self, limit: int = 1 << 40) -> bytes:
        """Everything until the end, or until `limit` bytes are there."""
        parts, size = [], 0
        while size < limit and (part := self.socket.recv(1 << 20)):
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    def frames(self) -> list[tuple[int, bytes]]:
        reader = frames.FrameReader()
        reader.feed(self.read())
        found = list(reader)
        reader.finish()
        return found


def joined(found: list[tuple[int, bytes]], kind: int) -> bytes:
    return b"".join(payload for frame_kind, payload in found if frame_kind == kind)


def wait_events(broadcaster: Broadcaster, *wanted: Event) -> list[tuple[Event, Log, int]]:
    """Collect events until each of `wanted` has come."""
    found: list[tuple[Event, Log, int]] = []
    while not set(wanted) <= {kind for kind, _, _ in found}:
        assert select.select([broadcaster], [], [], 30)[0], f"waited for {wanted}, got {found}"
        found += broadcaster.events()
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_and_close(fd: int, data: bytes) -> None:
    write_all(fd, data)
    os.close(fd)


def segments(path: Path) -> list[Path]:
    return sorted(path.glob("*.log"))
