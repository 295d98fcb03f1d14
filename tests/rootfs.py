# SPDX-License-Identifier: Apache-2.0
"""Root file systems for tests, as tar archives made in memory."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

PASSWD = b"""\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bob:x:1000:1000::/home/bob:/bin/sh
"""
GROUP = b"root:x:0:\ndaemon:x:1:\nbob:x:1000:\nstaff:x:50:bob\naudio:x:29:bob,daemon\n"


def busybox_tar() -> bytes:
    """A plain tar of the machine's static busybox with all its applets, a passwd and a group file."""
    busybox = next(path for path in map(Path, ("/bin/busybox", "/usr/bin/busybox")) if path.exists())
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("bin", "dev", "etc", "home", "home/bob", "proc", "root", "sys", "tmp", "usr", "usr/bin", "var"):
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(member)
        add_file(tar, "bin/busybox", busybox.read_bytes(), mode=0o755)
        add_file(tar, "etc/passwd", PASSWD)
        add_file(tar, "etc/group", GROUP)
        for applet in applets:
            if applet != "busybox":
                add_link(tar, f"bin/{applet}", "busybox")
    return buffer.getvalue()


def add_file(tar: tarfile.TarFile, name: str, content: bytes, *, mode: int = 0o644) -> None:
    """Add a regular file owned by root."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    tar.addfile(member, io.BytesIO(content))


def add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    """Add a symbolic link."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = tarfile.SYMTYPE, target, 0o777
    tar.addfile(member)
