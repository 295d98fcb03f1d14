# SPDX-License-Identifier: Apache-2.0
"""exec: one more program in a container that runs."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.harness import Pyrt
from tests.processes import Process, processes, wait_until

pytestmark = [pytest.mark.root, pytest.mark.both_engines]

CTRL_C, CTRL_D, CTRL_P, CTRL_Q = b"\x03", b"\x04", b"\x10", b"\x11"
MEGABYTE = 1 << 20


@pytest.fixture
def c(pyrt: Pyrt) -> Iterator[str]:
    """A container that does nothing for long."""
    pyrt.detached("--name", "c", "-w", "/tmp", "-e", "COLOUR=blue", "-u", "1:2", "bb", "sleep", "999")
    yield "c"
    pyrt.ok("rm", "-f", "c")


def inside(pyrt: Pyrt, name: str, path: str) -> str:
    """What a file of the container's has in it, "" while there is none."""
    return pyrt("exec", "-u", "0", name, "cat", path).text


def test_output_status_and_the_first_process(pyrt: Pyrt, c: str) -> None:
    result = pyrt("exec", c, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (result.status, result.out, result.err) == (7, b"out\n", b"err\n")
    assert "sleep 999" in inside(pyrt, c, "/proc/1/cmdline").replace("\0", " ")
    assert pyrt("exec", c, "sh", "-c", "kill -9 $$").status == 137


def test_what_it_has_from_the_container(pyrt: Pyrt, c: str) -> None:
    assert pyrt.ok("exec", c, "sh", "-c", "pwd; echo $COLOUR $HOME; id -u; id -g").lines == ["/tmp", "blue /", "1", "2"]
    mine = pyrt.ok("exec", c, "grep", "-E", "^(Cap|Seccomp:|NoNewPrivs)", "/proc/self/status").out
    assert mine == pyrt.ok("exec", c, "grep", "-E", "^(Cap|Seccomp:|NoNewPrivs)", "/proc/1/status").out
    assert b"Seccomp:\t2" in mine


def test_what_it_is_given(pyrt: Pyrt, c: str) -> None:
    flags = ("-w", "/bin", "-e", "COLOUR=red", "-e", "SIZE", "-u", "0:5")
    command = ("sh", "-c", "pwd; echo $COLOUR $SIZE; id -u; id -g; id -G")
    result = pyrt("exec", *flags, c, *command, env={"SIZE": "large"})
    assert result.lines == ["/bin", "red large", "0", "5", "5"]


def test_capabilities_are_the_containers(pyrt: Pyrt) -> None:
    flags = ("--cap-drop", "ALL", "--cap-add", "CHOWN", "--security-opt", "no-new-privileges")
    pyrt.detached("--name", "few", *flags, "bb", "sleep", "999")
    status = pyrt.ok("exec", "few", "cat", "/proc/self/status").out
    assert b"CapEff:\t0000000000000001\n" in status and b"CapBnd:\t0000000000000001\n" in status
    assert b"NoNewPrivs:\t1\n" in status and b"Seccomp:\t2\n" in status
    status = pyrt.ok("exec", "--privileged", "few", "cat", "/proc/self/status").out
    assert b"CapEff:\t0000000000000001\n" not in status and b"Seccomp:\t0\n" in status
    pyrt.ok("rm", "-f", "few")


def test_it_is_in_the_containers_groups(pyrt: Pyrt, c: str) -> None:
    pyrt.ok("exec", "-d", c, "sleep", "998")
    wait_until(lambda: len(sleepers()) == 2, what="both of them running")
    first, second = (process.read("cgroup") for process in sleepers())
    assert first == second and pyrt.cgroup in first


def sleepers() -> list[Process]:
    return [process for process in processes().values() if process.command in ("sleep 999", "sleep 998")]


def test_stdin(pyrt: Pyrt, c: str, probe: Path) -> None:
    assert pyrt("exec", "-i", c, "cat", input=b"hello").out == b"hello"
    assert pyrt("exec", c, "cat", input=b"not for you").out == b""
    data = subprocess.run([probe, "emit", "1", str(8 * MEGABYTE), "5"], check=True, capture_output=True).stdout
    digest = pyrt.ok("exec", "-i", c, "sha256sum", input=data).text.split()[0]
    assert digest == hashlib.sha256(data).hexdigest()


def test_much_output_for_a_reader_that_is_slow(pyrt: Pyrt, c: str, probe: Path) -> None:
    """Its log keeps 8 MiB; the program waits for its reader, who gets all 24."""
    command = pyrt.start("exec", c, "probe", "emit", "1", str(24 * MEGABYTE), "9")
    wait_until(lambda: sum(file.stat().st_size for file in logs(pyrt)) > 7 * MEGABYTE, what="a log that is full")
    assert sum(file.stat().st_size for file in logs(pyrt)) < 10 * MEGABYTE
    out, err = command.communicate(timeout=60)
    expected = subprocess.run([probe, "emit", "1", str(24 * MEGABYTE), "9"], check=True, capture_output=True).stdout
    assert (command.returncode, err) == (0, b"")
    assert hashlib.sha256(out).digest() == hashlib.sha256(expected).digest()
    wait_until(lambda: not any((pyrt.run_dir / "exec").iterdir()), what="its log being gone")


def logs(pyrt: Pyrt) -> list[Path]:
    return list((pyrt.run_dir / "exec").glob("*/*.log"))


def test_what_cannot_be_executed(pyrt: Pyrt, c: str) -> None:
    result = pyrt("exec", c, "nosuch")
    assert (result.status, result.error) == (127, "Unable to locate nosuch")
    assert pyrt("exec", c, "/etc/passwd").status == 126
    assert "working directory: /nosuch" in pyrt("exec", "-w", "/nosuch", c, "true").error
    assert "no such user" in pyrt("exec", "-u", "nosuch", c, "true").error
    assert pyrt("exec", "nosuch", "true").error == "No such container: nosuch"
    assert pyrt("exec", c).status == 125
    assert pyrt("exec", "-w", "relative", c, "true").status == 125


def test_a_container_that_does_not_run(pyrt: Pyrt) -> None:
    pyrt("run", "--name", "over", "bb", "true")
    result = pyrt("exec", "over", "true")
    assert (result.status, result.error) == (125, "container over is not running")
    pyrt.ok("rm", "over")


def test_a_container_that_is_paused(pyrt: Pyrt, c: str) -> None:
    pyrt.ok("pause", c)
    assert pyrt("exec", c, "true").error == "container c is paused: unpause it first"
    pyrt.ok("unpause", c)
    assert pyrt("exec", c, "true").status == 0


def test_it_ends_with_the_container(pyrt: Pyrt, c: str) -> None:
    attached = pyrt.start("exec", c, "sh", "-c", "echo ready; sleep 999")
    with pyrt.pty("exec", "-it", c, "sh") as terminal:
        assert attached.stdout and attached.stdout.readline() == b"ready\n"
        terminal.send(b"echo rea''dy\r")
        terminal.expect(b"ready")
        pyrt.ok("kill", c)
        assert attached.wait(timeout=10) == terminal.wait() == 137


def test_one_that_is_about_to_end(pyrt: Pyrt) -> None:
    """Whatever the moment: its status, that of what the end of the container does to it, or that it does not run."""
    for _ in range(4):
        pyrt.detached("--name", "brief", "bb", "sleep", "0.05")
        with ThreadPoolExecutor(6) as pool:
            results = list(pool.map(lambda _: pyrt("exec", "brief", "sh", "-c", "echo ok; exit 3"), range(18)))
        for result in results:
            if result.status == 125:
                assert result.error == "container brief is not running"
            else:
                assert result.status in (3, 137) and result.out in (b"ok\n", b"") and result.err == b""
        pyrt.ok("wait", "brief")
        pyrt.ok("rm", "brief")


def test_many_at_once(pyrt: Pyrt, c: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda number: pyrt("exec", c, "sh", "-c", f"echo {number}; exit {number}"), range(64)))
    assert [(result.status, result.text) for result in results] == [(number, str(number)) for number in range(64)]


