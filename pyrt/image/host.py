# SPDX-License-Identifier: Apache-2.0
"""The built-in image `host`: a copy-on-write view of the machine's own root. It has no layer and is stored nowhere.

How the view is mounted (tests/integration/test_host_view.py does it step by step): overlayfs takes "/" as a lower
directory even though the upper directory lies within it, but two lower directories must not contain each other. So a
small tmpfs goes on top of "/" as a second lower directory, the mask: its directories repeat the way to what is to be
hidden, with the mode and owner of the real ones (the topmost layer's count), and end in a whiteout.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pyrt.image.image import Image, architecture, canonical

NAME = "host"


@cache
def host_image() -> Image:
    """Return the image `host`; its id depends on the architecture alone."""
    return Image.from_document(
        canonical(
            {
                "architecture": architecture(),
                "os": "linux",
                "created": "1970-01-01T00:00:00Z",
                "config": {},
                "rootfs": {"type": "host", "diff_ids": []},
                "comment": "the machine's own root, copy-on-write",
            }
        )
    )


@dataclass(frozen=True, slots=True)
class MaskEntry:
    """One thing in the mask, its path relative to "/" ("" is the mask itself): a directory, or else a whiteout."""

    path: str
    is_directory: bool
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


def mask_entries(hidden: Iterable[Path]) -> list[MaskEntry]:
    """Return what the mask must hold to hide these paths, parents before children.

    Each path is resolved first: a link on the way to it (/var/run) does not lead around the mask. Paths that do not
    exist are left out.
    """
    entries: dict[str, MaskEntry] = {"": _directory(Path("/"))}
    for path in sorted({Path(os.path.realpath(path)) for path in hidden}):
        if not path.is_absolute() or path == Path("/") or not path.exists():
            continue
        if any(entries.get(_key(parent), MaskEntry("", True)).is_directory is False for parent in path.parents):
            continue  # something above it is hidden already
        for parent in reversed(path.parents):
            entries.setdefault(_key(parent), _directory(parent))
        entries[_key(path)] = MaskEntry(_key(path), False)
    return list(entries.values())


def _key(path: Path) -> str:
    return str(path).lstrip("/")


def _directory(path: Path) -> MaskEntry:
    status = path.stat()
    return MaskEntry(_key(path), True, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
