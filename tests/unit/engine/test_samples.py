# SPDX-License-Identifier: Apache-2.0
"""Where a container's groups are, and what is read there, in the texts of v1, the hybrid and v2."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyrt.engine import samples
from pyrt.engine.groups import V2, find_groups, find_pids, parse_groups
from pyrt.engine.hierarchies import Mounts

ID = "6f3644f4ee7d7630"  # of a group: not the container's own
HYBRID = Mounts({"memory": "/cg/memory", "cpu": "/cg/cpu,cpuacct", "cpuacct": "/cg/cpu,cpuacct"}, "/cg/unified")
NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo:    1000      10    0    0    0     0          0         0  1000      10    0    0    0     0       0          0
  eth0:12345678      20    0    0    0     0          0         0   500       7    0    0    0     0       0          0
"""


def test_groups_of_a_hybrid() -> None:
    text = f"7:memory:/pyrt/{ID}\n5:devices:/pyrt/confined\n4:cpu,cpuacct:/pyrt/{ID}/inner\n3:blkio:/\n0::/pyrt/{ID}\n"
    assert parse_groups(text, "pyrt", HYBRID) == {
        "memory": f"/cg/memory/pyrt/{ID}",
        "cpu": f"/cg/cpu,cpuacct/pyrt/{ID}",
        "cpuacct": f"/cg/cpu,cpuacct/pyrt/{ID}",
        V2: f"/cg/unified/pyrt/{ID}",
    }


@pytest.mark.parametrize("path", ["/", "/pyrt", "/pyrt/confined", f"/pyrt.lxc-{ID}/payload", f"/pyrtabc/{ID}"])
def test_groups_of_somebody_else(path: str) -> None:
    """A process number that was given to another process meanwhile tells nothing of the container."""
    assert parse_groups(f"7:memory:{path}\n0::{path}\n", "pyrt", HYBRID) == {}


def test_a_process_that_has_ended_has_no_groups() -> None:
    assert find_groups("pyrt", 2**22 + 1) == {}
    assert samples.take_sample("pyrt", 2**22 + 1) is None


def test_pids_are_those_of_the_whole_tree_of_groups(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "cgroup.procs").write_text("30\n7\n")
    (tmp_path / "inner" / "cgroup.procs").write_text("9\n0\n")
    assert find_pids({V2: str(tmp_path)}, 7) == [7, 9, 30]


def test_pids_without_groups_are_those_of_the_namespace() -> None:
    assert os.getpid() in find_pids({}, os.getpid())


def test_network_bytes_leave_the_loopback_out() -> None:
    assert samples.network_bytes(NET_DEV) == (12345678, 500)
    assert samples.network_bytes("") == (0, 0)


def test_memory_and_cpu_of_v1(tmp_path: Path) -> None:
    files = {
        "memory.usage_in_bytes": "5000\n",
        "memory.limit_in_bytes": "8192\n",
        "memory.stat": "cache 9\ninactive_file 1\ntotal_inactive_file 1000\n",
        "cpuacct.usage": "77\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    groups = {"memory": str(tmp_path), "cpuacct": str(tmp_path)}
    assert samples._memory(groups) == (4000, 8192)
    assert samples._cpu_ns(groups, []) == 77


def test_memory_and_cpu_of_v2(tmp_path: Path) -> None:
    files = {
        "memory.current": "5000\n",
        "memory.max": "max\n",
        "memory.stat": "anon 9\ninactive_file 1000\n",
        "cpu.stat": "usage_usec 77\nuser_usec 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert samples._memory({V2: str(tmp_path)}) == (4000, None)
    assert samples._cpu_ns({V2: str(tmp_path)}, []) == 77_000


def test_what_the_kernel_does_not_tell_is_not_made_up(tmp_path: Path) -> None:
    assert samples._memory({}) == (None, None) == samples._memory({V2: str(tmp_path)})
    assert samples._cpu_ns({}, [os.getpid()]) > 0