def test_detached(pyrt: Pyrt, c: str) -> None:
    result = pyrt.ok("exec", "-d", c, "sh", "-c", "probe fds >/dev/shm/fds; echo done >/dev/shm/state")
    assert result.out == result.err == b""
    wait_until(lambda: inside(pyrt, c, "/dev/shm/state") == "done", what="it being done")
    assert inside(pyrt, c, "/dev/shm/fds").splitlines()[::2] == ["0 /dev/null", "2 /dev/null"]
    assert pyrt("exec", "-d", c, "nosuch").status == 127
    pyrt.ok("exec", "-d", "-t", c, "sh", "-c", "tty >/dev/shm/tty")
    wait_until(lambda: inside(pyrt, c, "/dev/shm/tty") == "/dev/pts/0", what="it having a terminal")


def test_signals_of_the_client(pyrt: Pyrt, c: str) -> None:
    command = pyrt.start("exec", c, "probe", "signals")
    assert command.stdout and command.stdout.readline() == b"ready\n"
    command.send_signal(signal.SIGINT)
    assert command.stdout.readline() == b"signal 2\n"
    command.terminate()
    assert command.wait(timeout=10) == 15


def test_a_reader_that_goes_away_ends_it(pyrt: Pyrt, c: str) -> None:
    command = pyrt.start("exec", c, "yes")
    assert command.stdout and command.stdout.read(2) == b"y\n"
    command.stdout.close()
    assert command.wait(timeout=10) == -signal.SIGPIPE
    wait_until(lambda: "yes" not in pyrt.ok("exec", "-u", "0", c, "ps").text, what="its end by SIGPIPE")


