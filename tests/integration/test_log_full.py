# SPDX-License-Identifier: Apache-2.0
"""A full disk under the log: the container writes on, and what was lost is counted and told."""

from __future__ import annotations

import errno
import os
import select
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrt.core import frames
from pyrt.core.broadcast import Broadcaster, Event, Log

pytestmark = [pytest.mark.root, pytest.mark.both_engines]

TRAILER = frames.encode(frames.EXIT, bytes(4))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "ptstreams", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.fixture
def broadcaster(small_disk: Path) -> Iterator[Broadcaster]:  # closed before the disk is unmounted
    with Broadcaster() as made:
        yield made


@pytest.fixture
def log(broadcaster: Broadcaster, small_disk: Path) -> Log:
    directory = os.open(small_disk, os.O_RDONLY)
    try:
        return broadcaster.open_log(directory, max_size_bytes=1 << 20, max_files=2)
    finally:
        os.close(directory)


def wait_event(broadcaster: Broadcaster, wanted: Event) -> int:
    while True:
        assert select.select([broadcaster], [], [], 30)[0], f"waited for {wanted}"
        for kind, _, detail in broadcaster.events():
            if kind == wanted:
                return detail


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_frames(peer: socket.socket) -> list[tuple[int, bytes]]:
    reader = frames.FrameReader()
    found: list[tuple[int, bytes]] = []
    while reader.recv(peer.fileno()) > 0:
        found += reader
    return found


def output(found: list[tuple[int, bytes]]) -> bytes:
    return b"".join(payload for kind, payload in found if kind == frames.STDOUT)


def notices(found: list[tuple[int, bytes]]) -> list[bytes]:
    return [payload for kind, payload in found if kind == frames.NOTICE]


def add_reader(log: Log) -> socket.socket:
    ours, theirs = socket.socketpair()
    with ours:
        log.add_reader(ours.fileno())
    return theirs


def test_a_container_writes_on_and_is_heard_again_when_there_is_room(
    broadcaster: Broadcaster, log: Log, small_disk: Path
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(128 * 1024))
    out, into = os.pipe()
    log.add_stream(out, frames.STDOUT)
    lost = b"n" * 2_000_000
    write_all(into, lost)
    assert wait_event(broadcaster, Event.WRITE_FAILED) == errno.ENOSPC
    while log.lost_bytes + log.end_offset < len(lost):  # the pipe is drained all the same
        select.select([], [], [], 0.01)
    told = log.lost_bytes
    ballast.unlink()
    write_all(into, b"audible")
    os.close(into)
    wait_event(broadcaster, Event.DRAINED)
    log.finish(TRAILER)
    with add_reader(log) as peer:
        found = read_frames(peer)
    assert output(found).endswith(b"nnnaudible")
    assert len(output(found)) + told == len(lost) + len(b"audible")
    numbers = [int(notice.split()[1]) for notice in notices(found)]
    assert sum(numbers) == told == log.lost_bytes
    assert notices(found)[-1].endswith(b"lost here: the log could not be written (No space left on device)\n")
    assert found[-1] == (frames.EXIT, bytes(4))


def test_a_loss_at_the_very_end_is_told_before_the_exit(broadcaster: Broadcaster, log: Log, small_disk: Path) -> None:
    with add_reader(log) as peer:
        out, into = os.pipe()
        log.add_stream(out, frames.STDOUT)
        (small_disk / "ballast").write_bytes(bytes(200 * 1024))
        write_all(into, b"n" * 500_000)
        os.close(into)
        wait_event(broadcaster, Event.DRAINED)
        log.finish(TRAILER)
        found = read_frames(peer)
    assert sum(int(notice.split()[1]) for notice in notices(found)) == 500_000 - len(output(found)) == log.lost_bytes
    assert found[-1] == (frames.EXIT, bytes(4))


def test_the_log_of_a_full_disk_opens_again(broadcaster: Broadcaster, log: Log, small_disk: Path) -> None:
    out, into = os.pipe()
    log.add_stream(out, frames.STDOUT)
    write_all(into, b"n" * 500_000)
    os.close(into)
    wait_event(broadcaster, Event.DRAINED)
    end = log.end_offset
    log.close()
    directory = os.open(small_disk, os.O_RDONLY)
    again = broadcaster.open_log(directory, max_size_bytes=1 << 20, max_files=2)
    os.close(directory)
    assert again.end_offset == end > 0
