# SPDX-License-Identifier: Apache-2.0
"""What pyrt-tar writes of a tree: read back by Python's tarfile, and unpacked again by pyrt-untar."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import struct
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrt.errors import ImageError
from pyrt.image.archive import unpack
from pyrt.image.packing import Packed, Stream
from tests.archives import tree_hash

pytestmark = pytest.mark.root


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def pack(path: Path, *words: str) -> tuple[bytes, Packed]:
    with opened(path) as fd, Stream([*words, "--upper" if words else "--directory", str(fd)], [fd]) as stream:
        data = b"".join(stream)
    assert stream.packed is not None
    return data, stream.packed


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive.getmembers()}


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """Removed by the test itself: some trees are too deep for how pytest removes old directories."""
    path = tmp_path / "tree"
    path.mkdir()
    yield path
    subprocess.run(["rm", "-rf", path], check=True)


def test_a_tree_of_everything_comes_back_the_same(tree: Path, tmp_path: Path) -> None:
    (tree / "sub").mkdir(mode=0o700)
    (tree / "file").write_bytes(os.urandom(300_000))
    os.chmod(tree / "file", 0o4711)
    os.chown(tree / "file", 3_000_000, 4_000_000)
    os.chmod(tree / "file", 0o4711)
    os.setxattr(tree / "file", "user.note", b"\x00\xff value =\n")
    os.setxattr(tree / "sub", "user.empty", b"")
    # version 2, cap_net_raw permitted
    os.setxattr(tree / "file", "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0))
    nobody = 2**32 - 1
    entries = ((1, 7, nobody), (2, 5, 1000), (4, 5, nobody), (16, 5, nobody), (32, 0, nobody))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(tree / "sub", "system.posix_acl_access", acl)
    os.setxattr(tree / "sub", "system.posix_acl_default", acl)
    os.link(tree / "file", tree / "sub" / "again")
    os.symlink("t" * 300, tree / "sub" / "link")
    os.symlink("file", tree / "link")
    os.link(tree / "link", tree / "link2", follow_symlinks=False)
    os.mkfifo(tree / "fifo", 0o620)
    os.mknod(tree / "null", 0o20666, os.makedev(1, 3))
    os.mknod(tree / "disk", 0o60640, os.makedev(259, 70000))
    (tree / ("n" * 255)).write_text("long name")
    (tree / ("d" * 160)).mkdir()
    (tree / ("d" * 160) / ("e" * 100)).write_text("does not fit into a header")
    with open(os.fsencode(tree) + b"/odd \n\xff\\", "w") as odd:
        odd.write("any bytes")
    os.utime(tree / "link", ns=(0, 1_234_567_890_123_456_789), follow_symlinks=False)
    os.utime(tree / "fifo", ns=(0, -1_500_000_000))
    with open(tree / "sparse", "wb") as sparse:
        sparse.truncate(5_000_000)
        sparse.seek(3_000_000)
        sparse.write(b"middle")
    os.utime(tree, ns=(0, 987_654_321_000_000_001))
    data, packed = pack(tree)
    assert packed.warning_count == 0 and packed.entries == len(members(data))
    assert data == pack(tree)[0], "equal trees have equal archives"
    (target := tmp_path / "target").mkdir()
    unpack([data], target)
    with contextlib.chdir(tree):
        one = tree_hash(Path("."))
    with contextlib.chdir(target):
        two = tree_hash(Path("."))
    assert one == two
    assert (target / "file").stat().st_ino == (target / "sub" / "again").stat().st_ino
    assert pack(target)[0] == data


def test_names_are_sorted_and_sockets_left_out(tree: Path) -> None:
    for name in ("b", "a-", "a", "Z"):
        (tree / name).mkdir()
        (tree / name / "x").write_text("")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.fspath(tree / "s"))
    data, packed = pack(tree)
    assert list(members(data)) == [".", "Z", "Z/x", "a", "a/x", "a-", "a-/x", "b", "b/x"]
    assert packed.warnings == ("/s is a socket, which no archive can hold: it is left out",)


def test_a_tree_deeper_than_any_path(tree: Path) -> None:
    directory = os.open(tree, os.O_RDONLY)
    for depth in range(400):
        os.mkdir("d" * 50, dir_fd=directory)
        below = os.open("d" * 50, os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
        os.close(os.open(f"f{depth % 3}", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
    os.close(directory)
    data, packed = pack(tree)
    found = members(data)
    assert packed.entries == 801 and "/".join(["d" * 50] * 400) in found
    with pytest.raises(ImageError, match="has a name of more than 4095 bytes"):
        unpack([data], tree)


def test_a_layer_has_whiteouts(tree: Path) -> None:
    (tree / "new").mkdir()
    os.setxattr(tree / "new", "trusted.overlay.opaque", b"y")
    os.setxattr(tree / "new", "trusted.overlay.origin", b"z")
    (tree / "new" / "file").write_text("x")
    os.mknod(tree / "new" / "gone", 0o20000, 0)
    (tree / ".wh.evil").write_text("")
    (marked := tree / "marked").mkdir()
    (marked / "gone").write_text("")
    os.setxattr(marked, "trusted.overlay.opaque", b"x")
    os.setxattr(marked / "gone", "trusted.overlay.whiteout", b"")
    data, packed = pack(tree, "--layer")
    names = [".", "marked", "marked/.wh.gone", "new", "new/.wh..wh..opq", "new/file", "new/.wh.gone"]
    assert sorted(members(data)) == sorted(names)
    assert not any(member.pax_headers.keys() - {"mtime"} for member in members(data).values())
    assert packed.warnings == ("/.wh.evil has a name that means a deleted file in a layer: it is left out",)


def test_a_tree_that_changes_all_the_time(tree: Path, tmp_path: Path) -> None:
    """Files that grow and shrink, directories that become links and back: the archive is whole, and holds the tree."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("outside")
    for number in range(50):
        (tree / f"d{number}").mkdir()
        (tree / f"d{number}" / "file").write_bytes(b"inside" * 50_000)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for number in range(50):
                name = tree / f"d{number}"
                with contextlib.suppress(OSError):
                    os.rename(name, tree / "aside")
                    os.symlink(secret, name)
                    os.truncate(tree / "aside" / "file", number * 1000)
                    os.unlink(name)
                    os.rename(tree / "aside", name)
                    os.truncate(name / "file", 300_000)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(10):
            data, _ = pack(tree)
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                for member in archive:
                    if member.isreg():
                        content = archive.extractfile(member)
                        assert content is not None and b"outside" not in content.read()
    finally:
        stop.set()
        thread.join()


def test_nobody_reads(tree: Path) -> None:
    (tree / "big").write_bytes(bytes(1 << 20))
    with opened(tree) as fd, Stream(["--directory", str(fd)], [fd]) as stream:
        for _ in stream:
            break
    assert stream.packed is None
