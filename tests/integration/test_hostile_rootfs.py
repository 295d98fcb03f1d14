# SPDX-License-Identifier: Apache-2.0
"""Root file systems made to deceive: whatever they hold, the host keeps its own.

A canary directory on the host is what the hostile links point to; it must be as it was, to the inode and the time.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import Pyrt
from tests.images import file, link, node, with_members

pytestmark = [pytest.mark.root, pytest.mark.both_engines]

Member = tuple[tarfile.TarInfo, bytes]
FILES = ("passwd", "group", "resolv.conf", "hosts", "null")


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A directory on the host with everything a deceived runtime might overwrite, mount on, or make nodes in."""
    directory = tmp_path / "canary"
    for name in ("proc", "sys", "dev", "etc", "tmp"):
        (directory / name).mkdir(parents=True)
        for file_name in FILES:
            (directory / name / file_name).write_text("canary\n")
    before = fingerprint(directory)
    yield directory
    assert fingerprint(directory) == before


@pytest.fixture
def hostile(pyrt: Pyrt, bb_tar: bytes) -> Iterator[Callable[..., str]]:
    """hostile(*members, without=...) imports a changed busybox and returns its name."""
    made: list[str] = []

    def build(*members: Member, without: tuple[str, ...] = ()) -> str:
        name = f"hostile{len(made)}"
        pyrt.ok("import", "-", name, input=with_members(bb_tar, members, without=without))
        made.append(name)
        return name

    yield build
    for name in made:
        pyrt.ok("rmi", name)


def fingerprint(directory: Path) -> list[tuple[str, int, int, int, int]]:
    rows = []
    for path in sorted([directory, *directory.rglob("*")]):
        status = os.lstat(path)
        rows.append((str(path), status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns))
    return rows


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
@pytest.mark.parametrize("kind", ["absolute", "relative", "dangling", "loop", "file", "fifo"])
def test_a_mount_point_that_is_none(
    pyrt: Pyrt, hostile: Callable[..., str], canary: Path, name: str, kind: str
) -> None:
    members = {
        "absolute": link(name, str(canary / name)),
        "relative": link(name, "../" * 12 + str(canary / name).removeprefix("/")),
        "dangling": link(name, "/nonexistent"),
        "loop": link(name, name),
        "file": file(name, b"no directory"),
        "fifo": node(name, tarfile.FIFOTYPE),
    }
    result = pyrt.run(hostile(members[kind]), "/bin/busybox", "true")
    assert result.status in (0, 125)
    if result.status:
        assert name in result.error


@pytest.mark.parametrize("name", ["etc", "etc/passwd", "etc/group", "etc/resolv.conf", "etc/hosts", "etc/hostname"])
@pytest.mark.parametrize("target", ["{canary}/{name}", "/proc/self/mem", "/proc/1/root/{canary}/{name}", "{base}"])
def test_files_that_lead_elsewhere(
    pyrt: Pyrt, hostile: Callable[..., str], canary: Path, name: str, target: str
) -> None:
    base = Path(name).name
    image = hostile(link(name, target.format(canary=canary, name=name, base=base)))
    for flags in ([], ["-u", "1000"]):
        assert pyrt.run(*flags, image, "/bin/busybox", "true").status in (0, 125)


@pytest.mark.parametrize("name", ["etc/passwd", "etc/group"])
@pytest.mark.parametrize("kind", ["fifo", "directory", "huge line", "many lines", "binary", "overflow"])
def test_account_files_that_are_no_such_thing(pyrt: Pyrt, hostile: Callable[..., str], name: str, kind: str) -> None:
    members = {
        "fifo": node(name, tarfile.FIFOTYPE, mode=0o644),
        "directory": node(name, tarfile.DIRTYPE),
        "huge line": file(name, b"bob:" + b"x" * (4 << 20)),
        "many lines": file(name, b"".join(b"user%d:x:%d:%d::/:/bin/sh\n" % (i, i, i) for i in range(100_000))),
        "binary": file(name, bytes(range(256)) * 64),
        "overflow": file(name, b"bob:x:4294967296:4294967296::/:/bin/sh\nbob2:x:-1:-1::/:\n"),
    }
    result = pyrt.run("-u", "bob", hostile(members[kind]), "probe", "ids")
    assert result.status in (0, 125)
    assert "uid 0 " not in result.text, "never root"
    assert pyrt.run("-u", "1000:1000", hostile(members[kind]), "probe", "ids").status in (0, 125)


