# SPDX-License-Identifier: Apache-2.0
"""The Broadcaster: every reader gets what the container wrote, or is told what it missed; nobody holds up anybody."""

from __future__ import annotations

import hashlib
import os
import pty
import select
import socket
import struct
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyrt.core import broadcast, frames
from pyrt.core.broadcast import Broadcaster, Event, Log

TRAILER = frames.encode(frames.EXIT, b"\0\0\0\x07")


@pytest.fixture
def broadcaster() -> Iterator[Broadcaster]:
    with Broadcaster() as made:
        yield made


def open_log(broadcaster: Broadcaster, path: Path, size: int = 1 << 20, files: int = 4) -> Log:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return broadcaster.open_log(directory, max_size_bytes=size, max_files=files)
    finally:
        os.close(directory)


@pytest.fixture
def log(broadcaster: Broadcaster, tmp_path: Path) -> Log:
    return open_log(broadcaster, tmp_path)


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


# One container, one reader


def test_output_reaches_reader_and_log_as_the_same_frames(broadcaster, log, tmp_path):
    reader = Reader(log)
    into = add_pipe(log)
    os.write(into, b"hello")
    assert reader.read(13) == frames.encode(frames.STDOUT, b"hello")
    os.close(into)
    assert wait_events(broadcaster, Event.DRAINED) == [(Event.DRAINED, log, 0)]
    log.finish(TRAILER)
    assert reader.read() == TRAILER
    assert wait_events(broadcaster, Event.READER_DONE) == [(Event.READER_DONE, log, reader.id)]
    assert segments(tmp_path)[0].read_bytes() == frames.encode(frames.STDOUT, b"hello")
    assert (log.start_offset, log.end_offset, log.streams, log.readers) == (0, 13, 0, 0)


def test_the_trailer_waits_for_the_streams(log):
    reader = Reader(log)
    into = add_pipe(log)
    log.finish(TRAILER)
    os.write(into, b"late")
    assert reader.read(12) == frames.encode(frames.STDOUT, b"late")
    os.close(into)
    assert reader.read() == TRAILER


def test_both_streams_arrive_whole_and_in_order(log):
    reader = Reader(log, guaranteed=True)
    sent = {frames.STDOUT: os.urandom(3_000_001), frames.STDERR: os.urandom(2_000_003)}

    def write(kind: int, into: int) -> None:
        step = 65536 if kind == frames.STDOUT else 777
        for at in range(0, len(sent[kind]), step):
            write_all(into, sent[kind][at : at + step])
        os.close(into)

    writers = [threading.Thread(target=write, args=(kind, add_pipe(log, kind))) for kind in sent]
    log.finish(TRAILER)
    for writer in writers:
        writer.start()
    found = reader.frames()
    for writer in writers:
        writer.join()
    assert found[-1] == (frames.EXIT, b"\0\0\0\x07")
    for kind, data in sent.items():
        assert hashlib.sha256(joined(found, kind)).digest() == hashlib.sha256(data).digest()
    assert joined(found, frames.NOTICE) == b""


def test_a_pty_ends_when_its_last_user_has_gone(broadcaster, log):
    master, slave = pty.openpty()
    tty.setraw(slave)
    log.add_stream(master, frames.STDOUT)
    reader = Reader(log)
    os.write(slave, b"from a terminal")
    assert reader.read(23) == frames.encode(frames.STDOUT, b"from a terminal")
    os.close(slave)
    wait_events(broadcaster, Event.DRAINED)


def test_a_reader_may_be_a_pipe(log):
    out, into = os.pipe()
    log.add_reader(into, raw=True)
    os.close(into)
    stream = add_pipe(log)
    data = os.urandom(300_000)
    writer = threading.Thread(target=lambda: write_and_close(stream, data))
    writer.start()
    log.finish(TRAILER)
    with os.fdopen(out, "rb") as pipe:
        assert pipe.read() == data
    writer.join()


