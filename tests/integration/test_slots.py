# SPDX-License-Identifier: Apache-2.0
"""Parked slots on a real machine: used once, gone with their supervisor, and what a start with one leaves undone."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrt.engine.slots import FEW
from tests.harness import Pyrt
from tests.processes import is_parked, open_files, processes, wait_gone, wait_until

pytestmark = pytest.mark.root

# What must not be on the way from a client's command to its exit status (csrc and Python threads of both processes).
FORBIDDEN = re.compile(
    r"\b(fsync|fdatasync|syncfs|sync_file_range|clone|clone3|fork|vfork|execve|nanosleep|clock_nanosleep)\("
    r"|cgroup\.procs|mountinfo|\.pyc?\"|AF_NETLINK|NETLINK_ROUTE|/etc/nsswitch\.conf"
)
# The gateway refuses the connection; that it answers at all is in the neighbour table then.
REACH_GATEWAY = """
gateway=$(ip route | sed -n 's/default via \\([0-9.]*\\).*/\\1/p')
nc -w 5 $gateway 1 </dev/null
grep "^$gateway .* 0x2 " /proc/net/arp
"""


@pytest.fixture
def parked(pyrt: Pyrt) -> Callable[[], set[int]]:
    """parked() -> the pids of the supervisor's parked slots; at least FEW of those that plain runs take are there."""
    pyrt.run("bb", "true")

    def pids() -> set[int]:
        supervisor = pyrt.supervisor_pid
        return {pid for pid, process in processes().items() if process.parent == supervisor and is_parked(pid)}

    wait_until(lambda: len(pids()) >= FEW, what="parked slots")
    return pids


def test_a_container_is_a_slot_that_is_never_used_again(pyrt: Pyrt, parked: Callable[[], set[int]]) -> None:
    settle(parked)
    before = parked()
    pyrt.detached("--name", "taken", "bb", "sleep", "60")
    used = {pid for pid in before if not is_parked(pid)}
    assert len(used) == 1
    assert "sleep\0" in Path(f"/proc/{used.pop()}/cmdline").read_text()
    wait_until(lambda: len(parked()) >= FEW, what="a new slot in its place")
    pyrt.ok("rm", "-f", "taken")


def test_limits_come_with_the_container(pyrt: Pyrt, parked: Callable[[], set[int]]) -> None:
    """The slot's group was made before anybody knew of a limit."""
    settle(parked)
    result = pyrt.run("-m", "16m", "bb", "probe", "memory", "64")
    assert result.status == 137
    assert "out of memory: the limit is 16777216 bytes" in result.err.decode()
    assert pyrt.run("bb", "probe", "memory", "64").status == 0


def test_a_slot_that_was_killed_costs_nobody_a_start(pyrt: Pyrt, parked: Callable[[], set[int]]) -> None:
    settle(parked)
    for pid in parked():
        os.kill(pid, 9)
        wait_gone(pid)
    assert pyrt.run("bb", "true").status == 0


def test_the_daemon_may_go_and_come(pyrt: Pyrt, parked: Callable[[], set[int]]) -> None:
    settle(parked)
    before = parked()
    pyrt.kill_daemon()
    pyrt.ok("ps")
    assert parked() & before, "though there may be fewer by now: nobody came for a while"


def test_slots_end_with_the_supervisor(pyrt: Pyrt, parked: Callable[[], set[int]]) -> None:
    settle(parked)
    before = parked()
    os.kill(pyrt.supervisor_pid, 9)
    for pid in before:
        wait_gone(pid)
    wait_until(lambda: pyrt.run("bb", "true").status == 0, what="a start by the next supervisor")


def test_a_bridge_that_was_made_again_gets_new_slots(pyrt: Pyrt, parked: Callable[[], set[int]]) -> None:
    settle(parked)
    before = parked()
    subprocess.run(["ip", "link", "delete", pyrt.bridge], check=True)
    assert pyrt.run("bb", "sh", "-c", REACH_GATEWAY).status == 0
    assert pyrt.run("bb", "sh", "-c", REACH_GATEWAY).status == 0
    for pid in before:
        wait_gone(pid)


def test_a_link_that_was_taken_off_the_bridge_is_not_used(pyrt: Pyrt, parked: Callable[[], set[int]]) -> None:
    settle(parked)
    for link in Path(f"/sys/class/net/{pyrt.bridge}/brif").iterdir():
        subprocess.run(["ip", "link", "set", link.name, "nomaster"], check=True)
    assert pyrt.run("bb", "sh", "-c", REACH_GATEWAY).status == 0


def test_only_mounts_that_are_nobodys_else_outlast_a_container(pyrt: Pyrt, parked: Callable[[], set[int]]) -> None:
    """The supervisor holds them until the end has been told; a volume's file system is to be free by then."""

    def held() -> int:
        """Mount namespaces of containers that the supervisor has open."""
        return sum(target.startswith("mnt:") for target in open_files(pyrt.supervisor_pid).values()) - len(parked())

    pyrt.detached("--name", "plain", "bb", "sleep", "60")
    pyrt.detached("--name", "voluminous", "-v", "/tmp:/data", "bb", "sleep", "60")
    wait_until(lambda: held() == 1, what="one being held")
    pyrt.ok("rm", "-f", "plain")
    wait_until(lambda: held() == 0, what="none being held")
    pyrt.ok("rm", "-f", "voluminous")


def test_nothing_slow_is_on_the_way(pyrt: Pyrt, parked: Callable[[], set[int]], tmp_path: Path) -> None:
    """An strace of daemon and supervisor during one `run`: forbidden calls are those that wait for something slow.

    The threads that park and that remove work beside it and may do all of that.
    """
    pyrt.run("bb", "true")
    settle(parked)
    beside = {thread for thread in threads(pyrt.supervisor_pid) if comm(thread) == "parking"}
    trace = tmp_path / "trace"
    pids = f"{pyrt.daemon_pid},{pyrt.supervisor_pid}"
    with subprocess.Popen(
        ["strace", "-f", "-qq", "-s", "200", "-o", str(trace), "-p", pids], stderr=subprocess.PIPE
    ) as strace:
        wait_until(lambda: all(traced(pid) for pid in (pyrt.daemon_pid, pyrt.supervisor_pid)), what="strace")
        time.sleep(0.2)
        result = pyrt.run("bb", "echo", "done")
        strace.terminate()
        strace.wait(10)
    assert result.text == "done"
    found = []
    for line in trace.read_text(errors="replace").splitlines():
        thread, _, call = line.partition(" ")
        if int(thread) not in beside and FORBIDDEN.search(call):
            found.append(line)
    assert not found, "\n".join(found)


def settle(parked: Callable[[], set[int]]) -> None:
    """Wait until the pool has what it wants."""
    seen = parked()
    for _ in range(100):
        time.sleep(0.05)
        now = parked()
        if now == seen:
            return
        seen = now


def threads(pid: int) -> list[int]:
    return [int(name) for name in os.listdir(f"/proc/{pid}/task")]


def comm(thread: int) -> str:
    return Path(f"/proc/{thread}/comm").read_text().strip()


def traced(pid: int) -> bool:
    return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()
