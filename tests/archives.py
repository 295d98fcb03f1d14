# SPDX-License-Identifier: Apache-2.0
"""Tar archives for tests, also such as no library would write: every field can be given as it is to stand there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

BLOCK = 512
END = bytes(2 * BLOCK)


def member(
    name: str | bytes,
    content: bytes = b"",
    *,
    type: bytes = b"0",
    link: str | bytes = b"",
    mode: int = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    size: int | bytes | None = None,
    mtime: int | bytes = 1_000_000_000,
    device: tuple[int, int] = (0, 0),
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
) -> bytes:
    """One header block with its content, padded; bytes given for a number stand in the header as they are."""
    header = bytearray(BLOCK)
    header[0:100] = _bytes(name)[:100].ljust(100, b"\0")
    header[100:108] = b"%07o\0" % mode
    header[108:116] = _number(uid, 8)
    header[116:124] = _number(gid, 8)
    header[124:136] = _number(len(content) if size is None else size, 12)
    header[136:148] = _number(mtime, 12)
    header[156:157] = type
    header[157:257] = _bytes(link)[:100].ljust(100, b"\0")
    header[257 : 257 + len(magic)] = magic
    header[329:337], header[337:345] = b"%07o\0" % device[0], b"%07o\0" % device[1]
    header[345:500] = prefix.ljust(155, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + content + bytes(-len(content) % BLOCK)


def directory(name: str | bytes, *, mode: int = 0o755) -> bytes:
    return member(name, type=b"5", mode=mode)


def file(name: str | bytes, content: bytes = b"inside", *, mode: int = 0o644) -> bytes:
    return member(name, content, mode=mode)


def symlink(target: str | Path, name: str) -> bytes:
    return _linked(str(target), name, b"2", 0o777)


def hardlink(target: str | Path, name: str, *, mode: int = 0o644) -> bytes:
    return _linked(str(target), name, b"1", mode)


def pax(**fields: str | bytes | int) -> bytes:
    """A PAX header for the member after it; dots in keys are written as __."""
    return member("pax", records({key.replace("__", "."): value for key, value in fields.items()}), type=b"x")


def records(fields: dict[str, str | bytes | int]) -> bytes:
    out = b""
    for key, value in fields.items():
        body = b" " + key.encode() + b"=" + _bytes(str(value) if isinstance(value, int) else value) + b"\n"
        length = len(body) + 1
        while len(b"%d" % length) + len(body) != length:
            length = len(b"%d" % length) + len(body)
        out += b"%d" % length + body
    return out


def archive(members: Iterable[bytes]) -> bytes:
    return b"".join(members) + END


def tree_hash(path: Path) -> str:
    """Everything there is to know about a tree: names, contents, owners, modes, times, links, attributes."""
    digest = sha256()
    for directory, names, files in os.walk(path, followlinks=False):
        names.sort()
        for entry in sorted([".", *names, *files]):
            full = os.path.join(directory, entry)
            status = os.lstat(full)
            what = [full, status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_mtime_ns]
            if stat.S_ISLNK(status.st_mode):
                what.append(os.readlink(full))
            elif stat.S_ISREG(status.st_mode):
                what.append(Path(full).read_bytes())
            what.append({name: os.getxattr(full, name) for name in sorted(os.listxattr(full, follow_symlinks=False))})
            digest.update(repr(what).encode())
    return digest.hexdigest()


def _linked(target: str, name: str, type: bytes, mode: int) -> bytes:
    extended = {} if len(target.encode()) <= 100 else {"linkpath": target}
    return (pax(**extended) if extended else b"") + member(name, type=type, link=target, mode=mode)


def _number(value: int | bytes, width: int) -> bytes:
    return value.ljust(width, b"\0")[:width] if isinstance(value, bytes) else b"%0*o\0" % (width - 1, value)


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else os.fsencode(text)
