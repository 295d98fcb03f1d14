# SPDX-License-Identifier: Apache-2.0
"""Finding lines from behind, against a plain reading from the front."""

from __future__ import annotations

import os
import random
import shutil
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrt.core import frames, lines
from pyrt.core.broadcast import Broadcaster
from tests.unit.core.logfiles import (
    MS,
    Frame,
    as_written,
    find,
    known_times,
    one_by_one,
    select,
    show,
    split,
    write_log,
)

START_NS = 1_700_000_000_000_000_000
TEXT = st.text(alphabet="ab\n\n", max_size=12).map(str.encode)
STEP = st.sampled_from([0, 0, 300_000, MS, 5 * MS])
ENTRY = st.tuples(st.sampled_from([1, 1, 2, 2, 3]), TEXT, STEP, st.sampled_from([False] * 5 + [True]))


def make(entries: list[tuple[int, bytes, int, bool]]) -> list[Frame]:
    written, now = [], START_NS
    for kind, text, step, rolls in entries:
        now += step
        written.append(Frame(kind, text, now, rolls))
    return written


WANTED = st.fixed_dictionaries(
    {
        "tail": st.none() | st.integers(0, 12),
        "since_ns": st.none() | st.integers(-1, 25).map(lambda ms: START_NS + ms * MS),
        "until_ns": st.none() | st.integers(-1, 25).map(lambda ms: START_NS + ms * MS),
    }
)


@settings(max_examples=200, deadline=None)
@given(entries=st.lists(ENTRY, max_size=25), wanted=WANTED, index=st.sampled_from([True, True, True, False]))
def test_what_is_shown_is_what_a_plain_reading_finds(
    entries: list[tuple[int, bytes, int, bool]], wanted: dict[str, int | None], index: bool
) -> None:
    written = make(entries)
    if not index:
        wanted = {"tail": wanted["tail"]}
    path = Path(tempfile.mkdtemp())
    try:
        write_log(path, written, index=index)
        cut = find(path, **wanted)
        with Broadcaster() as broadcaster:
            got = split(show(broadcaster, path, cut, until=wanted.get("until_ns") is not None))
            raw = show(broadcaster, path, cut, until=wanted.get("until_ns") is not None, raw=True)
    finally:
        shutil.rmtree(path)
    expected = as_written(written, select(known_times(written), **wanted))
    assert one_by_one(got) == expected
    assert raw == bytes(byte for _, byte in expected)


def random_log(seed: int) -> list[Frame]:
    """Half a megabyte or more: several windows, frames that are larger than a block, a stream that is rarely used."""
    chance = random.Random(seed)
    written, now = [], START_NS
    newlines = chance.choice([0.001, 0.02, 0.3])
    for _ in range(chance.randrange(20, 500)):
        now += chance.choice([0, 10_000, 400_000, MS])
        size = chance.choice([1, 3, 100, 100, 2000, 3000, 100_000 if chance.random() < 0.01 else 5])
        text = bytearray(chance.choices(b"xyz", k=size))
        for at in range(size):
            if chance.random() < newlines:
                text[at] = 10
        kind = frames.STDERR if chance.random() < 0.1 else frames.STDOUT
        written.append(Frame(kind, bytes(text), now, chance.random() < 0.005))
    return written


@pytest.mark.parametrize("seed", range(8))
def test_large_logs(tmp_path: Path, broadcaster: Broadcaster, seed: int) -> None:
    written = random_log(seed)
    known = known_times(written)
    write_log(tmp_path, written)
    chance = random.Random(seed)
    times = [START_NS, written[-1].time_ns + MS, chance.choice(known).time_ns]
    choices: list[dict[str, int | None]] = [{"tail": number} for number in (0, 1, 10, 300, 10**15)]
    choices += [{"since_ns": moment} for moment in times]
    choices += [{"until_ns": moment, "tail": 7} for moment in times]
    for wanted in choices:
        got = split(show(broadcaster, tmp_path, find(tmp_path, **wanted), until="until_ns" in wanted))
        assert one_by_one(got) == as_written(written, select(known, **wanted)), wanted


