# SPDX-License-Identifier: Apache-2.0
"""Changes to a root file system's tar: files added or replaced, entries left out."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Collection, Mapping


def with_files(archive: bytes, files: Mapping[str, tuple[bytes, int]], *, without: Collection[str] = ()) -> bytes:
    """The archive with `files` (path: content and mode) added or replaced, and `without` left out."""
    members = [_file(path, content, mode) for path, (content, mode) in files.items()]
    return with_members(archive, members, without=without)


def with_members(
    archive: bytes, members: Collection[tuple[tarfile.TarInfo, bytes]], *, without: Collection[str] = ()
) -> bytes:
    """The archive with raw members (links, devices, ...) added at its end, replacing entries of the same names."""
    gone = {info.name for info, _ in members} | set(without)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as old, tarfile.open(fileobj=buffer, mode="w") as new:
        for member in old:
            name = member.name.removeprefix("./").rstrip("/")
            if not any(name == path or name.startswith(f"{path}/") for path in gone):
                new.addfile(member, old.extractfile(member) if member.isreg() else None)
        for member, content in members:
            new.addfile(member, io.BytesIO(content) if content else None)
    return buffer.getvalue()


def link(path: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """A symbolic link as a member."""
    member = tarfile.TarInfo(path)
    member.type, member.linkname, member.mode = tarfile.SYMTYPE, target, 0o777
    return member, b""


def hardlink(path: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """A hard link, to an entry before it, as a member."""
    member = tarfile.TarInfo(path)
    member.type, member.linkname = tarfile.LNKTYPE, target
    return member, b""


def directory(path: str, *, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    """A directory as a member."""
    return node(path, tarfile.DIRTYPE, mode=mode)


def node(path: str, kind: bytes, *, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    """An entry without content of one of tarfile's types: tarfile.FIFOTYPE, tarfile.DIRTYPE."""
    member = tarfile.TarInfo(path)
    member.type, member.mode = kind, mode
    return member, b""


def file(path: str, content: bytes, *, mode: int = 0o644) -> tuple[tarfile.TarInfo, bytes]:
    """A regular file as a member."""
    return _file(path, content, mode)


def _file(path: str, content: bytes, mode: int) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(path)
    member.size, member.mode = len(content), mode
    return member, content
