# SPDX-License-Identifier: Apache-2.0
"""The base: a layer below all others, with a place for everything that is mounted into a container.

Most images have these files and directories, and theirs are the ones that are seen. One that has not gets them from
here, once for all containers: made in a container's own layer they would cost each start as much as its overlay.
"""

from __future__ import annotations

from pathlib import Path

NAME = "base"
DIRECTORIES = ("dev", "etc", "proc", "sys")
FILES = ("etc/hostname", "etc/hosts", "etc/resolv.conf")


def make(root: Path) -> None:
    """Make it in the root directory, as far as it is not there. Raises OSError."""
    base = root / NAME
    for directory in (base, *(base / name for name in DIRECTORIES)):
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)
    for file in FILES:
        (base / file).touch()
        (base / file).chmod(0o644)
