# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrt.durable import write_durably
from pyrt.image.removal import remove_tree


def test_write_replaces_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_durably(path, b"old")
    write_durably(path, b"new" * 100_000, mode=0o640)
    assert path.read_bytes() == b"new" * 100_000
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["f"]


def test_failed_write_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    write_durably(path, b"old")

    def fail(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_remove_tree_of_any_shape(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").touch()
    tree = tmp_path / "tree"
    (tree / "1" / "2" / "1").mkdir(parents=True)
    (tree / "2").mkdir()
    (tree / "2" / "f").touch()
    (tree / "link").symlink_to(tmp_path / "outside")
    (tree / "1" / "link").symlink_to("/")
    os.mkfifo(tree / "1" / "3")
    remove_tree(tree)
    remove_tree(tree)
    remove_tree(tmp_path / "outside" / "f")
    assert os.listdir(tmp_path) == ["outside"]


@pytest.fixture
def abyss(tmp_path: Path) -> Iterator[Path]:
    """A directory whose end is ten thousand further down.

    Whatever the test does, nothing is left of it for pytest's own way of removing the directories of earlier runs,
    which goes beyond Python's recursion limit.
    """
    top = tmp_path / ("d" * 20)
    try:
        fd = os.open(tmp_path, os.O_RDONLY)
        for _ in range(10_000):
            os.mkdir(top.name, dir_fd=fd)
            child = os.open(top.name, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = child
        os.close(fd)
        yield top
    finally:
        subprocess.run(["rm", "-rf", top], check=True)


def test_remove_tree_ten_thousand_deep(abyss: Path) -> None:
    remove_tree(abyss)
    assert os.listdir(abyss.parent) == []
