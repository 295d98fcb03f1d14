# SPDX-License-Identifier: Apache-2.0
"""Starting the daemon: nobody has to, two at once end with one, and every failure says which Python and why."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.conftest import Instance
from tests.cli.fake_server import FakeServer
from tests.processes import open_files


def test_the_first_command_starts_the_daemon_and_the_next_uses_it(instance: Instance) -> None:
    assert instance.run("version").stdout == "Version:0.1.0\n"
    pid = instance.pid
    assert instance.run("version").stdout == "Version:0.1.0\n"
    assert instance.pid == pid
    for directory in (instance.root, instance.run_dir):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((instance.run_dir / "pyrt.sock").stat().st_mode) == 0o600


def test_the_daemon_keeps_nothing_of_the_users_session(instance: Instance, tmp_path: Path) -> None:
    with open(tmp_path / "held", "w") as held:
        subprocess.run(
            [instance.program, "version"],
            env=instance.environment,
            stdout=subprocess.DEVNULL,
            pass_fds=[held.fileno()],
            cwd=tmp_path,
            check=True,
        )
    process = Path(f"/proc/{instance.pid}")
    targets = open_files(instance.pid).values()
    assert str(tmp_path / "held") not in targets
    assert os.readlink(process / "cwd") == "/"
    assert os.getsid(instance.pid) == instance.pid
    assert os.readlink(process / "fd/0") == "/dev/null"
    assert os.readlink(process / "fd/1") == os.readlink(process / "fd/2") == str(instance.run_dir / "daemon.log")


def test_many_clients_at_once_end_with_one_daemon(instance: Instance) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: instance.run("version"), range(4)))
    assert [result.stdout for result in results] == ["Version:0.1.0\n"] * 4
    assert [result.stderr for result in results] == [""] * 4
    assert instance.log.count("ready, pid") == 1


def test_a_killed_daemon_is_replaced_and_its_stale_socket_too(instance: Instance) -> None:
    instance.run("version")
    first = instance.pid
    watch = os.pidfd_open(first)
    signal.pidfd_send_signal(watch, signal.SIGKILL)
    assert select.select([watch], [], [], 20)[0]
    os.close(watch)
    assert instance.run("version").stdout == "Version:0.1.0\n"
    assert instance.pid != first


def test_a_command_while_the_old_daemon_stops_waits_for_a_new_one(instance: Instance) -> None:
    for _ in range(3):
        instance.run("version")
        os.kill(instance.pid, signal.SIGTERM)  # no waiting: the next command comes in the middle of the end
        result = instance.run("version")
        # the old one may still have taken the connection, and then says so
        assert result.stdout == "Version:0.1.0\n" or "the daemon is stopping" in result.stderr


def python(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo 'Error: /var/lib/pyrt: no space' >&2; exit 125", "/var/lib/pyrt: no space"),
        ("echo 'Traceback' >&2; echo \"ModuleNotFoundError: No module named 'pyrt'\" >&2; exit 1", "No module named"),
        ("exit 3", "it ended without a word"),
        ("kill -9 $$", "signal 9"),
    ],
)
def test_a_daemon_that_does_not_start_is_explained(instance: Instance, tmp_path: Path, body: str, reason: str) -> None:
    interpreter = python(tmp_path / "py", body)
    result = instance.run("version", PYRT_PYTHON=interpreter)
    assert result.returncode == 125
    assert result.stderr.startswith(f"Error: cannot start the pyrt daemon with {interpreter}: ")
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1


def test_python_beside_the_program_is_found_first(instance: Instance, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    copy = tmp_path / "bin/pyrt"
    copy.write_bytes(Path(instance.program).read_bytes())
    copy.chmod(0o755)
    python(tmp_path / "bin/python3", "echo 'Error: it is me' >&2; exit 1")
    instance.program = str(copy)
    result = instance.run("version", PYRT_PYTHON="")
    assert result.stderr == f"Error: cannot start the pyrt daemon with {tmp_path}/bin/python3: it is me\n"


def test_the_default_socket_only(instance: Instance, tmp_path: Path) -> None:
    result = instance.run("-H", f"unix://{tmp_path}/other", "version")
    assert result.returncode == 125
    assert not instance.run_dir.exists()


def test_a_fault_of_the_runtime_is_told_to_those_who_need_it(instance: Instance) -> None:
    assert instance.run("version", FAKE_RUNTIME_FAULT="no bridge").returncode == 0
    assert "no bridge" in instance.log


def test_foreground_and_a_second_daemon(instance: Instance) -> None:
    process = instance.daemon()
    try:
        assert instance.run("version").returncode == 0
        second = instance.run("-d")
        assert second.returncode == 125
        assert second.stderr == (
            f"Error: --run-dir {instance.run_dir} belongs to the pyrt daemon with pid {process.pid}; "
            "stop it, or choose another directory\n"
        )
        third = instance.run("-d", "--run-dir", str(instance.run_dir) + "2")
        assert f"--root {instance.root} belongs to the pyrt daemon with pid {process.pid}" in third.stderr
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert not (instance.run_dir / "pyrt.sock").exists()


def test_directories_are_repaired_or_refused(instance: Instance, tmp_path: Path) -> None:
    instance.run("version")
    instance.stop()
    instance.root.chmod(0o755)
    assert instance.run("version").returncode == 0
    assert stat.S_IMODE(instance.root.stat().st_mode) == 0o700
    instance.stop()
    foreign = tmp_path / "foreign"
    foreign.mkdir(mode=0o755)
    (foreign / "file").touch()
    result = instance.run("--root", str(foreign), "version")
    assert result.returncode == 125
    assert "files that are not pyrt's" in result.stderr
    assert stat.S_IMODE(foreign.stat().st_mode) == 0o755


def test_a_file_where_the_socket_should_be(instance: Instance) -> None:
    instance.run_dir.mkdir(mode=0o700)
    (instance.run_dir / "pyrt.sock").write_text("mine")
    result = instance.run("version")
    assert result.returncode == 125
    assert (instance.run_dir / "pyrt.sock").read_text() == "mine"


def test_a_call_that_was_never_read_is_sent_again(program: str, tmp_path: Path) -> None:
    """The daemon ends with the connection in its queue; the one after it gets the call."""
    path = tmp_path / "s"
    first = socket.socket(socket.AF_UNIX)
    first.bind(str(path))
    first.listen()
    process = subprocess.Popen([program, "-H", f"unix://{path}", "x"], stderr=subprocess.PIPE)
    assert select.select([first], [], [], 20)[0]
    path.unlink()
    server = FakeServer(path, lambda peer: (peer.call(), peer.exit(5)))
    first.close()
    process.communicate(timeout=20)
    assert process.returncode == 5
    server.result()


def test_a_call_that_was_read_is_not_sent_again(program: str, tmp_path: Path) -> None:
    server = FakeServer(tmp_path / "s", lambda peer: peer.call())
    result = subprocess.run([program, "-H", server.address, "x"], capture_output=True, timeout=20)
    assert (result.returncode, result.stderr) == (125, b"Error: lost the connection to the pyrt daemon\n")
    server.result()


def test_a_blocking_call_does_not_keep_a_stopping_daemon_alive(instance: Instance) -> None:
    instance.run("version", FAKE_RUNTIME_STUCK="1")
    instance.stop()
    assert "left it behind" in instance.log
    assert instance.run("version").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_is_told_to_be_root(instance: Instance) -> None:
    instance.run("version")
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:  # the checkout may be where only root can look
        os.chmod(directory, 0o755)
        program = shutil.copy(instance.program, directory)
        result = as_nobody(program, instance)
    assert result.returncode == 125
    assert "Permission denied; it takes commands from root" in result.stderr


def as_nobody(program: str, instance: Instance) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, "-H", f"unix://{instance.run_dir}/pyrt.sock", "version"],
        user=65534,
        group=65534,
        extra_groups=[],
        env={},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=20,
    )
