# SPDX-License-Identifier: Apache-2.0
"""A power cut: what a client was told survives it, what it was not told is wholly absent, and the daemon starts.

The cut is simulated by FS_IOC_SHUTDOWN: the file system forgets whatever is not on its device yet. The next mount
replays the journal, as after a reboot.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Pyrt, start_instance
from tests.images import file, with_members
from tests.processes import wait_gone, wait_until

pytestmark = pytest.mark.root

FS_IOC_SHUTDOWN = 0x8004587D  # linux/ext4.h: EXT4_IOC_SHUTDOWN
NO_LOG_FLUSH = 2
PAYLOAD = os.urandom(300_000)


class Disk:
    """An ext4 file system in a file, which can lose its power."""

    def __init__(self, directory: Path) -> None:
        self.image, self.path = directory / "image", directory / "disk"
        self.path.mkdir()
        with open(self.image, "wb") as image:
            image.truncate(256 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.image], check=True)
        self.mount()

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", self.image, self.path], check=True)

    def cut(self) -> None:
        fd = os.open(self.path, os.O_RDONLY)
        fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        os.close(fd)

    def unmount(self) -> None:
        done = None

        def unmounted() -> bool:  # a container's mounts are torn down a moment after its last process
            nonlocal done
            done = subprocess.run(["umount", self.path], capture_output=True, text=True)
            return done.returncode == 0

        wait_until(unmounted, what=f"the disk unmounted ({done.stderr if done else ''})")


@pytest.fixture
def disk(pyrt: Pyrt, tmp_path: Path) -> Iterator[Disk]:
    if not shutil.which("mkfs.ext4"):
        pytest.skip("mkfs.ext4 is not installed")
    disk = Disk(tmp_path)
    yield disk
    disk.unmount()


def power_cut(instance: Pyrt, disk: Disk) -> None:
    """Lose what is not on the disk, and every process; then come back without a run directory, as after a reboot."""
    disk.cut()
    for pid in (instance.daemon_pid, instance.supervisor_pid):
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid)
    disk.unmount()
    shutil.rmtree(instance.run_dir)
    disk.mount()


def test_what_was_acknowledged_survives(pyrt: Pyrt, disk: Disk, bb_tar: bytes) -> None:
    tar = with_members(bb_tar, [file("payload", PAYLOAD)])
    instance = start_instance(pytest.fail, root=disk.path / "r")
    try:
        image = instance.ok("import", "-", "kept", "v1", input=tar).text
        ended = instance.ok("run", "-d", "--name", "ended", "kept:v1", "sh", "-c", "exit 7").text
        assert instance.ok("wait", "ended").text == "7"
        running = instance.detached("--name", "running", "kept:v1", "sleep", "60")
        gone = instance.detached("kept:v1", "true")
        instance.ok("wait", gone)
        instance.ok("rm", gone)
        power_cut(instance, disk)

        assert image in instance.ok("images", "-q", "--no-trunc").lines
        digest = instance.run("kept:v1", "sha256sum", "/payload")
        assert digest.text.split()[0] == hashlib.sha256(PAYLOAD).hexdigest()
        assert set(instance.ok("ps", "-a", "-q", "--no-trunc").lines) == {ended, running}
        assert instance.status_of(ended) == "Exit 7"
        assert instance.status_of(running) == "Lost"
        assert instance("wait", "running").text == "unknown"
        instance.ok("rm", "ended", "running")
    finally:
        instance.close()


def test_what_was_not_acknowledged_is_absent(pyrt: Pyrt, disk: Disk, bb_tar: bytes) -> None:
    instance = start_instance(pytest.fail, root=disk.path / "r")
    try:
        instance.ok("import", "-", "bb", input=bb_tar)
        half = instance.start("import", "-", "half", stdin=subprocess.PIPE)
        assert half.stdin is not None
        half.stdin.write(with_members(bb_tar, [file("big", os.urandom(8 << 20))])[: 4 << 20])
        half.stdin.flush()
        wait_until(lambda: any((instance.root / "tmp").iterdir()), what="the import under way")
        power_cut(instance, disk)
        half.kill()
        half.communicate()

        assert [line.split()[0] for line in instance.ok("images").lines[1:]] == ["bb", "host"]
        assert instance.run("bb", "echo", "fine").text == "fine"
        wait_until(lambda: not any((instance.root / "tmp").iterdir()), what="nothing half made left")
    finally:
        instance.close()
