# SPDX-License-Identifier: Apache-2.0
"""The mounts behind the image `host`, step by step: a copy-on-write view of "/" with its upper directory on "/" too."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrt.image.host import mask_entries
from pyrt.image.removal import remove_tree

pytestmark = [pytest.mark.root, pytest.mark.both_engines]

# In a mount namespace of its own, as a container's init has one. The mask's tmpfs is mounted where the view will be:
# the overlay covers it, and keeps it.
VIEW = """
set -eu
mount -t tmpfs -o nosuid,size=64k,mode=755 mask "$ROOT/merged"
cd "$ROOT/merged"
eval "$MAKE_MASK"
cd /
mount -t overlay overlay -o "lowerdir=$ROOT/merged:/,upperdir=$ROOT/upper,workdir=$ROOT/work" "$ROOT/merged"
mount --rbind /dev "$ROOT/merged/dev"
mount -t proc proc "$ROOT/merged/proc"
cd "$ROOT/merged"
pivot_root . .
umount -l .
cd /
"""


@pytest.fixture
def root() -> Iterator[Path]:
    """A root like pyrt's own, on the file system of "/"; a tmpfs at /tmp would prove nothing."""
    root = Path(f"/var/lib/ptimages-{os.getpid()}")
    for name in ("upper", "work", "merged"):
        (root / name).mkdir(parents=True)
    (root / "secret").write_text("secret")
    yield root
    remove_tree(root)


@pytest.fixture
def canary() -> Iterator[Path]:
    path = Path(f"/opt/ptimages-{os.getpid()}")
    (path / "dir").mkdir(parents=True)
    (path / "dir" / "deleted").write_text("host")
    (path / "changed").write_text("host")
    yield path
    remove_tree(path)


def in_view(root: Path, script: str) -> str:
    make_mask = []
    for entry in mask_entries([root]):
        path = entry.path or "."
        if entry.is_directory:
            make_mask += [
                f"mkdir -p '{path}'",
                f"chmod {entry.mode:o} '{path}'",
                f"chown {entry.uid}:{entry.gid} '{path}'",
            ]
        else:
            make_mask += [f"mknod '{path}' c 0 0"]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "ROOT": str(root), "MAKE_MASK": "\n".join(make_mask)}
    command = ["unshare", "-mpf", "--propagation", "private", "sh", "-c", VIEW + script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_changes_stay_in_the_view(root: Path, canary: Path) -> None:
    out = in_view(
        root,
        f"rm -r {canary}/dir; echo view > {canary}/changed; echo new > {canary}/made; "
        f"cat {canary}/changed; ls {canary}",
    )
    assert out.split() == ["view", "changed", "made"]
    assert (canary / "dir" / "deleted").read_text() == "host"
    assert (canary / "changed").read_text() == "host"
    assert not (canary / "made").exists()
    changed = {str(path.relative_to(root / "upper")) for path in (root / "upper").rglob("*")}
    assert {f"{canary}/changed"[1:], f"{canary}/made"[1:], f"{canary}/dir"[1:]} <= changed


def test_own_directories_are_hidden(root: Path) -> None:
    out = in_view(root, f"test -e {root} && echo seen; ls {root.parent}; stat -c '%a %u:%g' / /var /var/lib")
    assert "seen" not in out
    assert root.name not in out
    for line, path in zip(out.splitlines()[-3:], ("/", "/var", "/var/lib"), strict=True):
        status = os.stat(path)
        assert line == f"{status.st_mode & 0o7777:o} {status.st_uid}:{status.st_gid}"


@pytest.mark.skipif(not (shutil.which("gcc") and shutil.which("make")), reason="needs gcc and make")
def test_a_compiler_works_in_it(root: Path, canary: Path) -> None:
    (canary / "Makefile").write_text("hello: hello.c\n\tgcc -o $@ $<\ntest: hello\n\t./hello\n")
    (canary / "hello.c").write_text('#include <stdio.h>\nint main(void) { return puts("built") < 0; }\n')
    assert "built" in in_view(root, f"cd {canary} && make -s test")
    assert not (canary / "hello").exists()
