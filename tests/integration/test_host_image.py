# SPDX-License-Identifier: Apache-2.0
"""The built-in image `host`: this machine's own root, copied on write, with nothing downloaded."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Pyrt

pytestmark = [pytest.mark.root, pytest.mark.both_engines]


@pytest.fixture
def canary() -> Iterator[Path]:
    """A directory on the host's root that a container may try to destroy. Nothing else of the host is ever a target."""
    directory = Path(tempfile.mkdtemp(prefix="pyrt-canary-", dir="/usr/local/share"))
    (directory / "file").write_text("canary\n")
    yield directory
    shutil.rmtree(directory)


def test_it_shows_the_machines_own_files(pyrt: Pyrt) -> None:
    assert pyrt.run("host", "cat", "/etc/os-release").out == Path("/etc/os-release").read_bytes()


def test_the_machines_own_programs_run_in_it(pyrt: Pyrt) -> None:
    interpreter = os.path.realpath(sys.executable)
    assert pyrt.run("host", interpreter, "-I", "-c", "print(6 * 7)").text == "42"


def test_what_is_written_stays_in_the_container(pyrt: Pyrt, canary: Path) -> None:
    script = f"echo changed > {canary}/file; echo new > {canary}/new; cat {canary}/file"
    assert pyrt.run("host", "sh", "-c", script).text == "changed"
    assert (canary / "file").read_text() == "canary\n" and not (canary / "new").exists()


def test_what_is_deleted_is_deleted_only_in_the_container(pyrt: Pyrt, canary: Path) -> None:
    assert pyrt.run("host", "sh", "-c", f"rm -rf {canary}; [ -e {canary} ] || echo gone").text == "gone"
    assert (canary / "file").read_text() == "canary\n"


def test_the_runtimes_own_state_cannot_be_seen_in_it(pyrt: Pyrt) -> None:
    """Through the host's root a container must not reach other containers' files, nor the socket."""
    for path in (pyrt.run_dir / "pyrt.sock", pyrt.root / "tags.json"):
        assert pyrt.run("host", "cat", str(path)).status != 0, path


def test_proc_sys_and_dev_are_the_containers(pyrt: Pyrt) -> None:
    assert pyrt.run("host", "sh", "-c", "echo $$; ls /dev | sort").lines[0] == "1"
    assert "sda" not in (listing := pyrt.run("host", "ls", "/dev").text) and "vda" not in listing


def test_it_cannot_be_removed_and_is_listed(pyrt: Pyrt) -> None:
    assert any(line.split()[0] == "host" for line in pyrt.ok("images").lines)
    assert pyrt("rmi", "host").status == 125


def test_limits_and_users_hold_in_it_too(pyrt: Pyrt) -> None:
    assert pyrt.run("-u", "nobody", "host", "id", "-un").text == "nobody"
    assert pyrt.run("host", "grep", "Seccomp:", "/proc/self/status").text.split()[1] == "2"
