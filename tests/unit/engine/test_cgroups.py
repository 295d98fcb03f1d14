# SPDX-License-Identifier: Apache-2.0
"""Finding the hierarchies, limits as files, and the C that follows a plan; on ordinary directories, without root."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any

import pytest

from pyrt.core._namespaces import ffi, lib
from pyrt.engine import cgroup_plan
from pyrt.engine.cgroups import Cgroup, Layout, Limits, check
from pyrt.engine.hierarchies import read_mounts
from pyrt.errors import PyrtError, StartError, UsageError

HYBRID = """\
22 1 0:5 / /proc rw - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw shared:3 - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:4 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/my\\040memory rw - cgroup cgroup rw,memory
34 31 0:31 / /elsewhere rw - cgroup cgroup rw,memory
35 31 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
36 31 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
"""


def layout(v1: Iterable[str] = (), v2: str | None = None, on_v2: Iterable[str] = (), **more: Any) -> Layout:
    groups = {name: f"/cg/{name}/pyrt" for name in v1} | {name: f"{v2}" for name in on_v2}
    return Layout("pyrt", groups=groups, v2=v2, on_v2=frozenset(on_v2), **more)


def records(plan: bytes) -> list[str]:
    return [record.decode() for record in plan.split(b"\0")[:-1]]


def test_mounts_of_a_hybrid_machine():
    mounts = read_mounts(HYBRID)
    assert mounts.v2 == "/sys/fs/cgroup/unified"
    assert mounts.v1["cpu"] == mounts.v1["cpuacct"] == "/sys/fs/cgroup/cpu,cpuacct"
    assert mounts.v1["memory"] == "/sys/fs/cgroup/my memory"
    assert set(mounts.v1) == {"cpu", "cpuacct", "memory"}


def test_no_cgroups_at_all(tmp_path):
    (tmp_path / "mountinfo").write_text(HYBRID.splitlines()[0])
    (tmp_path / "own").write_text("")
    found = Layout.detect(mountinfo=str(tmp_path / "mountinfo"), own=str(tmp_path / "own"))
    assert found.groups == {}
    with pytest.raises(PyrtError, match="the memory limit cannot be enforced.*not mounted"):
        check(found, Limits(memory_bytes=1 << 20))
    assert check(found, Limits(), confine_devices=False) == ()
    assert "devices is not restricted" in check(found, Limits())[0]


@pytest.mark.parametrize("name", ["", "..", "a/b", ".x", "a\0b", "a" * 200, "a\n"])
def test_names_cannot_become_other_paths(name):
    with pytest.raises(UsageError):
        Layout.detect(name)
    with pytest.raises(UsageError):
        Cgroup.create(layout(v1=["memory"]), name)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"memory_bytes": -1}, "negative"),
        ({"memory_swap_bytes": 1 << 20}, "needs one of memory"),
        ({"memory_bytes": 2 << 20, "memory_swap_bytes": 1 << 20}, "cannot be less"),
        ({"cpus": 0.001}, "at least 0.01"),
        ({"cpus": -1}, "at least"),
        ({"cpus": float("nan")}, "at least"),
        ({"cpus": float("inf")}, "at most"),
    ],
)
def test_limits_that_make_no_sense(values, message):
    with pytest.raises(UsageError, match=message):
        Limits(**values)


MIB = 1 << 20


@pytest.mark.parametrize(
    ("swap", "total", "v1", "v2"),
    [
        (0, "twice", f"={200 * MIB}", f"={100 * MIB}"),
        (100 * MIB, "none", f"={100 * MIB}", "=0"),
        (300 * MIB, "more", f"={300 * MIB}", f"={200 * MIB}"),
        (-1, "unlimited", None, None),
    ],
)
def test_memory_and_swap_in_both_dialects(swap, total, v1, v2):
    limits = Limits(memory_bytes=100 * MIB, memory_swap_bytes=swap)
    one = records(cgroup_plan.make(layout(v1=["memory"], swap=True), limits, False).create)
    two = records(cgroup_plan.make(layout(v2="/cg/pyrt", on_v2=["memory"], swap=True), limits, False).create)
    expected = ["w/cg/memory/pyrt/\1/memory.limit_in_bytes", f"={100 * MIB}"]
    assert one[1:] == expected + (["w/cg/memory/pyrt/\1/memory.memsw.limit_in_bytes", v1] if v1 else [])
    expected = ["w/cg/pyrt/\1/memory.max", f"={100 * MIB}"]
    assert two[1:] == expected + (["w/cg/pyrt/\1/memory.swap.max", v2] if v2 else [])


def test_cpus_and_pids_in_both_dialects():
    limits = Limits(cpus=1.5, pids=7)
    one = records(cgroup_plan.make(layout(v1=["memory", "cpu", "pids"]), limits, False).create)
    assert one[-4:] == ["w/cg/cpu/pyrt/\1/cpu.cfs_quota_us", "=150000", "w/cg/pids/pyrt/\1/pids.max", "=7"]
    two = records(cgroup_plan.make(layout(v2="/cg/pyrt", on_v2=["memory", "cpu", "pids"]), limits, False).create)
    assert two == [
        "d/cg/pyrt/\1", "w/cg/pyrt/\1/cpu.max", "=150000 100000", "w/cg/pyrt/\1/pids.max", "=7",
    ]  # fmt: skip


def test_only_what_is_needed_is_made():
    v1 = ["memory", "cpu", "cpuacct", "pids", "freezer", "devices"]
    hybrid = layout(v1=v1, v2="/cg/pyrt", kill=True, freeze=True)
    plan = cgroup_plan.make(hybrid, Limits(), True)
    assert records(plan.create) == ["d/cg/pyrt/\1", "d/cg/memory/pyrt/\1"]
    assert records(plan.join) == [
        "j/cg/pyrt/\1/cgroup.procs",
        "j/cg/memory/pyrt/\1/cgroup.procs",
        "j/cg/devices/pyrt/confined/cgroup.procs",
    ]
    assert not plan.bpf
    made = records(cgroup_plan.make(layout(v1=v1), Limits(), False).create)
    assert made == ["d/cg/cpuacct/pyrt/\1", "d/cg/freezer/pyrt/\1", "d/cg/memory/pyrt/\1"]
    assert cgroup_plan.make(layout(v2="/cg/pyrt"), Limits(), True).bpf


def test_where_a_process_goes_in_by_itself():
    """On v1 by `tasks`: by `cgroup.procs` it would wait for a lock, for many milliseconds."""
    joins = [f"j{group}/c/cgroup.procs" for group in ("/cg/memory/pyrt", "/cg/unified/pyrt")]
    hybrid = Cgroup(layout(["memory"], v2="/cg/unified/pyrt"), "c", b"", cgroup_plan.encode(joins))
    assert hybrid.entrances(born=True) == ["/cg/memory/pyrt/c/tasks"]
    assert hybrid.entrances(born=False) == ["/cg/memory/pyrt/c/tasks", "/cg/unified/pyrt/c/cgroup.procs"]
    alone = Cgroup(layout(["memory"]), "c", b"", cgroup_plan.encode(joins[:1]))
    assert alone.entrances(born=False) == ["/cg/memory/pyrt/c/tasks"] and alone.group_fd() is None


def test_swap_that_is_not_accounted_for():
    here = layout(v1=["memory"], swap=False)
    assert "does not account for swap" in check(here, Limits(memory_bytes=MIB), confine_devices=False)[0]
    assert check(here, Limits(memory_bytes=MIB, memory_swap_bytes=-1), confine_devices=False) == ()
    with pytest.raises(PyrtError, match="--memory-swap cannot be enforced"):
        check(here, Limits(memory_bytes=MIB, memory_swap_bytes=2 * MIB), confine_devices=False)


def test_a_missing_controller_says_why():
    here = layout(v2="/cg/pyrt", missing={"pids": "/cg/cgroup.subtree_control: Device or resource busy"})
    with pytest.raises(PyrtError, match="pids limit cannot be enforced.*subtree_control: Device or resource busy"):
        check(here, Limits(pids=5))


def apply(*lines: str, pid: int = 0) -> tuple[int, int]:
    plan = b"".join(line.encode() + b"\0" for line in lines)
    failed = ffi.new("int *")
    return lib.cgroup_apply(plan, len(plan), pid, failed), failed[0]


def test_a_plan_is_carried_out(tmp_path):
    (tmp_path / "limit").write_text("")
    (tmp_path / "procs").write_text("")
    lines = [f"p{tmp_path}", f"d{tmp_path}/a", f"w{tmp_path}/limit", "=one ", "=two", f"j{tmp_path}/procs"]
    assert apply(*lines, pid=4321) == (6, -1)
    assert (tmp_path / "a").is_dir()
    assert (tmp_path / "limit").read_text() == "one two"
    assert (tmp_path / "procs").read_text() == "4321"


def test_a_failed_plan_names_the_step_and_leaves_nothing(tmp_path):
    assert apply(f"d{tmp_path}/a", f"d{tmp_path}/b", f"w{tmp_path}/missing", "=1") == (-errno.ENOENT, 2)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    assert apply(f"d{tmp_path}/b", f"d{tmp_path}/a") == (-errno.EEXIST, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]  # not ours: it stays


@pytest.mark.parametrize("plan", [b"d/never\0=text", b"x/never\0", b"=text\0", b"\0"])
def test_a_broken_plan_is_refused(plan):
    assert lib.cgroup_apply(plan, len(plan), 0, ffi.new("int *")) in (-errno.EINVAL, -errno.EBADF)


def test_remove_is_bounded_and_can_be_repeated(tmp_path):
    (tmp_path / "a").mkdir()
    plan = f"d{tmp_path}/a\0w{tmp_path}/limit\0d{tmp_path}/never\0".encode()
    for _ in range(2):
        assert lib.cgroup_remove(plan, len(plan), 1000, ffi.new("int *")) == 0
    assert list(tmp_path.iterdir()) == []


def test_words_for_a_failed_step():
    plan = b"d/cg/x\0w/cg/x/memory.max\0=lots\0"
    assert str(cgroup_plan.failure(plan, 2, errno.EINVAL)) == "cgroup: 'lots' to /cg/x/memory.max: Invalid argument"
    error = cgroup_plan.failure(plan, 0, errno.EEXIST)
    assert isinstance(error, StartError)
    assert (error.step, error.text) == ("cgroup", "/cg/x")
