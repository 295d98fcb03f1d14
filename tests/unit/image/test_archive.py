# SPDX-License-Identifier: Apache-2.0
"""The programs that make archives and take them apart: one that fails tells how, and why if it still can."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrt.errors import ImageError
from pyrt.image import archive, packing

Program = Callable[[str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Put a shell script into the place of both; `$output` and `$report` are the files it writes to."""

    def install(body: str) -> None:
        path = tmp_path / "program"
        path.write_text(
            "#!/bin/sh\n"
            "while [ $# -gt 1 ]; do\n"
            "  case $1 in --output) output=/proc/self/fd/$2;; --report) report=/proc/self/fd/$2;; esac\n"
            "  shift\n"
            "done\n"
            f"{body}\n"
        )
        path.chmod(0o755)
        monkeypatch.setattr(archive, "_PROGRAM", path)
        monkeypatch.setattr(packing, "_PROGRAM", path)

    return install


@pytest.mark.parametrize(
    ("end", "text"),
    [
        ("exit 3", "the packer ended with status 3 before it was done"),
        ("exit 0", "the packer ended with status 0 before it was done"),
        ("kill -9 $$", "the packer was killed by signal 9 before it was done"),
    ],
)
def test_what_a_packer_that_fails_wrote_is_no_whole_archive(program: Program, end: str, text: str) -> None:
    program(f"echo beginning >$output; {end}")
    before = os.listdir("/proc/self/fd")
    with packing.Stream([], []) as stream:
        chunks = iter(stream)
        assert next(chunks) == b"beginning\n"
        with pytest.raises(packing.BrokenOffError, match=text):
            next(chunks)
        assert stream.packed is None
    assert os.listdir("/proc/self/fd") == before


def test_what_a_packer_says_of_its_failure_is_passed_on(program: Program, tmp_path: Path) -> None:
    (tmp_path / "report").write_bytes(b"13\x007\x00512\x00open\x00etc/shadow\x1b\x00cannot be read\x000\x00")
    program(f"/bin/cat {tmp_path}/report >$report; exit 1")
    with packing.Stream([], []) as stream, pytest.raises(packing.UnreadableError) as caught:
        list(stream)
    assert str(caught.value) == "'/etc/shadow\\x1b' cannot be read" and caught.value.errno == 13


@pytest.mark.parametrize(("end", "how"), [("exit 3", "ended with status 3"), ("kill -9 $$", "was killed by signal 9")])
def test_an_extractor_that_fails_is_fed_no_more(program: Program, end: str, how: str) -> None:
    program(end)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ImageError, match=f"the extractor {how} before the archive was unpacked"):
        archive.extract([], [], iter(lambda: bytes(65536), None))
    assert os.listdir("/proc/self/fd") == before


def test_what_an_extractor_says_of_its_failure_is_passed_on(program: Program, tmp_path: Path) -> None:
    (tmp_path / "report").write_bytes(b"28\x007\x00512\x00write\x00big\x00\x00")
    program(f"/bin/cat {tmp_path}/report >$report; exit 1")
    with pytest.raises(ImageError, match="no space left on the disk after 512 bytes, at entry 'big'"):
        archive.unpack([bytes(1024)], tmp_path)
