# SPDX-License-Identifier: Apache-2.0
"""What the extractor makes of well-formed, odd and broken archives, as root."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import stat
import string
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrt.errors import ImageError
from pyrt.image.archive import unpack
from tests.archives import END, archive, directory, file, hardlink, member, pax, records, symlink

pytestmark = pytest.mark.root


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """Where to unpack. Removed by the test itself: some trees are too deep for how pytest removes old directories."""
    path = tmp_path / "target"
    path.mkdir()
    yield path
    subprocess.run(["rm", "-rf", path], check=True)


def zstd(data: bytes) -> bytes:
    try:
        from compression import zstd as module  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        from backports import zstd as module
    compressed: bytes = module.compress(data)
    return compressed


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
}


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize("piece", [1, 7000])
def test_every_compression(target: Path, name: str, piece: int) -> None:
    plain = archive([directory("d"), file("d/f", b"content" * 300)])
    packed = COMPRESSIONS[name](plain)
    result = unpack((packed[i : i + piece] for i in range(0, len(packed), piece)), target)
    assert (target / "d/f").read_bytes() == b"content" * 300
    assert (result.diff_id, result.entries, result.bytes) == (sha256(plain).hexdigest(), 2, 2100)


@pytest.mark.parametrize("name", [name for name in COMPRESSIONS if name != "plain"])
def test_compressed_in_several_members(target: Path, name: str) -> None:
    plain = archive([file("f", random.Random(1).randbytes(5000))])
    packed = COMPRESSIONS[name](plain[:1000]) + COMPRESSIONS[name](plain[1000:])
    assert unpack([packed], target).diff_id == sha256(plain).hexdigest()


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_truncated(target: Path, name: str) -> None:
    plain = archive([file("f", random.Random(1).randbytes(5000))])
    packed = COMPRESSIONS[name](plain)
    with pytest.raises(ImageError, match="truncated after 3000 bytes" if name == "plain" else "truncated|ends too"):
        unpack([packed[:3000]], target)


@pytest.mark.parametrize("name", [name for name in COMPRESSIONS if name != "plain"])
def test_damaged_compression(target: Path, name: str) -> None:
    packed = bytearray(COMPRESSIONS[name](archive([file("f", random.Random(1).randbytes(50_000))])))
    start = 4 if name == "zstd" else len(packed) // 2  # zstd's own frames have no checksum unless asked for
    for i in range(start, start + 50):
        packed[i] ^= 0xFF
    with pytest.raises(ImageError, match="."):
        unpack([bytes(packed)], target)


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (b"", "the archive is empty"),
        (b"hello, this is no archive" * 40, "this is not a tar archive"),
        (b"short", "truncated after 5 bytes"),
        (file("a"), "truncated after 1024 bytes"),
        (file("a") + b"x" * 512 + END, "the archive is damaged at byte 1024"),
        (archive([file("a")]) + b"garbage", "something follows the archive's end"),
        (archive([file("a")]) + archive([file("b")]), "something follows the archive's end"),
        (file("a") + bytes(512) + file("b") + END, "something follows the archive's end"),
        (archive([file("a")]) + bytes(17 << 20), "padding"),
        (member("L", b"n" * 300, type=b"L")[:700], "truncated after 700 bytes"),
        (archive([member("a", size=b"\xff" * 12)]), "entry 'a' has a negative size"),
        (archive([member("a", size=b"12x")]), "holds a number that is none"),
        (archive([member("a", size=b"-0000000001")]), "holds a number that is none"),
        (archive([member("a", size=b"\x80\0\0\0\x7f" + b"\xff" * 7)]), "impossible size"),
        (archive([member("a", size=b"\x80\xff" + b"\xff" * 10)]), "holds a number that is none"),
        (archive([member("a", size=b"\x80\0\0\0\x7f" + b"\0" * 7)]), "larger than what is left of the limit"),
        (archive([member("a", size=1025)]), "truncated after 1536 bytes"),
        (archive([pax(size="-1"), file("a")]), "a number that is none"),
        (archive([pax(size="99999999999999999999"), file("a")]), "a number that is none"),
        (archive([member("p", b"99 path=x\n", type=b"x"), file("a")]), "PAX header .* is damaged"),
        (archive([member("p", b"path=x\n", type=b"x"), file("a")]), "PAX header .* is damaged"),
        (archive([member("p", size=2 << 20, type=b"x")]), "too many"),
        (archive([member("a", type=b"S")]), "entry 'a' is a sparse file"),
        (archive([pax(GNU__sparse__major=1, GNU__sparse__minor=0), file("a")]), "sparse"),
        (archive([member("a", type=b"Z")]), "entry 'a' is of the unknown type 'Z'"),
        (archive([member("a", type=b"\x01")]), "entry 'a' is of the unknown type 1"),
        (archive([member("a", type=b"V")]), "unknown type 'V'"),
        (archive([member("a/", b"data")]), "is a file with the name of a directory"),
        (archive([symlink("", "a")]), "is a link to nothing"),
        (archive([pax(**{f"SCHILY__xattr__user__a{i}": "" for i in range(65)}), file("a")]), "more than 64 extended"),
        (archive([member("a\nb\x1b[2J", type=b"Z")]), r"entry 'a\\nb\\x1b\[2J'"),
        (archive([member(b"\xff\xfe", type=b"Z")]), r"entry '\\xff\\xfe'"),
    ],
)
def test_broken_archives_are_refused(target: Path, stream: bytes, text: str) -> None:
    with pytest.raises(ImageError, match=text) as caught:
        unpack([stream], target)
    assert str(caught.value).isprintable()


def test_unreadable_source_is_passed_on(target: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield file("a")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        unpack(chunks(), target)


def test_extensions(target: Path) -> None:
    long = "/".join(["long" * 20] * 4)
    unpack(
        [
            archive(
                [
                    member("pax_global_header", records({"comment": "x", "path": "../no"}), type=b"g"),
                    member("././@LongLink", long.encode() + b"\0", type=b"L"),
                    file("cut"),
                    member("././@LongLink", b"t" * 200 + b"\0", type=b"K"),
                    symlink("t" * 100, "gnu-link"),
                    pax(path="pax-name", linkpath="u" * 200),
                    member("x", type=b"2"),
                    pax(path="sized", size=3, uid=70000, gid=70001, mtime="1234567890.987654321"),
                    member("x", b"abc", size=0),
                    member("tail", b"abc", prefix=b"ustar/prefix"),
                    member("v7dir/", type=b"\0", magic=b""),
                    member("contiguous", b"c", type=b"7"),
                    member("big", uid=b"\x80\0\0\0\x7f\xff\xff\xff", gid=0),
                    member("past", mtime=b"\xff" * 12),
                    pax(mtime="-1.5"),
                    file("earlier"),
                ]
            )
        ],
        target,
    )
    assert (target / long).read_bytes() == b"inside"
    assert os.readlink(target / "gnu-link") == "t" * 200
    assert os.readlink(target / "pax-name") == "u" * 200
    status = os.stat(target / "sized")
    assert (status.st_size, status.st_uid, status.st_gid) == (3, 70000, 70001)
    assert status.st_mtime_ns == 1234567890987654321
    assert (target / "ustar/prefix/tail").read_bytes() == b"abc"
    assert (target / "v7dir").is_dir()
    assert (target / "contiguous").read_bytes() == b"c"
    assert os.stat(target / "big").st_uid == 0x7FFFFFFF
    assert os.stat(target / "past").st_mtime == -1
    assert os.stat(target / "earlier").st_mtime == -1.5


@pytest.mark.parametrize("mtime", ["9" * 30, "-" + "9" * 30])
def test_impossible_times_are_bent(target: Path, mtime: str) -> None:
    unpack([archive([pax(mtime=mtime), file("a")])], target)
    assert (target / "a").exists()


def test_special_entries(target: Path) -> None:
    unpack(
        [
            archive(
                [
                    file("suid", mode=0o4755),
                    directory("sticky", mode=0o1777),
                    member("null", type=b"3", device=(1, 3), mode=0o666, uid=5),
                    member("sda", type=b"4", device=(8, 0), mode=0o660),
                    member("pipe", type=b"6", mode=0o622),
                ]
            )
        ],
        target,
    )
    assert stat.S_IMODE(os.stat(target / "suid").st_mode) == 0o4755
    assert stat.S_IMODE(os.stat(target / "sticky").st_mode) == 0o1777
    null, sda = os.stat(target / "null"), os.stat(target / "sda")
    assert (stat.S_ISCHR(null.st_mode), null.st_rdev, null.st_uid) == (True, os.makedev(1, 3), 5)
    assert (stat.S_ISBLK(sda.st_mode), sda.st_rdev, stat.S_IMODE(sda.st_mode)) == (True, os.makedev(8, 0), 0o660)
    assert stat.S_ISFIFO(os.stat(target / "pipe").st_mode)


def test_extended_attributes(target: Path) -> None:
    capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    fields: dict[str, str | bytes | int] = {
        "SCHILY.xattr.user.kept": b"va\0lue\n",
        "SCHILY.xattr.user.overlay.opaque": "y",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "SCHILY.xattr.security.selinux": "label",
        "SCHILY.xattr.security.capability": capability,
    }
    extended = member("pax", records(fields), type=b"x")
    fields.pop("SCHILY.xattr.security.capability")
    unpack([archive([extended, file("f"), member("pax", records(fields), type=b"x"), directory("d")])], target)
    assert sorted(os.listxattr(target / "f")) == ["security.capability", "user.kept"]
    assert os.getxattr(target / "f", "security.capability") == capability
    assert os.listxattr(target / "d") == ["user.kept"]
    assert os.getxattr(target / "d", "user.kept") == b"va\0lue\n"
    nonsense = member("pax", records({"SCHILY.xattr.system.posix_acl_access": "acl"}), type=b"x")
    with pytest.raises(ImageError, match="entry 'g' cannot be given an extended attribute: Invalid argument"):
        unpack([archive([nonsense, file("g")])], target)


def is_opaque(path: Path) -> bool:
    return "trusted.overlay.opaque" in os.listxattr(path)


def test_whiteouts(target: Path) -> None:
    unpack(
        [
            archive(
                [
                    file(".wh.gone"),
                    file("new/dir/.wh.whale"),
                    directory("hides"),
                    file("hides/.wh..wh..opq"),
                    file(".wh..wh.plnk/12.34"),
                    file("new/.wh..wh.aufs"),
                    file("kept/f"),
                    file(".wh.kept"),
                    file(".wh.again"),
                    directory("again"),
                    file(".wh.parent"),
                    file("parent/f"),
                    file(".wh.file"),
                    file("file"),
                ]
            )
        ],
        target,
    )
    for name in ("gone", "new/dir/whale"):
        status = os.lstat(target / name)
        assert stat.S_ISCHR(status.st_mode)
        assert status.st_rdev == 0
    assert sorted(os.listdir(target)) == ["again", "file", "gone", "hides", "kept", "new", "parent"]
    assert os.listdir(target / "new") == ["dir"]
    assert not os.listdir(target / "hides")
    assert all(is_opaque(target / name) for name in ("hides", "kept", "again", "parent"))
    assert not is_opaque(target / "new")
    assert (target / "file").read_bytes() == b"inside"


def test_layers_meet_in_overlayfs(tmp_path: Path) -> None:
    """The whiteouts mean to the kernel what they mean in the archive."""
    layers = []
    for i, members in enumerate(
        [
            [file("a/1"), file("a/2"), file("b/1"), file("c")],
            [file("a/.wh.1"), file("a/3"), file("b/.wh..wh..opq"), file("b/2"), file(".wh.c")],
        ]
    ):
        layers.append(tmp_path / str(i))
        layers[-1].mkdir()
        unpack([archive(members)], layers[-1])
    merged = tmp_path / "merged"
    merged.mkdir()
    script = f"mount -t overlay o -o ro,lowerdir={layers[1]}:{layers[0]} {merged} && cd {merged} && find . -type f"
    found = subprocess.run(["unshare", "-m", "sh", "-c", script], check=True, capture_output=True, text=True)
    assert sorted(found.stdout.split()) == ["./a/2", "./a/3", "./b/2"]


def test_directory_times_are_the_archives(target: Path) -> None:
    unpack(
        [
            archive(
                [
                    member(".", type=b"5", mode=0o750, mtime=7),
                    member("a", type=b"5", mode=0o555, mtime=100),
                    file("a/1"),
                    file("b/c/2"),
                    file("a/3"),
                    hardlink("a/3", "a/4"),
                    member("a/d", type=b"5", mtime=200),
                    file("a/d/5"),
                    file("a/1", b"replaced"),
                    member("b", type=b"5", mtime=300),
                ]
            )
        ],
        target,
    )
    times = [int(os.stat(target / name).st_mtime) for name in (".", "a", "a/d", "b")]
    assert times == [7, 100, 200, 300]
    assert stat.S_IMODE(os.stat(target).st_mode) == 0o750


def test_names_that_look_alike(target: Path) -> None:
    names = ["case", "CASE", "\u00e9", "e\u0301", "n" * 255, "back\\slash", "new\nline", ".hidden", "..a", "a.."]
    unpack([archive([pax(path=name) + file("x", name.encode()) for name in names])], target)
    assert sorted(os.listdir(target)) == sorted(names)


def test_a_hundred_thousand_files_in_one_directory(target: Path) -> None:
    members = b"".join(file(f"d/f{i}", b"") for i in range(100_000))
    result = unpack([members, END], target)
    assert result.entries == 100_000
    assert len(os.listdir(target / "d")) == 100_000


def test_deep_nesting(target: Path) -> None:
    """As deep as one path goes; replaced by a file, it goes away again."""
    path = "d/" * 2000 + "f"
    unpack([archive([pax(path=path), file("x")])], target)
    unpack([archive([pax(path=path), file("x"), file("d", b"short")])], target)
    assert (target / "d").read_bytes() == b"short"


def test_budgets(target: Path) -> None:
    with pytest.raises(ImageError, match=r"entry 'b' is larger than what is left of the limit of 10 bytes"):
        unpack([archive([file("a", b"123456"), file("b", b"123456")])], target, max_bytes=10)
    with pytest.raises(ImageError, match=r"entry 'c' is one entry more than the limit"):
        unpack([archive([file("a"), file("b"), file("c")])], target, max_entries=2)
    with pytest.raises(ImageError, match=r"one entry more than the limit"):
        unpack([archive([pax(path="d/" * 50 + "f"), file("x")])], target, max_entries=20)


def test_gzip_bomb(target: Path) -> None:
    """A file of gigabytes in a few megabytes: refused before anything is written."""
    head = member("zeros", size=b"%011o" % (8 << 30))

    def chunks() -> Iterator[bytes]:
        import zlib

        packer = zlib.compressobj(wbits=31)
        yield packer.compress(head)
        for _ in range(8 << 10):
            yield packer.compress(bytes(1 << 20))

    with pytest.raises(ImageError, match="larger than what is left of the limit"):
        unpack(chunks(), target, max_bytes=1 << 30)
    assert not (target / "zeros").exists()


def test_disk_full(tmp_path: Path) -> None:
    """On a small tmpfs, in a mount namespace of a process of its own."""
    script = (
        "import sys; from pathlib import Path\n"
        "from pyrt.image.archive import unpack; from pyrt.errors import ImageError\n"
        "try: unpack([sys.stdin.buffer.read()], Path(sys.argv[1]))\n"
        "except ImageError as error: print(error)"
    )
    mounted = tmp_path / "small"
    mounted.mkdir()
    for content in ([b"x" * 100_000] * 30, [b"x" * (20 << 20)]):
        stream = archive([file(f"f{i}", data) for i, data in enumerate(content)])
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=1m t "$1" && exec "$2" -c "$3" "$1"', "sh"]
            + [str(mounted), sys.executable, script],
            input=stream,
            capture_output=True,
            check=True,
        )
        assert done.stdout.startswith(b"no space left on the disk after "), (done.stdout, done.stderr)


def test_needs_root(target: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from pyrt.image.archive import unpack; from pyrt.errors import ImageError\n"
        "try: unpack([bytes(1024)], Path(sys.argv[1]))\n"
        "except ImageError as error: print(error)"
    )
    command = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    done = subprocess.run([*command, sys.executable, "-c", script, str(target)], capture_output=True, check=True)
    assert done.stdout.startswith(b"unpacking an archive needs root: ")


NAMES = st.text(st.sampled_from(string.ascii_letters + "é .-_"), min_size=1, max_size=12).filter(
    lambda n: n.strip(". ")
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tree=st.dictionaries(
        st.lists(NAMES, min_size=1, max_size=4).map("/".join),
        st.one_of(st.binary(max_size=2000), st.none(), st.text("abc/.", min_size=1, max_size=150).map(str)),
        max_size=12,
    ),
    format=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2_000_000),
    mtime=st.integers(0, 2_000_000_000),
)
def test_what_tarfile_writes_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    tree: dict[str, bytes | str | None],
    format: int,
    mode: int,
    uid: int,
    mtime: int,
) -> None:
    tree = {name: what for name, what in tree.items() if not any(name.startswith(f"{other}/") for other in tree)}
    if format == tarfile.USTAR_FORMAT:
        tree = {name: what[:90] if isinstance(what, str) else what for name, what in tree.items()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, what in tree.items():
            info = tarfile.TarInfo(name)
            info.mode, info.uid, info.gid, info.mtime = mode, uid, uid + 1, mtime
            if isinstance(what, bytes):
                info.size = len(what)
                tar.addfile(info, io.BytesIO(what))
            else:
                info.type = tarfile.DIRTYPE if what is None else tarfile.SYMTYPE
                info.linkname = what or ""
                tar.addfile(info)
    target = tmp_path_factory.mktemp("roundtrip")
    unpack([buffer.getvalue()], target)
    for name, what in tree.items():
        status = os.lstat(target / name)
        assert (status.st_uid, status.st_gid, int(status.st_mtime)) == (uid, uid + 1, mtime)
        if isinstance(what, str):
            assert os.readlink(target / name) == what
            continue
        assert stat.S_IMODE(status.st_mode) == mode
        assert (target / name).is_dir() if what is None else (target / name).read_bytes() == what
