# SPDX-License-Identifier: Apache-2.0
"""Writing that survives a power cut: a small file is replaced whole, a directory entry is there when it is said to be.

What is large (a layer) is synced by the program that writes it; see `pyrt.image.archive.unpack(sync=True)`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write_durably(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace the file at `path` by `data`: readers see the old or the new content, never a part.

    On return the new content is on the disk. On an error the old content stands and nothing is left beside it.
    """
    _replace(path, data, mode, sync=True)
    sync_directory(path.parent)


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """As `write_durably` for readers and for the death of this process, but a power cut may take the new content."""
    _replace(path, data, mode, sync=False)


def _replace(path: Path, data: bytes, mode: int, *, sync: bool) -> None:
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        try:
            os.fchmod(fd, mode)  # whatever the umask
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def set_aside(path: Path) -> Path:
    """Rename what cannot be read, so that another can take its place: to NAME.damaged, or NAME.damaged.2 and so on."""
    number, target = 1, path.with_name(f"{path.name}.damaged")
    while os.path.lexists(target):
        number += 1
        target = path.with_name(f"{path.name}.damaged.{number}")
    os.rename(path, target)
    sync_directory(path.parent)
    return target


def sync_directory(path: Path) -> None:
    """Put a directory's entries on the disk: what was made, renamed and removed in it."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