def test_notices_stand_in_line(log):
    into = add_pipe(log)
    reader = Reader(log)
    os.write(into, b"one")
    reader.read(11)
    log.notice("ü: tell the user\n".encode())
    log.close_streams()
    log.finish()
    assert reader.frames() == [(frames.NOTICE, "ü: tell the user\n".encode())]
    os.close(into)


def test_giving_up_on_a_stream_takes_what_lies_in_it(broadcaster, log):
    into = add_pipe(log)  # stays open, like a grandchild's
    reader = Reader(log)
    os.write(into, b"in time")
    log.close_streams()
    assert wait_events(broadcaster, Event.DRAINED)
    log.finish(TRAILER)
    assert reader.read() == frames.encode(frames.STDOUT, b"in time") + TRAILER
    with pytest.raises(BrokenPipeError):
        os.write(into, b"too late")
    os.close(into)


# Many readers


def test_readers_come_at_any_time_and_get_the_same(log):
    into = add_pipe(log)
    data = os.urandom(400_000)
    readers = [Reader(log)]
    results: dict[int, bytes] = {}

    def collect(reader: Reader) -> None:
        results[reader.id] = reader.read()

    threads = [threading.Thread(target=collect, args=(readers[0],))]
    threads[0].start()
    for at in range(0, len(data), 50_000):
        write_all(into, data[at : at + 50_000])
        readers.append(Reader(log, offset=[0, broadcast.START][at // 50_000 % 2]))
        threads.append(threading.Thread(target=collect, args=(readers[-1],)))
        threads[-1].start()
    os.close(into)
    log.finish(TRAILER)
    readers.append(Reader(log))  # after the end
    threads.append(threading.Thread(target=collect, args=(readers[-1],)))
    threads[-1].start()
    for thread in threads:
        thread.join()
    assert len(set(results.values())) == 1
    parser = frames.FrameReader()
    parser.feed(results[readers[0].id])
    assert joined(list(parser), frames.STDOUT) == data


def test_a_reader_from_the_end_gets_what_follows(log):
    into = add_pipe(log)
    os.write(into, b"before")
    wait_until(lambda: log.end_offset == 14)
    reader = Reader(log, offset=broadcast.END)
    middle = Reader(log, offset=14)
    os.write(into, b"after")
    assert reader.read(13) == middle.read(13) == frames.encode(frames.STDOUT, b"after")
    os.close(into)


def test_a_reader_that_does_not_follow_is_done_at_what_was_the_end(broadcaster, log):
    into = add_pipe(log)
    os.write(into, b"so far")
    wait_until(lambda: log.end_offset == 14)
    reader = Reader(log, follow=False)
    assert reader.read() == frames.encode(frames.STDOUT, b"so far")
    assert wait_events(broadcaster, Event.READER_DONE) == [(Event.READER_DONE, log, reader.id)]
    os.close(into)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("picked", [(frames.STDOUT,), (frames.STDERR,), (frames.STDOUT, frames.STDERR)])
@pytest.mark.parametrize("size", [1, 700, 90_000])
def test_picking_streams_and_dropping_headers(log, raw, picked, size):
    pipes = {kind: add_pipe(log, kind) for kind in (frames.STDOUT, frames.STDERR)}
    written: list[tuple[int, bytes]] = []
    for turn in range(12):
        kind = frames.STDERR if turn % 3 == 0 else frames.STDOUT
        written.append((kind, os.urandom(size)))
        before = log.end_offset
        write_all(pipes[kind], written[-1][1])
        wait_until(lambda: log.end_offset >= before + size + 8)  # noqa: B023
    log.notice(b"framed readers only")
    for into in pipes.values():
        os.close(into)
    log.finish(TRAILER)
    reader = Reader(log, raw=raw, streams=picked)
    expected = b"".join(payload for kind, payload in written if kind in picked)
    if raw:
        assert reader.read() == expected
    else:
        found = reader.frames()
        assert b"".join(payload for kind, payload in found if kind in picked) == expected
        assert {kind for kind, _ in found} == {*picked, frames.NOTICE, frames.EXIT}


def test_a_slow_raw_reader_gets_every_byte(log):
    into = add_pipe(log)
    reader = Reader(log, raw=True, guaranteed=True)
    data = os.urandom(1_500_000)
    writer = threading.Thread(target=lambda: write_and_close(into, data))
    writer.start()
    log.finish()
    received = b""
    while part := reader.socket.recv(3001):
        received += part
    writer.join()
    assert received == data


def test_a_reader_that_leaves_is_told_of_and_nobody_else_notices(broadcaster, log):
    into = add_pipe(log)
    leaving, staying = Reader(log), Reader(log)
    leaving.socket.close()
    assert wait_events(broadcaster, Event.READER_GONE) == [(Event.READER_GONE, log, leaving.id)]
    os.write(into, b"on")
    assert staying.read(10) == frames.encode(frames.STDOUT, b"on")
    assert log.remove_reader(leaving.id) is False
    assert log.remove_reader(staying.id) is True
    assert log.remove_reader(staying.id) is False
    os.write(into, b"and on")
    assert staying.read() == b""  # the broadcaster's duplicate was the last
    assert broadcaster.events() == []
    os.close(into)


def test_a_half_closed_client_still_reads(log):
    reader = Reader(log)
    reader.socket.shutdown(socket.SHUT_WR)  # the end of its stdin
    into = add_pipe(log)
    os.write(into, b"answer")
    assert reader.read(14) == frames.encode(frames.STDOUT, b"answer")
    os.close(into)


def test_the_callers_descriptor_stays_the_callers(log):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        log.remove_reader(log.add_reader(ours.fileno()))
        ours.send(b"still mine")
        assert theirs.recv(100) == b"still mine"


# The cap


def test_readers_that_do_not_read_hold_up_nobody(log):
    stuck = [Reader(log, offset=broadcast.END) for _ in range(5)]
    busy = Reader(log, guaranteed=True)
    into = add_pipe(log)
    data = os.urandom(20_000_000)
    writer = threading.Thread(target=lambda: write_and_close(into, data))
    writer.start()
    log.finish(TRAILER)
    assert joined(busy.frames(), frames.STDOUT) == data
    writer.join()
    for reader in stuck:
        found = reader.frames()
        got = joined(found, frames.STDOUT)
        notices = [payload for kind, payload in found if kind == frames.NOTICE]
        missed = [int(notice.split(b"pyrt: ")[1].split()[0]) for notice in notices]
        assert len(missed) == 1
        assert len(got) + missed[0] == len(data)
        place = [kind for kind, _ in found].index(frames.NOTICE)
        head = joined(found[:place], frames.STDOUT)
        assert data.startswith(head) and data.endswith(got[len(head) :])
        assert found[-1] == (frames.EXIT, b"\0\0\0\x07")


@pytest.mark.parametrize("options", [{"streams": (frames.STDOUT,)}, {"raw": True}])
def test_a_picking_reader_can_be_overtaken_too(broadcaster, log, options):
    stuck = Reader(log, **options)
    into = add_pipe(log)
    data = b"".join(struct.pack(">Q", number) for number in range(1_500_000))
    write_all(into, data)
    os.close(into)
    wait_events(broadcaster, Event.DRAINED)
    log.finish(TRAILER)
    if options.get("raw"):
        got = stuck.read()
        assert len(got) < len(data) and data.endswith(got[-100_000:])
    else:
        found = stuck.frames()
        (notice,) = [payload for kind, payload in found if kind == frames.NOTICE]
        assert len(joined(found, frames.STDOUT)) + int(notice.split()[1]) == len(data)


def test_the_log_keeps_to_its_cap(broadcaster, tmp_path):
    log = open_log(broadcaster, tmp_path, size=8192, files=3)
    into = add_pipe(log)
    for number in range(200):
        write_all(into, b"%04d" % number * 100)
        wait_until(lambda: log.end_offset >= (number + 1) * 408)  # noqa: B023
    os.close(into)
    files = segments(tmp_path)
    assert len(files) == 3
    assert all(file.stat().st_size <= 8192 for file in files)
    assert {file.stem for file in tmp_path.glob("*.idx")} == {file.stem for file in files}
    at = log.start_offset
    for file in files:
        assert int(file.stem, 16) == at
        parser = frames.FrameReader()
        parser.feed(file.read_bytes())
        assert len(list(parser)) > 0
        assert parser.pending == 0  # no frame straddles two files
        at += file.stat().st_size
    assert at == log.end_offset
    reader = Reader(log)  # asks for what is gone
    os.close(add_pipe(log))
    log.finish()
    assert reader.frames()[0] == (
        frames.NOTICE,
        b"pyrt: %d bytes of output were missed here: the log's size limit overtook this reader\n" % log.start_offset,
    )


def fill(into: int) -> int:
    """Write numbers until nobody has read for a while; return how many bytes."""
    written = 0
    while select.select([], [into], [], 0.2)[1]:
        written += os.write(into, b"".join(struct.pack(">Q", written // 8 + number) for number in range(512)))
    return written


def test_a_guaranteed_reader_is_waited_for_and_only_as_long_as_it_is_there(broadcaster, tmp_path):
    log = open_log(broadcaster, tmp_path, size=65536, files=2)
    slow = Reader(log, guaranteed=True)
    into = add_pipe(log)
    os.set_blocking(into, False)
    written = fill(into)
    assert log.paused
    parser = frames.FrameReader()
    parser.feed(slow.read(written // 2))
    fill(into)
    assert log.paused
    received = joined(list(parser), frames.STDOUT)
    assert len(received) > written // 4
    assert [number for (number,) in struct.iter_unpack(">Q", received[: len(received) // 8 * 8])] == list(
        range(len(received) // 8)
    )
    slow.socket.close()  # its user has left
    wait_events(broadcaster, Event.READER_GONE)
    wait_until(lambda: not log.paused)
    os.close(into)
    assert wait_events(broadcaster, Event.DRAINED)


def test_giving_up_streams_does_not_wait_for_a_guaranteed_reader(broadcaster, tmp_path):
    log = open_log(broadcaster, tmp_path, size=65536, files=2)
    slow = Reader(log, guaranteed=True)
    into = add_pipe(log)
    os.set_blocking(into, False)
    written = fill(into)
    assert log.paused
    log.notice(b"not held up either")
    log.close_streams()
    assert wait_events(broadcaster, Event.DRAINED)
    log.finish(TRAILER)
    found = slow.frames()
    assert len(joined(found, frames.STDOUT)) == written
    assert joined(found, frames.NOTICE) == b"not held up either"
    os.close(into)


# What is on disk


def read_index(path: Path) -> list[tuple[int, int]]:
    return list(struct.iter_unpack(">QQ", path.read_bytes()))


def test_the_index_tells_when_an_offset_was_written(log, tmp_path):
    into = add_pipe(log)
    before = time.time_ns() - 20_000_000  # the index has the resolution of a tick
    for number in range(20):
        os.write(into, b"x" * 10)
        wait_until(lambda: log.end_offset == (number + 1) * 18)  # noqa: B023
        time.sleep(0.002)
    os.close(into)
    records = read_index(next(tmp_path.glob("*.idx")))
    assert records[0][0] == 0
    assert all(offset % 18 == 0 for offset, _ in records)
    assert [offset for offset, _ in records] == sorted({offset for offset, _ in records})
    assert len({when // 1_000_000 for _, when in records}) == len(records) > 2
    assert before <= records[0][1] <= records[-1][1] <= time.time_ns()


def fill_directory(path: Path, texts: list[bytes], size: int = 8192) -> int:
    with Broadcaster() as broadcaster:
        log = open_log(broadcaster, path, size=size)
        into = add_pipe(log)
        for text in texts:
            end = log.end_offset
            write_all(into, text)
            wait_until(lambda: log.end_offset == end + len(text) + 8)  # noqa: B023
        os.close(into)
        return log.end_offset


def read_directory(path: Path, size: int = 8192) -> tuple[int, int, list[tuple[int, bytes]]]:
    with Broadcaster() as broadcaster:
        log = open_log(broadcaster, path, size=size)
        reader = Reader(log, offset=broadcast.START, follow=False)
        return log.start_offset, log.end_offset, reader.frames()


def test_an_existing_log_is_continued(tmp_path):
    first = [b"%03d" % number * 200 for number in range(30)]
    end = fill_directory(tmp_path, first)
    second = [b"again %d" % number for number in range(5)]
    assert fill_directory(tmp_path, second) == end + sum(len(text) + 8 for text in second)
    _, _, found = read_directory(tmp_path)
    assert found == [(frames.STDOUT, text) for text in first + second]


@pytest.mark.parametrize("torn", [1, 7, 8, 50])
def test_a_torn_end_is_cut_off(tmp_path, torn):
    end = fill_directory(tmp_path, [b"whole", b"whole too"])
    with segments(tmp_path)[-1].open("ab") as file:
        file.write(frames.encode(frames.STDOUT, b"t" * 100)[:torn])
    assert read_directory(tmp_path)[1] == end
    fill_directory(tmp_path, [b"new"])
    assert [payload for _, payload in read_directory(tmp_path)[2]] == [b"whole", b"whole too", b"new"]


def test_zeros_after_a_power_cut_are_no_frames(tmp_path):
    end = fill_directory(tmp_path, [b"whole"])
    with segments(tmp_path)[-1].open("ab") as file:
        file.write(bytes(4096))
    assert read_directory(tmp_path)[1] == end


def test_segments_behind_a_gap_are_left_alone(tmp_path):
    fill_directory(tmp_path, [b"%03d" % number * 200 for number in range(30)])
    files = segments(tmp_path)
    assert len(files) == 3
    files[1].unlink()
    start, _, found = read_directory(tmp_path)
    assert start == int(files[2].stem, 16)
    assert found[-1] == (frames.STDOUT, b"029" * 200)
    assert files[0].exists()


def test_a_damaged_or_missing_index_costs_only_the_index(tmp_path):
    fill_directory(tmp_path, [b"one", b"two"])
    next(tmp_path.glob("*.idx")).write_bytes(b"\xff" * 100)
    assert len(read_directory(tmp_path)[2]) == 2
    next(tmp_path.glob("*.idx")).unlink()
    fill_directory(tmp_path, [b"three"])
    assert len(read_directory(tmp_path)[2]) == 3


def test_foreign_files_do_not_disturb(tmp_path):
    (tmp_path / "README").write_text("not ours")
    (tmp_path / "ffffffffffffffff.log").write_text("an offset no log can reach")
    (tmp_path / "0000000000000000.LOG").write_text("")
    end = fill_directory(tmp_path, [b"one"])
    assert (end, len(read_directory(tmp_path)[2])) == (11, 1)


# What is refused


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


# Threads and descriptors


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
    assert resources() == before


def test_an_idle_broadcaster_does_nothing(tmp_path):
    others = set(os.listdir("/proc/self/task"))
    broadcaster = Broadcaster()
    (task,) = set(os.listdir("/proc/self/task")) - others
    log = open_log(broadcaster, tmp_path)
    into = add_pipe(log)
    readers = [Reader(log) for _ in range(3)]
    os.write(into, b"x")
    for reader in readers:
        reader.read(9)
    time.sleep(0.05)
    before = switches(task)
    time.sleep(0.3)
    assert switches(task) == before
    os.close(into)
    broadcaster.close()


def switches(task: str) -> list[str]:
    return [line for line in Path(f"/proc/self/task/{task}/status").read_text().splitlines() if "ctxt_switches" in line]
