# SPDX-License-Identifier: Apache-2.0
"""lxc-start on cgroup v2 alone and on a stock kernel; run inside a virtual machine by test_cgroup_v2.py."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import pytest

from pyrt.engine import lxc
from pyrt.engine.cgroups import Layout, Limits
from pyrt.engine.lxc import LxcEngine
from pyrt.engine.spec import LaunchSpec, Root
from pyrt.errors import ProgramNotFoundError

pytestmark = pytest.mark.root
MIB = 1 << 20


@pytest.fixture(scope="module")
def lxc_layout():
    layout = Layout.detect("ptlxc")
    yield layout
    layout.remove()


@pytest.fixture
def start(lxc_layout, tmp_path, monkeypatch):
    """start(script, limits) runs a shell script in a container; returns its status, its output, and its OOM kills."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    program = root / "bin/busybox"
    program.write_bytes(Path("/bin/busybox").read_bytes())
    program.chmod(0o755)
    # The kernel's overlayfs is a module that is not here: the root is a plain directory.
    monkeypatch.setattr(lxc, "add_root", lambda plan, spec_root, *, mask_path: plan.rootfs(str(root)))
    engine = LxcEngine(lxc_layout)

    def run(script, limits=Limits(), *, argv=("/bin/busybox", "sh", "-c")):  # noqa: B008
        spec = LaunchSpec(
            id="c" * 64,
            root=Root(directory="/", lower=(), upper="", work=""),
            argv=(*argv, script),
            env=("PATH=/bin",),
            hostname="guest",
            capabilities=0xFB,
            limits=limits,
            directory=str(tmp_path),
        )
        launch = engine.begin(spec)
        try:
            while not launch.advance():
                select.select([launch], [], [])
        except BaseException:
            launch.abort()
            raise
        with open(launch.take_fd("stdout_fd")) as out, open(launch.take_fd("stderr_fd")) as err:
            text = out.read() + err.read()
        select.select([launch.pidfd], [], [])
        status, killed = launch.wait(), launch.cgroup.oom_kills()
        launch.close()
        launch.cgroup.remove()
        assert not list(Path("/sys/fs/cgroup").glob("ptlxc*/cccc*")), "groups are left"
        assert not list(Path("/sys/fs/cgroup").glob("ptlxc.lxc*")), "groups of lxc-start are left"
        return status, text, killed

    return run


def test_lxc_status_and_group(start):
    script = "busybox hostname; busybox cat /proc/self/cgroup; busybox ls /sys/fs/cgroup; exit 7"
    status, text, _ = start(script)
    assert status == 7 and text.splitlines()[:2] == ["guest", "0::/"]
    assert "cgroup.procs" in text.split()


def test_lxc_signal(start):
    status, _, _ = start("busybox sh -c 'busybox kill -9 1'; busybox sleep 0.2; exit 3")
    assert status == 3, "a signal from inside does not end the first process"


def test_lxc_memory(start):
    status, _, killed = start("x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done", Limits(memory_bytes=32 * MIB))
    assert status in (-signal.SIGKILL, 1, 2) and killed > 0


def test_lxc_processes(start):
    status, text, _ = start("for i in 1 2 3 4 5 6 7 8; do busybox sleep 3 & done; echo started", Limits(pids=4))
    assert status != 0 or "started" not in text


def test_lxc_devices_and_masks(start):
    script = "busybox cat /proc/keys; echo x > /dev/null && echo null; echo x > /proc/sys/kernel/hostname"
    status, text, _ = start(script)
    assert status == 1 and "null" in text.split() and "Read-only" in text


def test_lxc_program_that_is_not_there(start):
    with pytest.raises(ProgramNotFoundError):
        start("x", argv=("/nosuch",))
    assert not [name for name in os.listdir("/sys/fs/cgroup") if name.startswith("ptlxc.lxc")]
