# SPDX-License-Identifier: Apache-2.0
"""Archives made to break out: the 34 named cases of containerd's TestBreakouts, and ours.

Each runs beside a canary tree that stands for the host, and fails if anything there has changed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyrt.errors import ImageError
from pyrt.image.archive import Unpacked, unpack
from tests.archives import archive, directory, file, hardlink, member, pax, symlink, tree_hash

pytestmark = pytest.mark.root

THROUGH = "would be written through a symbolic link"
LEAVES = "leaves the image"
NO_TARGET = "not in the archive before it"


@dataclass(frozen=True)
class World:
    """A host with secrets, and the directory below it that archives are unpacked into."""

    canary: Path
    target: Path

    @property
    def up(self) -> str:
        """The canary's directory by a relative path from the target."""
        return os.path.relpath(self.canary, self.target)

    def unpack(self, *members: bytes) -> Unpacked:
        return unpack([archive(members)], self.target)

    def at(self, name: str) -> os.stat_result:
        return os.lstat(self.target / name)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    canary = tmp_path / "host" / "etc"
    canary.mkdir(parents=True)
    (canary / "passwd").write_text("root")
    (canary / "file").write_text("secret")
    (canary / "file").chmod(0o600)
    (canary / "link").symlink_to("file")
    os.setxattr(canary / "file", "user.secret", b"1")
    target = tmp_path / "store" / "a" / "b" / "diff"
    target.mkdir(parents=True)
    before = tree_hash(tmp_path / "host"), Path("/etc/passwd").read_bytes(), os.lstat("/etc")
    yield World(canary, target)
    assert (tree_hash(tmp_path / "host"), Path("/etc/passwd").read_bytes(), os.lstat("/etc")) == before
    assert [path.name for path in (tmp_path / "store").rglob("*") if "diff" not in path.parts] == ["a", "b"]


