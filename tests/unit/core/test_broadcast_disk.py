# SPDX-License-Identifier: Apache-2.0
"""The log on disk: its index, and opening it again after whatever has happened to it."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import pytest

from pyrt.core import broadcast, frames
from pyrt.core.broadcast import Broadcaster
from tests.unit.core.peers import Reader, add_pipe, open_log, segments, wait_until, write_all


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
