# SPDX-License-Identifier: Apache-2.0
"""The log's cap: nobody holds up the container but a guaranteed reader; who is overtaken is told what it missed."""

from __future__ import annotations

import os
import select
import struct
import threading

import pytest

from pyrt.core import broadcast, frames
from pyrt.core.broadcast import Event
from tests.unit.core.peers import (
    TRAILER,
    Reader,
    add_pipe,
    joined,
    open_log,
    segments,
    wait_events,
    wait_until,
    write_all,
    write_and_close,
)


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


@pytest.mark.parametrize("options", [{}, {"streams": (frames.STDOUT,)}, {"guaranteed": True}])
def test_a_reader_that_detaches_is_sent_whole_frames_and_the_exit(broadcaster, log, options):
    reader = Reader(log, **options)
    into = add_pipe(log)
    write_all(into, os.urandom(1_000_000))  # more than the socket holds: it is inside a frame
    wait_until(lambda: log.end_offset > 600_000)
    assert log.end_reader(reader.id, TRAILER) is True
    assert log.end_reader(reader.id, TRAILER) is False
    found = reader.frames()
    assert found[-1] == (frames.EXIT, b"\0\0\0\x07")
    assert len(joined(found, frames.STDOUT)) < 1_000_000
    assert wait_events(broadcaster, Event.READER_DONE)[-1] == (Event.READER_DONE, log, reader.id)
    assert log.end_reader(reader.id) is False
    assert log.streams == 1
    os.close(into)


@pytest.mark.parametrize("options", [{}, {"streams": (frames.STDERR,)}])
def test_what_a_reader_alone_is_told_stands_between_two_frames(log, options):
    """Told over and over while a torrent passes it; of what it was not told in time the last counts."""
    reader, other = Reader(log, guaranteed=True, **options), Reader(log, guaranteed=True)
    into = [add_pipe(log, frames.STDOUT), add_pipe(log, frames.STDERR)]
    data = os.urandom(3_000_000)
    writers = [threading.Thread(target=write_and_close, args=(fd, data)) for fd in into]
    found: dict[str, list[tuple[int, bytes]]] = {}
    collectors = [
        threading.Thread(target=lambda: found.update(reader=reader.frames())),
        threading.Thread(target=lambda: found.update(other=other.frames())),
    ]
    for thread in (*writers, *collectors):
        thread.start()
    count, busy = 0, True
    while busy:
        busy = any(thread.is_alive() for thread in writers)
        count += 1
        assert log.tell_reader(reader.id, frames.encode(frames.CREDIT, count.to_bytes(8, "big")))
    log.finish(TRAILER)
    for thread in (*writers, *collectors):
        thread.join()
    numbers = [int.from_bytes(payload, "big") for kind, payload in found["reader"] if kind == frames.CREDIT]
    assert numbers == sorted(set(numbers)) and numbers[-1] == count
    assert joined(found["reader"], frames.STDERR) == joined(found["other"], frames.STDERR) == data
    assert joined(found["reader"], frames.STDOUT) == (b"" if "streams" in options else data)
    assert not joined(found["other"], frames.CREDIT)
    assert log.tell_reader(reader.id, TRAILER) is False


def test_a_reader_that_is_told_something_while_it_is_overtaken(broadcaster, tmp_path):
    log = open_log(broadcaster, tmp_path, size=65536, files=2)
    reader = Reader(log)
    into = add_pipe(log)
    word = frames.encode(frames.CREDIT, bytes(8))
    write_all(into, os.urandom(500_000))  # more than the socket takes: it is inside a frame
    assert log.tell_reader(reader.id, word)
    write_all(into, os.urandom(1_000_000))
    os.close(into)
    wait_until(lambda: log.streams == 0)
    log.finish(TRAILER)
    found = reader.frames()
    assert [payload for kind, payload in found if kind == frames.CREDIT] == [bytes(8)]
    missed = [int(payload.split()[1]) for kind, payload in found if kind == frames.NOTICE]
    assert len(joined(found, frames.STDOUT)) + sum(missed) == 1_500_000 and missed


def test_who_cannot_be_told_anything(log):
    raw = Reader(log, raw=True)
    assert log.tell_reader(raw.id, TRAILER) is False
    assert log.tell_reader(99, TRAILER) is False
    for size in (0, 65):
        with pytest.raises(ValueError, match="none or more than 64"):
            log.tell_reader(raw.id, bytes(size))