REFUSED: dict[str, tuple[Callable[[World], list[bytes]], str]] = {
    "SymlinkAbsolute": (lambda w: [directory("etc"), symlink(w.canary, "localetc"), file("localetc/new")], THROUGH),
    "SymlinkUpAndOut": (
        lambda w: [directory("dummy"), symlink(f"../{w.up}", "dummy/out"), file("dummy/out/new")],
        THROUGH,
    ),
    "SymlinkMultipleAbsolute": (
        lambda w: [directory("d"), symlink(w.canary, "d/l"), symlink("/d/l", "localetc"), file("localetc/new")],
        THROUGH,
    ),
    "SymlinkMultipleRelative": (
        lambda w: [directory("d"), symlink(f"../{w.up}", "d/l"), symlink("./d/l", "localetc"), file("localetc/new")],
        THROUGH,
    ),
    "SymlinkEmptyFile": (lambda w: [symlink(w.canary, "localetc"), file("localetc/file", b"")], THROUGH),
    "HardlinkRelative": (
        lambda w: [directory("b"), symlink(f"../{w.up}", "b/etc"), hardlink("/b/etc/passwd", "p")],
        NO_TARGET,
    ),
    "HardlinkDownAndOut": (
        lambda w: [directory("b"), hardlink(f"b/../{w.up}/passwd", "p")],
        LEAVES,
    ),
    "HardlinkAbsolute": (lambda w: [symlink(w.canary, "localetc"), hardlink("/localetc/passwd", "p")], NO_TARGET),
    "HardlinkRelativeLong": (
        lambda w: [symlink("../" * 30 + str(w.canary)[1:], "localetc"), hardlink("/localetc/passwd", "p")],
        NO_TARGET,
    ),
    "HardlinkRelativeUpAndOut": (
        lambda w: [symlink(f"up/../{w.up}", "localetc"), hardlink("localetc/passwd", "p")],
        NO_TARGET,
    ),
    "HardlinkDirectRelative": (lambda w: [hardlink("../../../../../etc/passwd", "p")], LEAVES),
    "SymlinkParentDirectory": (lambda w: [directory("etc"), symlink("/etc", ".."), file("../new")], LEAVES),
    "SymlinkEmptyFilename": (lambda w: [symlink(w.canary, "")], "has no name"),
    "SymlinkParentRelative": (lambda w: [directory("l"), symlink(w.canary, "l/..")], "replace the root"),
    "SymlinkSlashEnded": (lambda w: [symlink(w.canary, "localetc/"), file("localetc/new")], THROUGH),
    "SymlinkOverrideDirectory": (
        lambda w: [directory("etc"), file("etc/x"), symlink(w.canary, "etc"), file("etc/y")],
        THROUGH,
    ),
    "SymlinkOverrideDirectoryRelative": (
        lambda w: [directory("a"), directory("a/etc"), symlink(f"../{w.up}", "a/etc"), file("a/etc/y")],
        THROUGH,
    ),
    "WhiteoutRootParent": (lambda w: [file(".wh...")], "whiteout of nothing"),
    "WhiteoutParent": (lambda w: [directory("etc"), file("etc/.wh...")], "whiteout of nothing"),
    "WhiteoutRoot": (lambda w: [file(".wh..")], "whiteout of nothing"),
    "WhiteoutCurrentDirectory": (lambda w: [directory("etc"), file("etc/.wh..")], "whiteout of nothing"),
    "WhiteoutEmpty": (lambda w: [file("etc/.wh.")], "whiteout of nothing"),
    "WhiteoutSymlinkPath": (lambda w: [symlink(w.canary, "l"), file("l/.wh.file")], THROUGH),
    "WhiteoutDirectoryName": (lambda w: [directory(".wh.etc"), file(".wh.etc/passwd")], "whiteout of nothing"),
    "WhiteoutDeadSymlinkParent": (lambda w: [symlink("nowhere", "dead"), file("dead/.wh.x")], THROUGH),
    "OpaqueThroughSymlink": (lambda w: [symlink(w.canary, "l"), file("l/.wh..wh..opq")], THROUGH),
    "SymlinkOverridePath": (
        lambda w: [directory("a"), file("a/b"), symlink(w.canary, "a/b"), file("a/b/c")],
        THROUGH,
    ),
    "HardlinkSymlinkBeforeCreateTarget": (lambda w: [hardlink("later", "p"), symlink(w.canary, "later")], NO_TARGET),
    # cpython#149486: a chain of links that ends in one with an empty name
    "EmptyNameChain": (lambda w: [symlink(".", "a"), symlink("a/", "b"), symlink(w.up, "/")], "replace the root"),
    # cpython#151558: a hard link that cannot be made must not become a copy of what its target's name leads to
    "HardlinkFallback": (lambda w: [symlink(w.up, "l"), hardlink("l/file", "copy")], NO_TARGET),
    # CVE-2025-4517: realpath() stops resolving at PATH_MAX, the check passes, the write follows the link
    "PathMax": (
        lambda w: [
            *(member_ for i in range(1, 16) for member_ in _deep("d" * 240, i)),
            file("/".join(["l"] * 15) + "/" + "../" * 60 + "etc/new"),
        ],
        LEAVES,
    ),
    "PathMaxThroughLinks": (
        lambda w: [
            *(member_ for i in range(1, 16) for member_ in _deep("d" * 240, i)),
            symlink("../" * 15 + w.up, "/".join(["d" * 240] * 10) + "/esc"),
            file("/".join(["l"] * 10) + "/esc/new"),
        ],
        THROUGH,
    ),
    "ParentIsAFile": (lambda w: [file("a"), file("a/b")], "lies beneath something that is no directory"),
    "ProcSelf": (lambda w: [symlink("/proc/self/root", "r"), file("r/etc/new")], THROUGH),
    "ProcSelfCwd": (lambda w: [hardlink("/proc/self/exe", "exe")], NO_TARGET),
    "HardlinkToDirectory": (lambda w: [directory("a"), hardlink("a", "b")], "is a hard link to a directory"),
    "HardlinkToRoot": (lambda w: [hardlink("/", "b")], NO_TARGET),
    "HardlinkToSelf": (lambda w: [hardlink("b", "b")], NO_TARGET),
    "HardlinkIntoWhatItReplaces": (lambda w: [file("a/f"), hardlink("a/f", "a")], "cannot be linked"),
    "RootIsAFile": (lambda w: [directory("./"), file(".")], "replace the root"),
    "DotDotName": (lambda w: [file("x/../../etc/passwd")], "entry 'x/../../etc/passwd' leaves the image"),
    "PaxPathOverride": (lambda w: [pax(path="../new"), file("innocent")], LEAVES),
    "PaxLinkOverride": (lambda w: [pax(linkpath="../../etc/passwd"), hardlink("innocent", "p")], LEAVES),
    "GnuNameOverride": (lambda w: [member("L", b"../new\0", type=b"L"), file("innocent")], LEAVES),
    "NulInPaxPath": (lambda w: [pax(path=b"a\0/../../b"), file("innocent")], "NUL"),
    "CharacterDeviceThroughLink": (
        lambda w: [symlink(w.canary, "l"), member("l/null", type=b"3", device=(1, 3))],
        THROUGH,
    ),
    "TooLongName": (lambda w: [pax(path="d/" * 10_000), directory("x")], "more than 4095 bytes"),
    "NameOf256": (lambda w: [file("x"), pax(path="n" * 256), file("x")], "File name too long"),
    "Uid2To32Minus1": (lambda w: [member("x", uid=b"\x80\0\0\0\xff\xff\xff\xff")], "impossible owner"),
}


