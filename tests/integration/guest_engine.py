# SPDX-License-Identifier: Apache-2.0
"""Containers on cgroup v2 alone and on a stock kernel; run inside a virtual machine by test_cgroup_v2.py."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from pyrt.core import namespaces
from pyrt.core.joining import Joining
from pyrt.core.namespaces import Plan, Slot, StepError, collect
from pyrt.engine.cgroups import Cgroup, Layout, Limits

pytestmark = pytest.mark.root
MIB = 1 << 20


@pytest.fixture(scope="module")
def layout():
    layout = Layout.detect("ptengine")
    yield layout
    layout.remove()


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    root.chmod(0o755)
    for name in ("bin", "etc", "tmp"):
        (root / name).mkdir()
    program = root / "bin/busybox"
    program.write_bytes(Path("/bin/busybox").read_bytes())
    program.chmod(0o755)
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nuser:x:1000:100::/:/bin/sh\n")
    return root


def run(layout: Layout, rootfs: Path, script: str, limits: Limits, *, user: str = "") -> tuple[int, str, int]:
    """Run a shell script in a container; return its status, its output, and how many processes ran out of memory."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    plan = Plan().rootfs(str(rootfs)).argv(["/bin/busybox", "sh", "-c", script]).env(["PATH=/bin"]).stdio(stdin=False)
    if user:
        plan.user(user)
    with Cgroup.create(layout, "c", limits) as cgroup:
        group_fd = cgroup.group_fd()
        assert group_fd is not None, "a container is born in its group"
        with namespaces.prepare(cgroup_fd=group_fd, show_cgroup=True) as slot:
            os.close(group_fd)
            slot.start(plan, (write_fd, write_fd))
            os.close(write_fd)
            with open(read_fd, encoding="utf-8") as output:
                text = output.read()
            status = slot.wait()
        return status, text, cgroup.oom_kills()


def joined(slot: Slot, cgroup: Cgroup, script: str) -> tuple[Joining, int]:
    """Send a shell script into a container, born in its group; returns what reports and the end of its output."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    group_fd = cgroup.group_fd()
    assert group_fd is not None
    joining = Joining(cgroup_fd=group_fd)
    os.close(group_fd)
    plan = Plan().join().argv(["/bin/busybox", "sh", "-c", script]).env(["PATH=/bin"]).stdio(stdin=False)
    joining.go(slot.pidfd, plan, (write_fd, write_fd))
    os.close(write_fd)
    return joining, read_fd


def test_one_more_program_in_the_group(layout, rootfs):
    """Also in one that is frozen: it waits there, and whoever sent it does not."""
    plan = Plan().rootfs(str(rootfs)).argv(["/bin/busybox", "sleep", "99"]).env([]).no_stdio()
    with Cgroup.create(layout, "c", Limits(pids=9)) as cgroup:
        group_fd = cgroup.group_fd()
        assert group_fd is not None
        with namespaces.prepare(cgroup_fd=group_fd) as slot:
            os.close(group_fd)
            slot.start(plan)
            for frozen in (False, True):
                if frozen:
                    cgroup.freeze()
                joining, output_fd = joined(slot, cgroup, "busybox cat /proc/self/cgroup; exit 7")
                if frozen:
                    time.sleep(0.2)
                    assert not joining.advance()
                    cgroup.thaw()
                _, pidfd = joining.start()
                with open(output_fd, encoding="utf-8") as output:
                    assert output.read() == "0::/\n"
                assert collect(pidfd) == 7
                os.close(pidfd)
            slot.signal(signal.SIGKILL)
            assert slot.wait() == -signal.SIGKILL


def test_a_container_in_its_own_group(layout, rootfs):
    status, text, _ = run(layout, rootfs, "busybox cat /proc/self/cgroup; busybox ls /sys/fs/cgroup", Limits())
    assert status == 0
    assert text.splitlines()[0] == "0::/", "its group is the root of a namespace of its own"
    assert "cgroup.procs" in text.split(), "which it sees"


def test_the_group_is_read_only(layout, rootfs):
    status, text, _ = run(layout, rootfs, "busybox mkdir /sys/fs/cgroup/x 2>&1", Limits())
    assert status == 1 and "Read-only" in text


def test_memory(layout, rootfs):
    script = "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done"
    status, _, killed = run(layout, rootfs, script, Limits(memory_bytes=32 * MIB))
    assert status in (-signal.SIGKILL, 1, 2) and killed > 0


def test_processes(layout, rootfs):
    script = "for i in 1 2 3 4 5 6 7 8; do busybox sleep 3 & done; echo started 2>&1"
    status, text, _ = run(layout, rootfs, script, Limits(pids=4))
    assert status != 0 or "started" not in text


def test_a_user_of_the_image(layout, rootfs):
    status, text, _ = run(layout, rootfs, "busybox id", Limits(), user="user")
    assert status == 0 and "uid=1000(user) gid=100" in text


def test_masks_and_devices(layout, rootfs):
    script = "busybox cat /proc/keys /proc/timer_list; busybox ls /dev; echo x > /proc/sys/kernel/hostname"
    status, text, _ = run(layout, rootfs, script + " 2>&1", Limits())
    assert status == 1 and "Read-only" in text
    assert {"null", "zero", "full", "random", "urandom", "tty", "pts", "shm"} <= set(text.split())


def test_a_program_that_is_not_there(layout, rootfs):
    plan = Plan().rootfs(str(rootfs)).argv(["/nosuch"]).env([]).stdio(stdin=False)
    with namespaces.prepare() as slot, pytest.raises(StepError, match="exec: /nosuch: No such file"):
        slot.start(plan, (1, 2))