def test_a_client_that_is_killed(pyrt: Pyrt, c: str) -> None:
    """The program goes on, its input at an end; the container is none the worse."""
    command = pyrt.start(
        "exec", "-i", c, "sh", "-c", "echo ready; cat; echo over >/dev/shm/state", stdin=subprocess.PIPE
    )
    assert command.stdout and command.stdout.readline() == b"ready\n"
    command.kill()
    command.wait()
    wait_until(lambda: inside(pyrt, c, "/dev/shm/state") == "over", what="it having gone on")


def test_a_daemon_that_is_killed(pyrt: Pyrt, c: str) -> None:
    command = pyrt.start("exec", "-i", c, "sh", "-c", "echo ready; cat; exit 5", stdin=subprocess.PIPE)
    assert command.stdout and command.stdout.readline() == b"ready\n"
    pyrt.kill_daemon()
    out, err = command.communicate(b"still there", timeout=20)
    assert (command.returncode, out, err) == (5, b"still there", b"")
    pyrt.ensure()
    assert pyrt.ok("exec", c, "echo", "again").text == "again"


def test_what_it_leaves_running(pyrt: Pyrt, c: str) -> None:
    """Its status does not wait for a child in the background that has let go of its output."""
    assert pyrt("exec", c, "sh", "-c", "sleep 997 >/dev/null 2>&1 & exit 4").status == 4
    assert "sleep 997" in pyrt.ok("exec", "-u", "0", c, "ps").text


# --- with a terminal ---


def test_a_terminal(pyrt: Pyrt, c: str) -> None:
    with pyrt.pty("exec", "-it", c, "sh", rows=33, columns=121) as terminal:
        terminal.send(b"tty; stty size; echo >/dev/tty term''inal\r")
        terminal.expect(b"/dev/pts/0\r\n33 121\r\n")
        terminal.expect(b"terminal")
        terminal.send(b"echo $TERM; id -u\r")
        terminal.expect(b"xterm\r\n1\r\n")
        terminal.send(b"probe winch\r")
        terminal.expect(b"size 33 121")
        terminal.resize(50, 132)
        terminal.expect(b"size 50 132")
        terminal.send(b"\r")
        terminal.send(b"sleep 99\r")
        terminal.send(CTRL_C)
        terminal.send(b"exit 6\r")
        assert terminal.wait() == 6
        assert terminal.modes()[3] & 0o12 == 0o12, "canonical mode and echo are back"


def test_detach_keys_leave_it_running(pyrt: Pyrt, c: str) -> None:
    with pyrt.pty("exec", "-it", c, "sh", "-c", "echo ready; sleep 996") as terminal:
        terminal.expect(b"ready")
        terminal.send(CTRL_P + CTRL_Q)
        assert terminal.wait() == 0
    assert "sleep 996" in pyrt.ok("exec", "-u", "0", c, "ps").text


def test_closing_the_window_hangs_up(pyrt: Pyrt, c: str) -> None:
    """Nobody could come back to it: unlike a container's, its terminal goes with its client."""
    script = "trap 'echo hung up >/dev/shm/state; exit' HUP; echo ready; while :; do sleep 0.05; done"
    with pyrt.pty("exec", "-it", c, "sh", "-c", script) as terminal:
        terminal.expect(b"ready")
        terminal.process.kill()
        terminal.process.wait(timeout=10)
        wait_until(lambda: inside(pyrt, c, "/dev/shm/state") == "hung up", what="a SIGHUP")


def test_t_without_a_terminal_outside(pyrt: Pyrt, c: str) -> None:
    result = pyrt("exec", "-t", c, "tty")
    assert (result.status, result.out) == (0, b"/dev/pts/0\r\n")


def test_arguments_and_environment_of_any_size(pyrt: Pyrt, c: str) -> None:
    words = ["x" * 100_000] * 8
    assert pyrt.ok("exec", c, "sh", "-c", "echo $# ${#1}", "sh", *words).text == "8 100000"
    wait_until(lambda: os.listdir(pyrt.run_dir / "exec") == [], what="nothing left of its output")
