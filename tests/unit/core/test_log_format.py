# SPDX-License-Identifier: Apache-2.0
"""Lines with their times and as JSON, against a plain reading; and what a live log does to them."""

from __future__ import annotations

import base64
import datetime
import json
import os
import re
import shutil
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrt.core import broadcast, frames
from pyrt.core.broadcast import Broadcaster, Event, Log
from tests.unit.core.logfiles import MS, Frame, Line, find, known_times, select, show, split, whole, write_log
from tests.unit.core.peers import (
    TRAILER,
    Reader,
    add_pipe,
    joined,
    open_log,
    wait_events,
    wait_until,
    write_all,
    write_and_close,
)

START_NS = 1_700_000_000_123_456_789
PIECE = 16384
HARD = st.sampled_from([b"\n", b"a\nb", b'"\\\n', b"\xf0\x9f"])
ANY = st.binary(max_size=10) | st.text(max_size=8).map(str.encode) | HARD
ENTRY = st.tuples(st.sampled_from([1, 2]), ANY, st.sampled_from([0, 300_000, MS, 1000 * MS]), st.booleans())


def stamp(time_ns: int) -> str:
    second = datetime.datetime.fromtimestamp(time_ns // 10**9, datetime.UTC)
    return f"{second:%Y-%m-%dT%H:%M:%S}.{time_ns % 10**9:09d}Z"


def as_object(line: Line) -> dict[str, str]:
    found = {
        "log": line.text.decode("utf-8", "replace"),
        "stream": "stdout" if line.kind == frames.STDOUT else "stderr",
        "time": stamp(line.time_ns),
    }
    try:
        line.text.decode()
    except UnicodeDecodeError:
        found["base64"] = base64.b64encode(line.text).decode()
    return found


def objects(data: bytes) -> list[dict[str, str]]:
    assert data == b"" or data.endswith(b"}\n")
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def stamped(wanted: list[Line]) -> list[tuple[int, bytes]]:
    return [(line.kind, stamp(line.time_ns).encode() + b" " + line.text) for line in wanted]


def runs(found: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Neighbours of one stream as one."""
    merged: list[tuple[int, bytes]] = []
    for kind, payload in found:
        if merged and merged[-1][0] == kind:
            merged[-1] = (kind, merged[-1][1] + payload)
        else:
            merged.append((kind, payload))
    return merged


@settings(max_examples=200, deadline=None)
@given(entries=st.lists(ENTRY, max_size=20), tail=st.none() | st.integers(0, 8))
def test_lines_are_those_of_a_plain_reading(entries: list[tuple[int, bytes, int, bool]], tail: int | None) -> None:
    written, now = [], START_NS
    for kind, text, step, rolls in entries:
        now += step
        written.append(Frame(kind, text, now, rolls))
    path = Path(tempfile.mkdtemp())
    try:
        write_log(path, written)
        cut = find(path, tail=tail)
        with Broadcaster() as broadcaster:
            shown = split(show(broadcaster, path, cut, style=broadcast.JSON))
            raw = show(broadcaster, path, cut, style=broadcast.JSON, raw=True)
            times = split(show(broadcaster, path, cut, style=broadcast.TIMES))
    finally:
        shutil.rmtree(path)
    wanted = select(known_times(written), tail=tail)
    wanted.sort(key=lambda line: not line.text.endswith(b"\n"))  # what has no end is known at the end of all
    assert objects(joined(shown, frames.STDOUT)) == [as_object(line) for line in wanted] == objects(raw)
    assert runs(times) == runs(stamped(wanted))


def test_long_lines_come_in_pieces(tmp_path: Path, broadcaster: Broadcaster) -> None:
    """Of 16 KiB, as in docker; a character is not cut in two, and only the first piece has a time in front."""
    text = "ä" * (PIECE // 2 * 3) + "x"
    data = b"y" + text.encode() + b"\nshort\n"
    write_log(tmp_path, [Frame(1, data[at : at + 1000], START_NS) for at in range(0, len(data), 1000)])
    shown = objects(show(broadcaster, tmp_path, whole(tmp_path), style=broadcast.JSON, raw=True))
    assert "".join(one["log"] for one in shown) == data.decode()
    assert not any("base64" in one for one in shown)
    assert [one["log"].endswith("\n") for one in shown] == [False, False, False, True, True]
    assert {len(one["log"].encode()) for one in shown[:3]} == {PIECE - 1, PIECE}
    times = show(broadcaster, tmp_path, whole(tmp_path), style=broadcast.TIMES, raw=True)
    front = stamp(START_NS).encode() + b" "
    assert times == front + data[:-6] + front + b"short\n"


@pytest.mark.parametrize("style", [broadcast.JSON, broadcast.TIMES])
def test_what_makes_the_most_text_of_the_least_arrives_whole(
    tmp_path: Path, broadcaster: Broadcaster, style: int
) -> None:
    parts = [b"\n" * 50_000, b"\x01" * 50_000, b"\xff" * 50_000, bytes(range(256)) * 300, b"\n"]
    write_log(tmp_path, [Frame(1 + number % 2, part, START_NS) for number, part in enumerate(parts)])
    data = joined(split(show(broadcaster, tmp_path, whole(tmp_path), style=style)), frames.STDOUT)
    if style == broadcast.TIMES:
        assert data.count(b"Z \n") >= 50_000
        return
    for kind, stream in ((0, "stdout"), (1, "stderr")):
        got = [one for one in objects(data) if one["stream"] == stream]
        text = b"".join(base64.b64decode(one["base64"]) if "base64" in one else one["log"].encode() for one in got)
        assert text == b"".join(parts[kind::2])


def test_notices_stay_notices(tmp_path: Path, broadcaster: Broadcaster) -> None:
    write_log(tmp_path, [Frame(1, b"a", START_NS), Frame(3, b"note\n", START_NS), Frame(1, b"b\n", START_NS)])
    shown = split(show(broadcaster, tmp_path, whole(tmp_path), style=broadcast.JSON))
    assert [kind for kind, _ in shown] == [frames.NOTICE, frames.STDOUT] and shown[0][1] == b"note\n"


def test_a_log_without_an_index_has_the_time_of_its_file(tmp_path: Path, broadcaster: Broadcaster) -> None:
    write_log(tmp_path, [Frame(1, b"a\n", START_NS)], index=False)
    os.utime(next(tmp_path.glob("*.log")), ns=(0, START_NS))
    shown = show(broadcaster, tmp_path, whole(tmp_path), style=broadcast.TIMES, raw=True)
    assert shown == stamp(START_NS).encode() + b" a\n"


def test_following(log: Log) -> None:
    """A line comes when its end does, and what never has one when the log is finished."""
    into, errors = add_pipe(log), add_pipe(log, frames.STDERR)
    reader = Reader(log, style=broadcast.JSON, last=TRAILER)
    before = time.time()
    write_all(into, b"first\nsec")
    first = b""
    while not first.endswith(b"\n"):
        first += reader.read(1)
    assert b'"first\\n"' in first
    write_all(errors, b"from the other\n")
    other = b""
    while not other.endswith(b"\n"):
        other += reader.read(1)
    assert b'"from the other\\n"' in other
    write_all(into, b"ond\nrest")
    os.close(into)
    os.close(errors)
    log.finish(frames.encode(frames.EXIT, b"\0\0\0\x09"))
    found = split(first + other + reader.read())
    assert found[-1] == (frames.EXIT, b"\0\0\0\x07")
    shown = objects(joined(found, frames.STDOUT))
    assert [one["log"] for one in shown] == ["first\n", "from the other\n", "second\n", "rest"]
    for one in shown:
        moment = datetime.datetime.fromisoformat(one["time"][:26] + "+00:00").timestamp()
        assert before - 0.1 < moment < time.time() + 0.1


@pytest.mark.parametrize("style", [broadcast.PLAIN, broadcast.TIMES])
def test_a_follower_that_is_settled_gets_what_there_is(broadcaster: Broadcaster, log: Log, style: int) -> None:
    into = add_pipe(log)
    reader = Reader(log, style=style, last=TRAILER)
    write_all(into, b"one\ntwo")
    wait_until(lambda: log.end_offset > 0)
    assert log.settle_reader(reader.id)
    found = reader.frames()
    assert re.sub(rb"\S+Z ", b"", joined(found, frames.STDOUT)) == b"one\ntwo"
    assert found[-1] == (frames.EXIT, b"\0\0\0\x07")
    wait_events(broadcaster, Event.READER_DONE)
    assert not log.settle_reader(reader.id)
    os.close(into)


def test_one_that_is_overtaken_is_told_how_much(broadcaster: Broadcaster, tmp_path: Path) -> None:
    log = open_log(broadcaster, tmp_path, size=65536, files=2)
    into = add_pipe(log)
    reader = Reader(log, style=broadcast.JSON, last=TRAILER)
    data = b"".join(b"%015d\n" % number for number in range(200_000))
    write_all(into, data)
    os.close(into)
    wait_events(broadcaster, Event.DRAINED)
    log.finish()
    found = reader.frames()
    notices = [payload for kind, payload in found if kind == frames.NOTICE]
    missed = sum(int(notice.split()[1]) for notice in notices)
    text = b"".join(one["log"].encode() for one in objects(joined(found, frames.STDOUT)))
    assert notices and len(text) + missed == len(data)
    assert data.startswith(text[:1000]) and data.endswith(text[-1000:])


def test_a_log_in_memory_is_a_log(broadcaster: Broadcaster) -> None:
    """A guaranteed reader gets every byte, one that comes later what is still there, and no file is made."""
    log = broadcaster.open_memory_log(max_size_bytes=65536, max_files=2)
    into = add_pipe(log)
    reader = Reader(log, guaranteed=True, raw=True)
    data = os.urandom(3_000_000)
    writer = threading.Thread(target=lambda: write_and_close(into, data))
    writer.start()
    assert reader.read(len(data)) == data
    writer.join()
    late = Reader(log, raw=True, follow=False)
    rest = late.read()
    assert data.endswith(rest) and 0 < len(rest) <= 2 * 65536
    log.close()
