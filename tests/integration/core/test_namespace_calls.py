# SPDX-License-Identifier: Apache-2.0
"""The single system calls of pyrt.core.namespaces, made in a child process with a mount namespace of its own."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyrt.core import namespaces

pytestmark = pytest.mark.root

PRELUDE = """
import json, os, sys
from pyrt.core import namespaces as ns
MS_RDONLY, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 1, 4096, 16384, 1 << 18, 2
def link(name, pid="self"): return os.readlink(f"/proc/{pid}/ns/{name}")
def error(call, *arguments):
    try: call(*arguments)
    except ns.StepError as failure: return [failure.step, failure.errno, failure.text]
    return None
here = {name: link(name) for name in ("mnt", "uts", "ipc", "net")}
ns.unshare(ns.NEWNS)
ns.mount(None, "/", None, MS_REC | MS_PRIVATE)
where = sys.argv[1]
"""


def child(script: str, directory: Path) -> Any:
    """Run a script behind the prelude; it prints JSON."""
    command = [sys.executable, "-I", "-c", PRELUDE + script, str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


def test_unshare(tmp_path: Path) -> None:
    script = """
ns.unshare(ns.NEWUTS | ns.NEWIPC | ns.NEWNET)
print(json.dumps({"new": [name for name in here if link(name) != here[name]],
                  "links": [line.split(":")[0].strip() for line in open("/proc/net/dev")][2:],
                  "bad": error(ns.unshare, 1)}))
"""
    assert child(script, tmp_path) == {
        "new": ["mnt", "uts", "ipc", "net"],
        "links": ["lo"],
        "bad": ["unshare", errno.EINVAL, ""],
    }


def test_setns(tmp_path: Path) -> None:
    script = """
home = os.open("/proc/self/ns/uts", os.O_RDONLY)
ns.unshare(ns.NEWUTS)
away = link("uts") != here["uts"]
wrong = error(ns.setns, home, ns.NEWNET)
ns.setns(home)
with ns.prepare() as slot:
    slot.report()
    ns.setns(slot.pidfd, ns.NEWUTS | ns.NEWIPC)
    joined = link("uts") == link("uts", slot.pid) and link("ipc") == link("ipc", slot.pid)
print(json.dumps([away, wrong, joined, error(ns.setns, -1)]))
"""
    assert child(script, tmp_path) == [True, ["setns", errno.EINVAL, ""], True, ["setns", errno.EBADF, ""]]


def test_mount_and_umount(tmp_path: Path) -> None:
    script = """
target = os.path.join(where, "caf\\udce9 b")
os.mkdir(target)
ns.mount("ptmount", target, "tmpfs", MS_RDONLY, "size=1m,mode=700")
line = next(l for l in open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") if "ptmount" in l)
mounted = os.path.ismount(target) and os.stat(target).st_mode & 0o777
ns.umount(target)
print(json.dumps([oct(mounted), " ro," in line, os.path.ismount(target),
    error(ns.mount, None, where + "/nope", "tmpfs"), error(ns.mount, None, where, "nonsense"),
    error(ns.mount, "x", where, "tmpfs", 0, "size=nonsense"),
    error(ns.umount, where), error(ns.umount, where + "/nope")]))
"""
    before = mounts()
    nope = f"{tmp_path}/nope"
    assert child(script, tmp_path) == [
        "0o700",
        True,
        False,
        ["mount", errno.ENOENT, nope],
        ["mount", errno.ENODEV, str(tmp_path)],
        ["mount", errno.EINVAL, str(tmp_path)],
        ["umount", errno.EINVAL, str(tmp_path)],
        ["umount", errno.ENOENT, nope],
    ]
    assert mounts() == before


def test_pivot_root(tmp_path: Path) -> None:
    script = """
ns.mount("ptroot", where, "tmpfs")
os.mkdir(where + "/old")
bad = [error(ns.pivot_root, where, "/proc"), error(ns.pivot_root, where + "/old", where + "/old")]
host = sorted(os.listdir("/"))
ns.pivot_root(where, where + "/old")
os.chdir("/")
seen = os.listdir("/"), sorted(os.listdir("/old")) == host
ns.umount("/old", MNT_DETACH)
print(json.dumps([bad, *seen, os.listdir("/old")]))
"""
    before = mounts()
    bad, seen, old_is_host, left = child(script, tmp_path)
    assert [item[:2] for item in bad] == [["pivot_root", errno.EINVAL]] * 2 and bad[0][2] == str(tmp_path)
    assert (seen, old_is_host, left) == (["old"], True, [])
    assert mounts() == before and not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["a\0b", "\0"])
def test_no_path_ends_early(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="NUL"):
        namespaces.umount(path)
    with pytest.raises(ValueError, match="NUL"):
        namespaces.pivot_root(path, "/nope")
