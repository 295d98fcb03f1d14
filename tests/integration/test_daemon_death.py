# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the daemon and of clients at any moment: containers run on, and nothing of them is lost."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import IO

import pytest

from tests import rcli_client
from tests.harness import Pyrt
from tests.processes import alive, is_parked, processes, wait_until

pytestmark = [pytest.mark.root, pytest.mark.both_engines]


def test_containers_run_on_and_the_next_command_finds_them(pyrt: Pyrt) -> None:
    identifier = pyrt.detached(
        "--name", "survivor", "bb", "sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done"
    )
    supervisor = pyrt.supervisor_pid
    pyrt.kill_daemon()
    time.sleep(0.3)
    assert pyrt.status_of("survivor").startswith("Up"), "the next command starts a daemon, and that one knows"
    assert pyrt.supervisor_pid == supervisor
    lines = pyrt.ok("logs", identifier).lines
    assert lines == [str(i) for i in range(len(lines))] and len(lines) > 10, "no line is missing"
    pyrt.ok("rm", "-f", "survivor")


def test_output_and_status_while_there_is_no_daemon(pyrt: Pyrt, probe: Path) -> None:
    """More than anything holds but the disk: nothing blocks a container whose daemon is gone."""
    size = 200 << 20
    large = ("--log-opt", "max-size=64m", "--log-opt", "max-file=5")
    script = f"read go; probe emit 1 {size} 23; exit 42"
    writer = pyrt.start("run", "-i", "--name", "writer", *large, "bb", "sh", "-c", script, stdin=subprocess.PIPE)
    pyrt.wait_status("writer", "Up")
    pyrt.kill_daemon()
    assert writer.stdin
    writer.stdin.write(b"go\n")
    writer.stdin.flush()
    writer.kill()  # its word arrives, or its input ends: either is a go, and the log alone reads the output
    wait_until(lambda: not container_processes(pyrt), seconds=60, what="the container's end")
    assert pyrt.ok("wait", "writer").text == "42"
    reader = pyrt.start("logs", "writer")
    with subprocess.Popen([probe, "emit", "1", str(size), "23"], stdout=subprocess.PIPE) as oracle:
        assert reader.stdout and oracle.stdout
        assert digest_of(reader.stdout) == digest_of(oracle.stdout)
    assert reader.wait(timeout=20) == 0
    pyrt.ok("rm", "writer")