def _deep(name: str, depth: int) -> list[bytes]:
    path = "/".join([name] * depth)
    link = "/".join([name] * (depth - 1) + ["l"]).lstrip("/")
    linked = pax(path=link, linkpath=name) + member("x", type=b"2")  # one PAX header: of two the last one counts
    return [pax(path=path), directory("x"), linked]


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused(world: World, name: str) -> None:
    make, text = REFUSED[name]
    with pytest.raises(ImageError) as caught:
        world.unpack(*make(world))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_HardlinkDirectAbsolute(world: World) -> None:
    world.unpack(file("etc/passwd"), hardlink("/etc/passwd", "local"))
    assert world.at("local").st_ino == world.at("etc/passwd").st_ino


def test_DirectoryOverrideSymlink(world: World) -> None:
    world.unpack(symlink(world.canary, "local"), directory("local"), file("local/new"))
    assert stat.S_ISDIR(world.at("local").st_mode)
    assert (world.target / "local/new").read_bytes() == b"inside"


def test_DirectoryOverrideSymlinkAndHardlink(world: World) -> None:
    world.unpack(symlink(world.canary, "l"), directory("l"), file("l/a"), hardlink("l/a", "l/b"), hardlink("l/b", "c"))
    assert world.at("c").st_nlink == 3


def test_WhiteoutSymlink(world: World) -> None:
    """A whiteout speaks of the layers below: what this layer brought itself stays."""
    world.unpack(symlink(world.canary / "file", "l"), file(".wh.l"))
    assert stat.S_ISLNK(world.at("l").st_mode)


def test_WhiteoutRelativePath(world: World) -> None:
    world.unpack(directory("etc/dummy"), file("etc/dummy/../.wh.passwd"))
    assert stat.S_ISCHR(world.at("etc/passwd").st_mode)
    assert world.at("etc/passwd").st_rdev == 0


@pytest.mark.parametrize("absolute", [False, True], ids=["HardlinkSymlinkRelative", "HardlinkSymlinkAbsolute"])
def test_hardlink_to_symlink_then_write(world: World, absolute: bool) -> None:
    target = world.canary / "file" if absolute else f"{world.up}/file"
    world.unpack(symlink(target, "l"), hardlink("l", "h"), file("h", b"mine"))
    assert (world.target / "h").read_bytes() == b"mine"
    assert stat.S_ISREG(world.at("h").st_mode)


def test_HardlinkSymlinkChmod(world: World) -> None:
    world.unpack(symlink(world.canary / "file", "l"), hardlink("l", "h", mode=0o4777))
    assert stat.S_ISLNK(world.at("h").st_mode)


def test_types_alternate(world: World) -> None:
    """A name that is by turns a directory, a link out, and a file ends as the last one; nothing is written outside."""
    world.unpack(
        directory("x"),
        file("x/deep/er"),
        symlink(world.canary, "x"),
        file("x"),
        directory("x"),
        file("x/y"),
        member("x", type=b"6"),
        symlink(world.canary / "passwd", "x"),
        file("x", b"last"),
    )
    assert (world.target / "x").read_bytes() == b"last"


def test_links_are_kept_as_text(world: World) -> None:
    world.unpack(symlink("/proc/self/root/../..", "a"), symlink("../" * 40, "b"))
    assert os.readlink(world.target / "a") == "/proc/self/root/../.."
    assert os.readlink(world.target / "b") == "../" * 40


def test_absolute_names_are_inside(world: World) -> None:
    world.unpack(file("/etc/shadow"), file(str(world.canary / "file")))
    assert (world.target / "etc/shadow").read_bytes() == b"inside"
    assert (world.target / str(world.canary)[1:] / "file").read_bytes() == b"inside"


def test_nothing_is_left_running_or_mounted(world: World) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    world.unpack(file("a"))
    assert Path("/proc/self/mountinfo").read_text() == before
