# SPDX-License-Identifier: Apache-2.0
"""What only a machine with cgroup v2 alone can show; run inside a virtual machine by test_cgroup_v2.py."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pyrt.engine.cgroups import Cgroup, Layout, Limits

pytestmark = pytest.mark.root
ROOT = Path("/sys/fs/cgroup")
CLONE_NEWCGROUP, CLONE_NEWNS = 0x02000000, 0x00020000
MIB = 1 << 20


@pytest.fixture
def layout():
    layout = Layout.detect("ptpolicy-v2")
    yield layout
    assert layout.leftovers() == set()
    layout.remove()


def test_everything_is_on_v2(layout):
    assert layout.on_v2 == {"memory", "cpu", "pids"}
    assert set(layout.groups.values()) == {layout.v2} == {f"{ROOT}/ptpolicy-v2"}
    assert layout.kill and layout.freeze and layout.swap
    assert set((ROOT / "cgroup.subtree_control").read_text().split()) >= {"memory", "cpu", "pids"}


@pytest.mark.parametrize(
    ("swap", "expected"), [(0, str(64 * MIB)), (64 * MIB, "0"), (96 * MIB, str(32 * MIB)), (-1, "max")]
)
def test_limits_as_files(layout, swap, expected):
    with Cgroup.create(layout, "x", Limits(memory_bytes=64 * MIB, memory_swap_bytes=swap, cpus=0.5, pids=9)):
        group = ROOT / "ptpolicy-v2/x"
        names = ("memory.max", "memory.swap.max", "cpu.max", "pids.max")
        values = [(group / name).read_text().strip() for name in names]
        assert values == [str(64 * MIB), expected, "50000 100000", "9"]


def test_one_directory_and_a_descriptor_to_clone_into(layout):
    with Cgroup.create(layout, "x", Limits(memory_bytes=64 * MIB)) as cgroup:
        fd = cgroup.group_fd()
        assert fd is not None
        assert stat.S_ISDIR(os.fstat(fd).st_mode)
        assert not os.get_inheritable(fd)
        os.close(fd)


def in_own_cgroup(code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in the group /outer, of which and only of which it is a member."""
    outer = ROOT / "outer"
    outer.mkdir()
    libc = "import ctypes, os, subprocess\nlibc = ctypes.CDLL(None, use_errno=True)\n"
    enter = f"open('{outer}/cgroup.procs', 'w').write('0')\n"
    try:
        return subprocess.run([sys.executable, "-c", libc + enter + code], capture_output=True, text=True, timeout=60)
    finally:
        for path, _, _ in os.walk(outer, topdown=False):
            os.rmdir(path)


def test_started_inside_a_delegated_group():
    """In a container of its own, pyrt is a process of what looks like the root: it has to make room first."""
    (ROOT / "cgroup.subtree_control").write_text("+memory +cpu +pids")
    done = in_own_cgroup(f"""
from pyrt.engine.cgroups import Cgroup, Layout, Limits
assert libc.unshare({CLONE_NEWCGROUP | CLONE_NEWNS}) == 0
subprocess.run(["umount", "-l", "/sys/fs/cgroup"], check=True)
subprocess.run(["mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"], check=True)
assert "populated 1" in open("/sys/fs/cgroup/cgroup.events").read()
layout = Layout.detect("inner")
print(sorted(layout.on_v2), layout.missing.get("memory"), open("/proc/self/cgroup").read().strip())
with Cgroup.create(layout, "x", Limits(memory_bytes=1 << 26, pids=5)) as cgroup:
    child = subprocess.Popen(["sleep", "100"])
    cgroup.join(child.pid)
    cgroup.kill()
    print(child.wait())
layout.remove()
""")
    assert done.stderr == ""
    assert done.stdout.split("\n")[:2] == ["['cpu', 'memory', 'pids'] None 0::/inner.self", "-9"]


def test_where_the_root_is_read_only_our_own_group_is_taken(tmp_path):
    (ROOT / "cgroup.subtree_control").write_text("+memory +cpu +pids")
    (tmp_path / "view").mkdir()
    done = in_own_cgroup(f"""
from pyrt.engine.cgroups import Layout
assert libc.unshare({CLONE_NEWNS}) == 0
view = "{tmp_path}/view"
for command in (["--make-rprivate", "/"], ["--bind", "/sys/fs/cgroup", view], ["-o", "remount,bind,ro", view],
                ["--bind", "/sys/fs/cgroup/outer", view + "/outer"]):
    subprocess.run(["mount", *command], check=True)
lines = [line for line in open("/proc/self/mountinfo") if line.split()[4] == view]
open("{tmp_path}/mountinfo", "w").writelines(lines)
layout = Layout.detect("inner", mountinfo="{tmp_path}/mountinfo")
print(layout.v2, sorted(layout.on_v2))
layout.remove()
""")
    assert done.stderr == ""
    assert done.stdout.strip() == f"{tmp_path}/view/outer/inner ['cpu', 'memory', 'pids']"


def test_the_device_program_is_loaded_once(layout):
    descriptors = []
    for name in ("a", "b"):
        with Cgroup.create(layout, name):
            descriptors.append(layout.device_program())
    assert descriptors[0] == descriptors[1]
