# SPDX-License-Identifier: Apache-2.0
"""One container's output: whole, in order, to the log and to any number of readers."""

from __future__ import annotations

import hashlib
import os
import pty
import select
import socket
import threading
import tty

import pytest

from pyrt.core import broadcast, frames
from pyrt.core.broadcast import Event
from tests.unit.core.peers import (
    TRAILER,
    Reader,
    add_pipe,
    joined,
    segments,
    wait_events,
    wait_until,
    write_all,
    write_and_close,
)


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


def test_a_reader_that_failed_once_is_out_for_good(broadcaster, log, tmp_path):
    """Though it could be written to again: a pipe with a name has found another who reads."""
    os.mkfifo(tmp_path / "fifo")
    first = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    end = os.open(tmp_path / "fifo", os.O_WRONLY)
    failing, staying, into = log.add_reader(end), Reader(log), add_pipe(log)
    os.write(into, b"one")
    assert staying.read(11) == frames.encode(frames.STDOUT, b"one")
    found = b""
    while len(found) < 11:  # header and payload may come one after the other
        assert select.select([first], [], [], 10)[0]
        found += os.read(first, 99)
    assert found == frames.encode(frames.STDOUT, b"one")
    os.close(first)
    os.write(into, b"two")
    assert wait_events(broadcaster, Event.READER_GONE) == [(Event.READER_GONE, log, failing)]
    assert staying.read(11) == frames.encode(frames.STDOUT, b"two")
    again = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    os.write(into, b"three")
    assert staying.read(13) == frames.encode(frames.STDOUT, b"three")
    with pytest.raises(BlockingIOError):
        os.read(again, 1)
    for fd in (again, end, into):
        os.close(fd)


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