@pytest.mark.parametrize("kind", ["missing", "link", "file"])
def test_masks_hold_when_dev_null_is_a_trap(pyrt: Pyrt, hostile: Callable[..., str], canary: Path, kind: str) -> None:
    """CVE-2025-31133: the mask's source is never the image's own /dev/null."""
    members = {
        "missing": (),
        "link": (link("dev/null", str(canary / "dev/null")),),
        "file": (file("dev/null", b"not null"),),
    }
    image = hostile(*members[kind])
    for line in pyrt.run(image, "probe", "bytes", "/proc/kcore", "/proc/keys", "/proc/timer_list").lines:
        assert line.split()[1] in ("0", "ENOENT")
    assert pyrt.run(image, "probe", "look", "/dev/null").lines == ["/dev/null char 0666 1:3 0"]


def test_libraries_and_programs_of_the_image_are_not_run_by_us(
    pyrt: Pyrt, hostile: Callable[..., str], canary: Path
) -> None:
    """What a runtime might load or run after changing its root: all of them would write to the canary."""
    trap = f"#!/bin/sh\necho run > {canary}/trap\n".encode()
    names = ["bin/mount", "bin/ip", "bin/tar", "usr/bin/xz", "usr/bin/newuidmap", "bin/nsenter"]
    libraries = [
        "lib/x86_64-linux-gnu/libnss_files.so.2",
        "etc/ld.so.preload",
        "usr/lib/python3.11/encodings/__init__.py",
    ]
    members = [*(file(name, trap, mode=0o755) for name in names), *(file(name, b"/evil.so") for name in libraries)]
    image = hostile(*members)
    assert pyrt.run("-u", "bob", image, "/bin/busybox", "id", "-u").text == "1000"


def test_an_image_without_bin_sh(pyrt: Pyrt, hostile: Callable[..., str]) -> None:
    image = hostile(without=("bin/sh",))
    assert pyrt.run(image, "/bin/sh").status == 127
    assert pyrt.run(image, "/bin/busybox", "true").status == 0


def test_an_empty_root(pyrt: Pyrt, tmp_path: Path) -> None:
    empty = tmp_path / "empty.tar"
    with tarfile.open(empty, "w"):
        pass
    result = pyrt("import", str(empty), "empty")
    if result.status == 0:
        assert pyrt.run("empty", "/bin/true").status == 127
        pyrt.ok("rmi", "empty")
    else:
        assert result.error


def test_the_program_itself_leads_out(pyrt: Pyrt, hostile: Callable[..., str], canary: Path) -> None:
    program = canary / "etc" / "passwd"
    image = hostile(
        link("bin/out", str(program)),
        link("bin/exe", "/proc/self/exe"),
        file("bin/script", b"#!/proc/self/exe\n", mode=0o755),
    )
    assert pyrt.run(image, "/bin/out").status == 127
    for name in ("/bin/exe", "/bin/script"):
        result = pyrt.run(image, name, timeout=10)
        assert result.status != 0 and b"pyrt-init" not in result.out


def test_a_volume_target_that_is_a_link(pyrt: Pyrt, hostile: Callable[..., str], canary: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").touch()
    image = hostile(link("data", str(canary / "tmp")))
    result = pyrt.run("-v", f"{source}:/data", image, "/bin/busybox", "ls", "/data")
    assert result.status in (0, 125)
