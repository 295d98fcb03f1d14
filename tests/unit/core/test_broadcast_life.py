# SPDX-License-Identifier: Apache-2.0
"""What is refused, what threads may do, and that nothing is left behind."""

from __future__ import annotations

import hashlib
import os
import select
import socket
import threading
import time
from pathlib import Path

import pytest

from pyrt.core import broadcast, frames
from pyrt.core.broadcast import Broadcaster, Log
from tests.unit.core.peers import TRAILER, Reader, add_pipe, joined, open_log, wait_until, write_all


def test_offsets_must_be_frame_boundaries(log):
    into = add_pipe(log)
    os.write(into, b"hello")
    wait_until(lambda: log.end_offset == 13)
    for offset in (1, 8, 12, 14, -3):
        with pytest.raises(ValueError, match="not a frame boundary"):
            Reader(log, offset=offset)
    os.close(into)


def test_descriptors_that_cannot_serve_are_refused(log, tmp_path):
    with (tmp_path / "file").open("w+") as file:
        with pytest.raises(ValueError, match="must be a socket or a pipe"):
            log.add_reader(file.fileno())
        with pytest.raises(PermissionError):
            log.add_stream(file.fileno(), frames.STDOUT)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        with pytest.raises(ValueError, match="stream socket"):
            log.add_reader(datagram.fileno())
    out, into = os.pipe()
    with pytest.raises(ValueError, match="not an output stream"):
        log.add_stream(out, frames.NOTICE)
    with pytest.raises(ValueError, match="not an output stream"):
        log.add_reader(into, streams=[frames.STDIN])
    os.close(out)
    os.close(into)


def test_what_comes_too_late_is_refused(broadcaster, log, tmp_path):
    log.finish()
    out, into = os.pipe()
    with pytest.raises(ValueError, match="finished"):
        log.add_stream(out, frames.STDOUT)
    with pytest.raises(ValueError, match="finished already"):
        log.finish()
    log.close()
    log.close()
    with pytest.raises(ValueError, match="closed"):
        log.add_stream(out, frames.STDOUT)
    with pytest.raises(ValueError, match="closed"):
        _ = log.end_offset
    broadcaster.close()
    broadcaster.close()
    assert broadcaster.events() == []
    for call in (broadcaster.fileno, lambda: open_log(broadcaster, tmp_path)):
        with pytest.raises(ValueError, match="closed"):
            call()
    os.close(out)
    os.close(into)


def test_caps_that_make_no_sense_are_refused(broadcaster, tmp_path):
    for size, files in ((4095, 1), (4096, 0), (1 << 63, 1)):
        with pytest.raises(ValueError, match="at least one file of 4096 bytes"):
            open_log(broadcaster, tmp_path, size=size, files=files)
    with pytest.raises(OSError):
        broadcaster.open_log(-1, max_size_bytes=4096, max_files=1)
    for call in (Log, Log.__new__(Log).close, lambda: Log.__new__(Log).end_offset):
        with pytest.raises(TypeError, match="made by Broadcaster"):
            call()


def test_readers_come_and_go_from_many_threads(broadcaster, log):
    into = add_pipe(log)
    stop = threading.Event()
    steady = Reader(log, guaranteed=True)
    sent = hashlib.sha256()

    def write() -> None:
        number = 0
        while not stop.is_set() or number < 50:
            data = os.urandom(20_000)
            sent.update(data)
            write_all(into, data)
            number += 1
        os.close(into)

    def come_and_go(seed: int) -> None:
        for turn in range(60):
            reader = Reader(log, offset=(broadcast.START, broadcast.END)[turn % 2], raw=bool(seed % 2))
            if turn % 3:
                reader.socket.recv(1000)
            if turn % 5 == 0:
                reader.socket.close()
            log.remove_reader(reader.id)
            log.notice(b"%d" % turn)
            reader.socket.close()

    received: list[bytes] = []
    collector = threading.Thread(target=lambda: received.append(steady.read()))
    writer = threading.Thread(target=write)
    visitors = [threading.Thread(target=come_and_go, args=(seed,)) for seed in range(4)]
    for thread in (collector, writer, *visitors):
        thread.start()
    for thread in visitors:
        thread.join()
    stop.set()
    writer.join()
    log.finish()
    collector.join()
    parser = frames.FrameReader()
    parser.feed(received[0])
    assert hashlib.sha256(joined(list(parser), frames.STDOUT)).digest() == sent.digest()


def resources() -> tuple[int, int]:
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def one_life(path: Path, ending: str) -> None:
    broadcaster = Broadcaster()
    log = open_log(broadcaster, path, size=8192)
    into = add_pipe(log)
    readers = [Reader(log), Reader(log, raw=True), Reader(log, guaranteed=True, offset=broadcast.END)]
    log.notice(b"notice")
    for _ in range(20):
        os.write(into, bytes(1000))
    readers[0].read(14)
    if ending == "finish":
        log.finish(TRAILER)
        log.close_streams()
        readers[2].read()
    elif ending == "remove":
        for reader in readers:
            log.remove_reader(reader.id)
    elif ending == "refused":
        with pytest.raises(ValueError):
            log.add_reader(readers[0].socket.fileno(), offset=1 << 40)
        with pytest.raises(ValueError):
            log.add_stream(into, 17)
    os.close(into)
    for reader in readers:
        reader.socket.close()
    if ending != "forget":
        log.close()
        broadcaster.close()


@pytest.mark.parametrize("ending", ["finish", "remove", "refused", "close", "forget"])
def test_nothing_is_left_behind(tmp_path, ending):
    one_life(tmp_path, ending)
    before = resources()
    for _ in range(15):
        one_life(tmp_path, ending)
    # Not ==: a thread that has been joined may still be listed for a moment, before as well as after.
    wait_until(lambda: all(now <= then for now, then in zip(resources(), before, strict=True)))


@pytest.mark.parametrize("guaranteed", [False, True])
def test_an_idle_broadcaster_does_nothing(tmp_path, guaranteed):
    others = set(os.listdir("/proc/self/task"))
    broadcaster = Broadcaster()
    (task,) = set(os.listdir("/proc/self/task")) - others
    log = open_log(broadcaster, tmp_path, size=65536)
    into = add_pipe(log)
    readers = [Reader(log) for _ in range(3)]
    os.write(into, b"x")
    for reader in readers:
        reader.read(9)
    stuck = Reader(log, guaranteed=guaranteed)
    out, pipe = os.pipe()
    log.add_reader(pipe, offset=broadcast.END)
    os.set_blocking(into, False)
    for _ in range(60):  # more than sockets and pipe hold
        if select.select([], [into], [], 0.05)[1]:
            os.write(into, bytes(32768))
    os.close(into)  # a hang-up that a paused stream does not see
    wait_until(lambda: log.paused is guaranteed and log.streams == guaranteed)
    time.sleep(0.05)
    before = switches(task)
    time.sleep(0.3)
    assert switches(task) == before
    broadcaster.close()
    del stuck
    os.close(out)
    os.close(pipe)


def switches(task: str) -> list[str]:
    return [line for line in Path(f"/proc/self/task/{task}/status").read_text().splitlines() if "ctxt_switches" in line]