@pytest.mark.parametrize("seed", range(8))
def test_an_index_that_is_wrong_misleads_nobody(tmp_path: Path, broadcaster: Broadcaster, seed: int) -> None:
    written = random_log(seed)
    write_log(tmp_path, written)
    chance = random.Random(seed)
    for index in tmp_path.glob("*.idx"):
        base, size = int(index.stem, 16), index.with_suffix(".log").stat().st_size
        offsets = sorted(base + chance.randrange(size) for _ in range(chance.randrange(30)))
        index.write_bytes(b"".join(struct.pack(">QQ", offset, START_NS) for offset in offsets) + b"\0" * seed * 5)
    for number in (1, 10, 300):
        got = split(show(broadcaster, tmp_path, find(tmp_path, tail=number)))
        assert one_by_one(got) == as_written(written, select(written, tail=number))


def test_a_torn_end_is_not_counted(tmp_path: Path, broadcaster: Broadcaster) -> None:
    write_log(tmp_path, [Frame(1, b"one\ntwo\n", START_NS), Frame(1, b"three\n", START_NS + MS)])
    with open(next(tmp_path.glob("*.log")), "ab") as log:
        log.write(frames.encode(1, b"never to be complete\n")[:-3])
    assert split(show(broadcaster, tmp_path, find(tmp_path, tail=2))) == [(1, b"two\n"), (1, b"three\n")]


@pytest.mark.parametrize("raw", [False, True])
def test_damage_is_told_after_what_stands_before_it(tmp_path: Path, broadcaster: Broadcaster, raw: bool) -> None:
    write_log(tmp_path, [Frame(1, b"one\ntwo\n", START_NS), Frame(2, b"err\n", START_NS + MS)])
    with open(next(tmp_path.glob("*.log")), "ab") as log:
        log.write(b"\0" * 50)
    data = show(broadcaster, tmp_path, find(tmp_path, tail=2), last=b"not this", raw=raw)
    text = f"the log is damaged from here on: {tmp_path}/{0:016x}.log: ".encode()
    if raw:
        assert data.startswith(b"two\nerr\nError: " + text) and data.endswith(b"\n")
        return
    *shown, error, status = split(data)
    assert shown == [(1, b"two\n"), (2, b"err\n")]
    assert error[0] == frames.ERROR and error[1].startswith(text)
    assert status == (frames.EXIT, b"\0\0\0\x7d")


def test_damage_in_the_way_of_the_search_is_an_error(tmp_path: Path) -> None:
    write_log(tmp_path, [Frame(1, b"x" * 100, START_NS), Frame(1, b"one\n", START_NS, rolls=True)])
    oldest, _ = sorted(tmp_path.glob("*.log"))
    oldest.write_bytes(b"\xff" * oldest.stat().st_size)
    assert find(tmp_path, tail=1).offset == oldest.stat().st_size
    with pytest.raises(lines.DamageError):
        find(tmp_path, tail=2)


def test_parts_far_from_each_other_are_lines_of_their_own(tmp_path: Path, broadcaster: Broadcaster) -> None:
    """A line is looked for so far and no further: the end of the search does not depend on what was written."""
    far = 2 * lines.REACH_BYTES
    between = [Frame(1, b"y" * 9_999 + b"\n", START_NS + number * MS) for number in range(far // 10_000)]
    written = [Frame(2, b"begun ", START_NS), *between, Frame(2, b"ended\n", START_NS + 10**12)]
    write_log(tmp_path, written)
    assert split(show(broadcaster, tmp_path, find(tmp_path, tail=1))) == [(2, b"ended\n")]


def test_an_empty_log(tmp_path: Path) -> None:
    assert find(tmp_path, tail=3, since_ns=START_NS, until_ns=START_NS) == lines.Cut(0, (0, 0, 0, 0), 0)


def test_a_directory_in_place_of_a_segment(tmp_path: Path) -> None:
    (tmp_path / f"{0:016x}.log").mkdir()
    with pytest.raises(IsADirectoryError):
        find(tmp_path, tail=3)


def test_nothing_stays_open(tmp_path: Path) -> None:
    write_log(tmp_path, random_log(1))
    before = len(os.listdir("/proc/self/fd"))
    find(tmp_path, tail=300, since_ns=START_NS, until_ns=START_NS + MS)
    assert len(os.listdir("/proc/self/fd")) == before
