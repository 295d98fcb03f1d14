# SPDX-License-Identifier: Apache-2.0
"""A disk that is full during an import and during a run: said clearly, nothing half there, and all is well after."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Pyrt, start_instance
from tests.images import file, with_members
from tests.processes import wait_until

pytestmark = pytest.mark.root

DISK_BYTES = 64 << 20


@pytest.fixture
def small(pyrt: Pyrt, bb_tar: bytes, tmp_path: Path) -> Iterator[Pyrt]:
    """An instance whose root is on a file system of 64 MiB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "small", disk], check=True)
    try:
        instance = start_instance(pytest.fail, root=disk / "r")
        try:
            instance.ok("import", "-", "bb", input=bb_tar)
            yield instance
        finally:
            instance.close()
    finally:
        subprocess.run(["umount", disk], check=True)


def fill(pyrt: Pyrt) -> Path:
    """Take every byte that is left."""
    path = pyrt.root.parent / "filler"
    free = os.statvfs(pyrt.root)
    with open(path, "wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, free.f_bavail * free.f_frsize)
    return path


def test_an_image_that_does_not_fit(small: Pyrt, bb_tar: bytes) -> None:
    before = small.ok("images", "-q").out
    big = with_members(bb_tar, [file(f"big{number}", os.urandom(8 << 20)) for number in range(10)])
    result = small("import", "-", "big", input=big, timeout=60)
    assert result.status == 125 and "space" in result.error
    assert small.ok("images", "-q").out == before
    assert not list((small.root / "tmp").iterdir())
    small.ok("run", "--rm", "bb", "true")


def test_a_run_on_a_full_disk(small: Pyrt) -> None:
    small.ok("run", "--name", "old", "bb", "echo", "kept")
    filler = fill(small)
    result = small("run", "--name", "new", "bb", "true")
    if result.status:
        assert "space" in result.error
    assert small.ok("logs", "old").out == b"kept\n"
    small.ok("ps", "-a")
    small.ok("rm", "old")
    filler.unlink()
    small("rm", "-f", "new")
    assert small.run("bb", "echo", "fine").out == b"fine\n"


def test_a_container_that_fills_the_disk(small: Pyrt) -> None:
    result = small.run("bb", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=200", timeout=60)
    assert result.status == 1 and b"No space" in result.err
    wait_until(
        lambda: os.statvfs(small.root).f_bavail > 0, what="its files removed"
    )  # its client does not wait for that
    assert small.run("bb", "echo", "fine").out == b"fine\n"


def test_a_log_that_cannot_be_written_stops_no_container(small: Pyrt) -> None:
    """It runs on, and what is missing is counted where it is missing: for who reads along, and in the log."""
    script = "read go; probe emit 1 4000000 31; : >/dev/shm/done; read go; echo audible; exit 12"
    client = small.start("run", "-i", "--name", "loud", "bb", "sh", "-c", script, stdin=subprocess.PIPE)
    small.wait_status("loud", "Up")
    filler = fill(small)
    assert client.stdin
    client.stdin.write(b"go\n")
    client.stdin.flush()
    done = ("exec", "loud", "test", "-e", "/dev/shm/done")
    wait_until(lambda: small(*done).status == 0, seconds=30, what="all being written")
    filler.unlink()
    out, err = client.communicate(b"go\n", timeout=30)
    assert client.returncode == 12 and out.endswith(b"audible\n")
    lines = err.splitlines()
    assert lines and all(b"lost here: the log could not be written (No space left on device)" in line for line in lines)
    assert sum(int(line.split()[1]) for line in lines) + len(out) == 4_000_000 + len(b"audible\n")
    shown = small.ok("logs", "loud")
    assert (shown.out, shown.err) == (out, err), "the log says the same"
    small.ok("rm", "loud")


def test_the_daemon_starts_on_a_full_disk(small: Pyrt) -> None:
    small.ok("run", "--name", "old", "bb", "true")
    filler = fill(small)
    small.kill_daemon()
    assert "old" in small.ok("ps", "-a").text or small.ok("ps", "-a", "-q").lines
    small.ok("rm", "old")
    filler.unlink()