def digest_of(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while data := stream.read(1 << 18):
        digest.update(data)
    return digest.hexdigest()


def test_a_foreground_run_outlives_the_daemon(pyrt: Pyrt) -> None:
    command = pyrt.start(
        "run", "--rm", "-i", "bb", "sh", "-c", "echo ready; read line; echo got $line; exit 6", stdin=subprocess.PIPE
    )
    assert command.stdout and command.stdout.readline() == b"ready\n"
    pyrt.kill_daemon()
    out, _ = command.communicate(b"word\n", timeout=20)
    assert (out, command.returncode) == (b"got word\n", 6)


def test_a_client_of_docker_010_outlives_the_daemon(pyrt: Pyrt) -> None:
    with rcli_client.dial(str(pyrt.run_dir / "pyrt.sock")) as connection:
        connection.sendall(rcli_client.line(["run", "--name", "raw", "-i", "bb", "cat"]) + b"one\n")
        assert connection.recv(99) == b"one\n"
        pyrt.kill_daemon()
        connection.sendall(b"two\n")
        assert connection.recv(99) == b"two\n"
        connection.shutdown(socket.SHUT_WR)
        assert rcli_client.read_all(connection) == b""
    assert pyrt.ok("wait", "raw").text == "0"
    pyrt.ok("rm", "raw")


def test_a_daemon_killed_again_and_again(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("bb", "sh", "-c", "sleep 2; exit 9")
    for _ in range(4):
        pyrt.kill_daemon()
        pyrt.ok("ps")
    assert pyrt.ok("wait", identifier).text == "9"
    pyrt.ok("rm", identifier)


@pytest.mark.parametrize("milliseconds", [0, 1, 2, 5, 10, 20, 50])
def test_a_daemon_killed_while_it_starts_a_container(pyrt: Pyrt, milliseconds: int) -> None:
    """Either the id was printed and the container is there, or there is none."""
    command = pyrt.start("run", "-d", "--name", "born", "bb", "sleep", "60")
    time.sleep(milliseconds / 1e3)
    pyrt.kill_daemon()
    out, err = command.communicate(timeout=20)
    if command.returncode == 0:
        assert pyrt.status_of("born").startswith("Up"), out
    else:
        assert b"Traceback" not in err
    pyrt("rm", "-f", "born")


@pytest.mark.parametrize("milliseconds", [0, 1, 2, 5, 10, 20, 50])
def test_a_daemon_killed_during_an_import(pyrt: Pyrt, bb_tar: bytes, milliseconds: int) -> None:
    command = pyrt.start("import", "-", "half", stdin=subprocess.PIPE)
    assert command.stdin
    try:
        command.stdin.write(bb_tar[: len(bb_tar) // 2])
        command.stdin.flush()
        time.sleep(milliseconds / 1e3)
        pyrt.kill_daemon()
        command.communicate(bb_tar[len(bb_tar) // 2 :], timeout=20)
    except BrokenPipeError:
        command.wait(timeout=20)
    assert command.returncode != 0
    assert "half" not in pyrt.ok("images").text


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
@pytest.mark.parametrize("milliseconds", [0, 2, 5, 20, 100])
def test_a_client_killed_at_any_moment(pyrt: Pyrt, milliseconds: int, number: signal.Signals) -> None:
    command = pyrt.start("run", "--name", "orphan", "bb", "sh", "-c", "sleep 0.2; exit 3")
    time.sleep(milliseconds / 1e3)
    command.send_signal(number)
    command.wait(timeout=20)
    deadline = time.monotonic() + 0.3  # the daemon may not have read yet what a dead client asked for
    while not pyrt.status_of("orphan") and time.monotonic() < deadline:
        time.sleep(0.02)
    if pyrt.status_of("orphan"):
        assert pyrt.ok("wait", "orphan", timeout=20).text in ("3", "129", "137")
        pyrt.ok("rm", "-f", "orphan")


def test_a_stopped_client_does_not_stop_the_container(pyrt: Pyrt) -> None:
    pyrt.detached("--name", "writer", "bb", "sh", "-c", "sleep 0.3; probe emit 1 8000000 29; exit 11")
    follower = pyrt.start("logs", "-f", "writer")
    follower.send_signal(signal.SIGSTOP)
    assert pyrt.ok("wait", "writer").text == "11"
    pyrt.ok("rm", "writer")
    follower.kill()


def test_the_supervisors_death_is_told_and_no_status_invented(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("bb", "sleep", "60")
    os.kill(pyrt.supervisor_pid, signal.SIGKILL)
    wait_until(lambda: not pyrt.status_of(identifier[:16]).startswith("Up"), what="the container shown as ended")
    status = pyrt.status_of(identifier[:16])
    assert "Exit 0" not in status and status
    assert not container_processes(pyrt)
    pyrt.ok("rm", "-f", identifier)
    assert pyrt.run("bb", "echo", "again").out == b"again\n"


def test_sigterm_ends_the_daemon_and_leaves_the_containers(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("bb", "sleep", "60")
    daemon = pyrt.daemon_pid
    os.kill(daemon, signal.SIGTERM)
    wait_until(lambda: not alive(daemon), what="the daemon's end")
    assert pyrt.status_of(identifier[:16]).startswith("Up")
    pyrt.ok("rm", "-f", identifier)


def container_processes(pyrt: Pyrt) -> list[int]:
    """Pids in the cgroups of the instance's containers, parked slots left out."""
    return [
        pid
        for pid, process in processes().items()
        if process.state != "Z" and pyrt.cgroup in process.read("cgroup") and not is_parked(pid)
    ]
