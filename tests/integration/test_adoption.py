# SPDX-License-Identifier: Apache-2.0
"""The next daemon has everything: containers in each state, images, names, addresses, ports; and what is damaged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import Pyrt
from tests.processes import wait_gone, wait_until

pytestmark = [pytest.mark.root, pytest.mark.both_engines]


def terminated(pyrt: Pyrt) -> None:
    pid = pyrt.daemon_pid
    os.kill(pid, signal.SIGTERM)
    wait_gone(pid)


ENDS: list[Callable[[Pyrt], None]] = [Pyrt.kill_daemon, terminated]


def listed(pyrt: Pyrt) -> list[list[str]]:
    """What `ps -a` and `images` say, without ages."""
    rows = [line.split() for line in pyrt.ok("ps", "-a", "--no-trunc").lines + pyrt.ok("images", "--no-trunc").lines]
    return [[word for word in row if not word.isdigit() and word not in AGES] for row in rows]


AGES = {"Less", "than", "a", "second", "seconds", "About", "minute", "minutes", "ago"}


@pytest.mark.parametrize("end", ENDS)
def test_everything_is_there_again(pyrt: Pyrt, end: Callable[[Pyrt], None]) -> None:
    pyrt.ok("create", "--name", "made", "bb", "true")
    pyrt("run", "--name", "ended", "bb", "sh", "-c", "exit 3")
    pyrt.detached("--name", "runs", "-p", "127.0.0.1:18097:80", "bb", "httpd", "-f", "-h", "/etc")
    pyrt.detached("--name", "free", "-p", "127.0.0.1::80", "bb", "sleep", "60")
    pyrt.detached("--name", "still", "bb", "sleep", "60")
    pyrt.ok("pause", "still")
    pyrt.ok("tag", "bb", "other", "v1")
    before = listed(pyrt)
    addresses = [address(pyrt, name) for name in ("runs", "free", "still")]
    assert len(set(addresses)) == 3
    end(pyrt)
    assert listed(pyrt) == before
    assert [address(pyrt, name) for name in ("runs", "free", "still")] == addresses
    assert b"root" in subprocess.run(["curl", "-sf", "http://127.0.0.1:18097/passwd"], capture_output=True).stdout
    assert "is taken by container" in pyrt("create", "--name", "made", "bb", "true").error
    assert "18097/tcp is already in use" in pyrt("run", "-p", "127.0.0.1:18097:80", "bb", "true").error
    pyrt.detached("--name", "new", "bb", "sleep", "60")
    assert address(pyrt, "new") not in addresses
    pyrt.ok("rmi", "other:v1")
    pyrt.ok("rm", "-f", "made", "ended", "runs", "free", "still", "new")


def address(pyrt: Pyrt, name: str) -> str:
    return pyrt.ok("inspect", "-f", "{{.NetworkSettings.IpAddress}}", name).text


WAIT = "while [ ! -e /v/go ]; do sleep 0.05; done"
SECOND_TIME = f"if [ -e /again ]; then {WAIT}; exit 5; fi; touch /again; exit 1"


@pytest.mark.parametrize("end", ENDS)
def test_what_ended_meanwhile_has_its_own_status(pyrt: Pyrt, end: Callable[[Pyrt], None], tmp_path: Path) -> None:
    """Also of a second run: the end of the first is not taken for it."""
    volume = f"{tmp_path}:/v"
    identifier = pyrt.detached("--name", "twice", "-v", volume, "bb", "sh", "-c", SECOND_TIME)
    assert pyrt.ok("wait", "twice").text == "1"
    pyrt.ok("start", "twice")
    other = pyrt.detached("-v", volume, "bb", "sh", "-c", f"{WAIT}; kill -9 $$; exit 6")
    pid = int(pyrt.ok("inspect", "-f", "{{.State.Pid}}", "twice").text)
    end(pyrt)
    (tmp_path / "go").touch()
    wait_gone(pid)
    assert pyrt.ok("wait", identifier, other).lines == ["5", "6"]
    assert pyrt.ok("logs", "twice").out == b""
    pyrt.ok("rm", identifier, other)


def test_lost_to_a_reboot_and_started_again(pyrt: Pyrt) -> None:
    """As a reboot leaves it: no process, no supervisor, and the record of another boot."""
    identifier = pyrt.detached("--name", "old", "bb", "sh", "-c", "echo run; sleep 60")
    brief = pyrt.detached("--rm", "bb", "sleep", "60")
    wait_until(lambda: pyrt.ok("logs", "old").lines == ["run"], what="its first run")
    supervisor = pyrt.supervisor_pid
    pyrt.kill_daemon()
    os.kill(supervisor, signal.SIGKILL)
    wait_gone(supervisor)
    path = record_of(pyrt, identifier)
    path.write_text(json.dumps({**json.loads(path.read_text()), "boot_id": "an earlier one"}))
    row = next(line for line in pyrt.ok("ps", "-a").lines if "old" in line)
    assert "Lost" in row and "the host was rebooted" in row and pyrt.status_of(brief) == ""
    waited = pyrt("wait", "old")
    assert (waited.text, waited.status) == ("unknown", 125) and "the host was rebooted" in waited.error
    pyrt.ok("start", "old")
    wait_until(lambda: pyrt.ok("logs", "old").lines == ["run", "run"], what="its second run")
    pyrt.ok("rm", "-f", "old")


def record_of(pyrt: Pyrt, identifier: str) -> Path:
    return pyrt.root / "containers" / identifier / "config.json"


def test_a_daemon_killed_in_the_middle_of_a_start(pyrt: Pyrt) -> None:
    """The record names a run that nobody began: what was before it counts, and the next start goes well."""
    made = pyrt.ok("create", "bb", "true").text
    ended = pyrt.detached("bb", "sh", "-c", "exit 4")
    pyrt.ok("wait", ended)
    pyrt.kill_daemon()
    for identifier in (made, ended):
        path = record_of(pyrt, identifier)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        path.write_text(json.dumps({**json.loads(path.read_text()), "run": "never", "boot_id": boot}))
    assert pyrt.status_of(made[:16]) == "Created" and pyrt.status_of(ended[:16]) == "Exit 4"
    pyrt.ok("start", made, ended)
    assert pyrt.ok("wait", made, ended).lines == ["0", "4"]
    pyrt.ok("rm", made, ended)


@pytest.mark.parametrize("milliseconds", [0, 2, 5, 10, 30])
def test_a_daemon_killed_during_a_restart(pyrt: Pyrt, milliseconds: int) -> None:
    """It runs or it has ended, once; and it can be started again."""
    pyrt.detached("--name", "again", "bb", "sh", "-c", "echo run; exec sleep 60")
    command = pyrt.start("restart", "-t", "0", "again")
    try:
        command.wait(timeout=milliseconds / 1e3)
    except subprocess.TimeoutExpired:
        pass
    pyrt.kill_daemon()
    command.communicate(timeout=20)
    assert pyrt.status_of("again").startswith(("Up", "Exit 137"))
    pyrt.ok("restart", "-t", "0", "again")
    assert pyrt.status_of("again").startswith("Up")
    pyrt.ok("rm", "-f", "again")


def test_damaged_files(pyrt: Pyrt, bb_tar: bytes) -> None:
    """Listed, kept, and removed when somebody says so; a container may run although its record is gone."""
    running, ended, kept = (pyrt.detached("bb", "sleep", "60") for _ in range(3))
    pyrt.ok("kill", ended)
    image = pyrt.ok("import", "-", "victim", input=bb_tar).text.splitlines()[-1]
    bb = pyrt.ok("inspect", "-f", "{{.Id}}", "bb").text
    pyrt.kill_daemon()
    record_of(pyrt, running).write_bytes(b"{")
    record_of(pyrt, ended).unlink()
    record_of(pyrt, ended).mkdir()
    (pyrt.root / "images" / f"{image}.json").write_bytes(b"\0")
    tags = pyrt.root / "tags.json"
    tags.unlink()
    tags.mkdir()
    shown = pyrt.ok("images")
    assert f"image {image[:16]} is damaged" in shown.err.decode() and "tags.json is damaged" in shown.err.decode()
    assert pyrt.status_of(ended[:16]) == "Damaged"
    assert pyrt.status_of(running[:16]).startswith("Up") and pyrt.status_of(kept[:16]).startswith("Up")
    for verb in ("start", "rename"):
        words = (verb, ended) if verb == "start" else (verb, ended, "x")
        assert "is damaged and can only be removed" in pyrt(*words).error
    pyrt.ok("rm", ended)
    pyrt.ok("rm", "-f", running, kept)
    pyrt.ok("rmi", image)
    pyrt.ok("tag", bb, "bb")
    pyrt.kill_daemon()
    (pyrt.root / "tags.json.damaged").rmdir()
    assert pyrt.ok("ps", "-a", "-q").lines == []
    assert pyrt.run("bb", "echo", "well").out == b"well\n"


@pytest.mark.parametrize("kind", ["garbage", "zeros", "directory"])
def test_a_damaged_log(pyrt: Pyrt, kind: str) -> None:
    """What stands before the damage is shown; the rest is one true line. A power cut leaves zeros."""
    identifier = pyrt.detached("bb", "echo", "hello")
    pyrt.ok("wait", identifier)
    (segment,) = (pyrt.root / "containers" / identifier / "log").glob("*.log")
    if kind == "directory":
        segment.unlink()
        segment.mkdir()
    else:
        segment.write_bytes(segment.read_bytes() + (b"\0" if kind == "zeros" else b"\xff") * 50)
    result = pyrt("logs", identifier)
    assert result.status == 125 and result.error.startswith("the log ")
    assert result.out == (b"" if kind == "directory" else b"hello\n")
    pyrt.ok("rm", identifier)


def test_two_daemons_on_one_root(pyrt: Pyrt, tmp_path: Path) -> None:
    """The second one says why it does not start, and the first goes on."""
    daemon = pyrt.daemon_pid
    for run_dir in (tmp_path / "other", pyrt.run_dir):
        result = pyrt("-d", "--root", str(pyrt.root), "--run-dir", str(run_dir))
        assert result.status == 125 and str(daemon) in result.error, str(result)
    assert pyrt.daemon_pid == daemon and pyrt.ok("ps").lines


def test_a_daemon_killed_before_it_has_removed_what_ended(pyrt: Pyrt) -> None:
    """Containers made with --rm are out of the books at once, and off the disk soon, or by the next daemon."""
    for _ in range(4):
        assert pyrt.run("bb", "true").status == 0
        pyrt.kill_daemon()
        assert pyrt.ok("ps", "-a", "-q").lines == []
        wait_until(lambda: not any(os.listdir(pyrt.root / name) for name in ("containers", "tmp")), what="its removal")
