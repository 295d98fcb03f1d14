# SPDX-License-Identifier: Apache-2.0
"""Hundreds of logs, thousands of readers, one thread: every byte arrives, whenever a reader came and what it wants."""

from __future__ import annotations

import os
import resource
import select
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrt.core import broadcast, frames
from pyrt.core.broadcast import Broadcaster, Log
from tests.unit.core.peers import TRAILER, Reader, add_pipe, joined, open_log, wait_until, write_all

LOGS, READERS_OF_EACH = 200, 10
PARTS, PART_BYTES = 8, 5000
DESCRIPTORS = LOGS * (6 + 2 * READERS_OF_EACH) + 200


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] != resource.RLIM_INFINITY and limits[1] < DESCRIPTORS:
        pytest.skip(f"may open {limits[1]} descriptors only, of the {DESCRIPTORS} this takes")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], DESCRIPTORS), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def content(number: int, stream: int, part: int) -> bytes:
    return (b"%d of %d, part %d\n" % (stream, number, part)) * (PART_BYTES // 20)


def whole(number: int, stream: int) -> bytes:
    return b"".join(content(number, stream, part) for part in range(PARTS))


class Crowd:
    """Ten readers of one log: of all streams or one, raw or in frames, from before the first byte or in between."""

    def __init__(self, log: Log, number: int) -> None:
        self.log, self.number = log, number
        self.readers: list[tuple[Reader, dict[str, object]]] = []

    def join(self, count: int) -> None:
        for _ in range(count):
            kind = len(self.readers) % 4
            options: dict[str, object] = {"offset": broadcast.START}
            if kind in (1, 3):
                options["streams"] = [frames.STDERR]
            if kind in (2, 3):
                options |= {"raw": True, "streams": [frames.STDERR]}
            self.readers.append((Reader(self.log, **options), options))

    def check(self, options: dict[str, object], received: bytes) -> None:
        if options.get("raw"):
            assert received == whole(self.number, frames.STDERR)
            return
        parser = frames.FrameReader()
        parser.feed(received)
        found = list(parser)
        parser.finish()
        assert joined(found, frames.STDERR) == whole(self.number, frames.STDERR)
        assert joined(found, frames.STDOUT) == (b"" if "streams" in options else whole(self.number, frames.STDOUT))
        assert frames.encode(*found[-1]) == TRAILER


def receive_all(crowds: list[Crowd]) -> dict[int, bytearray]:
    """What each reader's socket brings until its end, by descriptor."""
    received = {reader.socket.fileno(): bytearray() for crowd in crowds for reader, _ in crowd.readers}
    sockets = {reader.socket.fileno(): reader.socket for crowd in crowds for reader, _ in crowd.readers}
    with select.epoll() as epoll:
        for fd in sockets:
            epoll.register(fd, select.EPOLLIN)
        left = len(sockets)
        while left:
            ready = epoll.poll(30)
            assert ready, f"{left} readers get no more"
            for fd, _ in ready:
                if data := sockets[fd].recv(1 << 16):
                    received[fd] += data
                else:
                    epoll.unregister(fd)
                    left -= 1
    return received


def test_two_hundred_logs_and_two_thousand_readers(tmp_path: Path, many_descriptors: None) -> None:
    with Broadcaster() as broadcaster:
        crowds, pipes = [], []
        for number in range(LOGS):
            (path := tmp_path / str(number)).mkdir()
            log = open_log(broadcaster, path)
            pipes.append({stream: add_pipe(log, stream) for stream in (frames.STDOUT, frames.STDERR)})
            crowds.append(Crowd(log, number))
            crowds[-1].join(READERS_OF_EACH - 3)

        def write() -> None:
            for part in range(PARTS):
                for number, ends in enumerate(pipes):
                    for stream, fd in ends.items():
                        write_all(fd, content(number, stream, part))
                if part == PARTS // 2:
                    for crowd in crowds:
                        crowd.join(2)
            for ends in pipes:
                for fd in ends.values():
                    os.close(fd)

        write()  # nobody reads meanwhile: the logs take it all
        wait_until(lambda: not any(crowd.log.streams for crowd in crowds))
        for crowd in crowds:
            crowd.join(1)
            crowd.log.finish(TRAILER)
        received = receive_all(crowds)
        names = [Path(f"/proc/self/task/{task}/comm").read_text() for task in os.listdir("/proc/self/task")]
        assert names.count("pyrt-broadcast\n") == 1 and threading.active_count() == 1
        for crowd in crowds:
            assert len(crowd.readers) == READERS_OF_EACH
            for reader, options in crowd.readers:
                crowd.check(options, bytes(received[reader.socket.fileno()]))
        wait_until(lambda: not any(crowd.log.readers for crowd in crowds))
