# SPDX-License-Identifier: Apache-2.0
"""Interactive use: a terminal inside, raw mode outside, resizing, Ctrl-C, detaching."""

from __future__ import annotations

import os
import signal
import termios

import pytest

from tests.harness import Pyrt
from tests.processes import wait_until
from tests.terminal import Terminal

pytestmark = [pytest.mark.root, pytest.mark.both_engines]

CTRL_C, CTRL_P, CTRL_Q, CTRL_D = b"\x03", b"\x10", b"\x11", b"\x04"


def test_the_container_has_a_terminal_of_its_own(pyrt: Pyrt) -> None:
    with pyrt.pty("run", "--rm", "-i", "-t", "bb", "probe", "tty", rows=33, columns=121) as terminal:
        assert terminal.wait() == 0
        shown = terminal.output.decode()
    assert shown.splitlines()[:6] == [
        "isatty 0 1",
        "isatty 1 1",
        "isatty 2 1",
        "size 33 121",
        "/dev/tty ok",
        "session 1 foreground 1",
    ]


def test_t_without_a_terminal_outside(pyrt: Pyrt) -> None:
    result = pyrt.run("-t", "bb", "probe", "tty")
    assert result.status == 0 and "isatty 1 1" in result.lines


def test_typing_and_the_end_of_input(pyrt: Pyrt) -> None:
    with pyrt.pty("run", "--rm", "-it", "bb", "cat") as terminal:
        terminal.send(b"hello\r")
        terminal.expect(b"hello\r\nhello\r\n")  # the container's echo, then cat's
        terminal.send(CTRL_D)
        assert terminal.wait() == 0


def test_ctrl_c_goes_to_the_container(pyrt: Pyrt) -> None:
    with pyrt.pty(
        "run",
        "--rm",
        "-it",
        "bb",
        "sh",
        "-c",
        "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done",
    ) as terminal:
        terminal.expect(b"ready")
        terminal.send(CTRL_C)
        terminal.expect(b"caught")
        assert terminal.wait() == 9


def test_ctrl_c_without_a_terminal_inside_is_sent_on_as_a_signal(pyrt: Pyrt) -> None:
    with pyrt.pty("run", "--rm", "bb", "probe", "signals") as terminal:
        terminal.expect(b"ready")
        terminal.send(CTRL_C)
        terminal.expect(b"signal 2")
        terminal.process.terminate()
        terminal.expect(b"signal 15")
        assert terminal.wait() == 15


def test_resize(pyrt: Pyrt) -> None:
    with pyrt.pty("run", "--rm", "-it", "bb", "probe", "winch", rows=24, columns=80) as terminal:
        terminal.expect(b"size 24 80")
        terminal.resize(50, 132)
        terminal.expect(b"size 50 132")
        terminal.send(b"\r")
        assert terminal.wait() == 0


def test_the_terminal_is_raw_meanwhile_and_restored_after(pyrt: Pyrt) -> None:
    with pyrt.pty("run", "--rm", "-it", "bb", "sh", "-c", "echo ready; read line; exit 3") as terminal:
        terminal.expect(b"ready")
        assert terminal.modes()[3] & 0o12 == 0, "neither canonical mode nor echo"
        terminal.send(b"\r")
        assert terminal.wait() == 3
        assert terminal.modes()[3] & 0o12 == 0o12, "canonical mode and echo are back"


def test_detach_leaves_the_container_running(pyrt: Pyrt) -> None:
    with pyrt.pty(
        "run", "-it", "--name", "left", "bb", "sh", "-c", "echo ready; read line; echo got $line"
    ) as terminal:
        terminal.expect(b"ready")
        terminal.send(CTRL_P + CTRL_Q)
        assert terminal.wait() == 0
    assert pyrt.status_of("left").startswith("Up")
    pyrt.ok("rm", "-f", "left")


def test_ctrl_p_alone_is_typed(pyrt: Pyrt) -> None:
    with pyrt.pty(
        "run", "--rm", "-it", "bb", "sh", "-c", "stty raw -echo; echo ready; dd bs=1 count=2 2>/dev/null | hexdump -C"
    ) as terminal:
        terminal.expect(b"ready")
        terminal.send(CTRL_P + b"x")
        terminal.expect(b"10 78")
        assert terminal.wait() == 0


def test_a_terminal_that_is_hung_up(pyrt: Pyrt) -> None:
    """The window is closed: the client goes, the container is no orphan without a record."""
    with pyrt.pty("run", "-it", "--name", "hung", "bb", "cat") as terminal:
        wait_until(lambda: pyrt.status_of("hung").startswith("Up"), what="the container running")
        terminal.process.kill()
        terminal.process.wait(timeout=10)
    assert pyrt.status_of("hung")
    pyrt.ok("rm", "-f", "hung")


def test_output_of_a_terminal_goes_to_the_log(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("-t", "bb", "echo", "logged")
    pyrt.ok("wait", identifier)
    assert pyrt.ok("logs", identifier).out == b"logged\r\n"
    pyrt.ok("rm", identifier)


def raw(terminal: Terminal) -> bool:
    return terminal.modes()[3] & 0o12 == 0


def test_chosen_detach_keys(pyrt: Pyrt) -> None:
    """Of `run`, `attach`, `exec` and `start`; the usual ones are keys like any other then."""
    cat = ("bb", "sh", "-c", "stty raw -echo; echo ready; exec cat")
    with pyrt.pty("run", "-it", "--detach-keys", "ctrl-a,x", "--name", "left", *cat) as terminal:
        terminal.expect(b"ready")
        terminal.send(CTRL_P + CTRL_Q + b"\x01y")
        terminal.expect(CTRL_P + CTRL_Q + b"\x01y")
        terminal.send(b"\x01x")
        assert terminal.wait() == 0
    with pyrt.pty("attach", "--detach-keys=ctrl-@", "left") as terminal:
        wait_until(lambda: raw(terminal), what="raw mode")
        terminal.send(b"a")
        terminal.expect(b"a")
        terminal.send(b"\0")
        assert terminal.wait() == 0 and not raw(terminal)
    with pyrt.pty("exec", "-it", "--detach-keys", "~,.", "left", *cat[1:]) as terminal:
        terminal.expect(b"ready")
        terminal.send(b"~~")
        terminal.expect(b"~")
        terminal.send(b".")
        assert terminal.wait() == 0
    pyrt.ok("stop", "left")
    with pyrt.pty("start", "-ai", "--detach-keys", "DEL", "left") as terminal:
        terminal.expect(b"ready")
        terminal.send(b"\x7f")
        assert terminal.wait() == 0
    assert pyrt.status_of("left").startswith("Up")
    pyrt.ok("rm", "-f", "left")
    assert (
        "for --detach-keys: expected keys such as ctrl-p,ctrl-q" in pyrt("attach", "--detach-keys=alt-x", "left").error
    )


def test_a_new_size_passes_keys_that_nobody_reads(pyrt: Pyrt) -> None:
    script = "stty raw -echo; trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"
    with pyrt.pty("run", "--rm", "-it", "--name", "deaf", "bb", "sh", "-c", script) as terminal:
        terminal.expect(b"ready")
        for _ in range(64):
            terminal.send(b"k" * 1024)
        terminal.resize(50, 132)
        terminal.expect(b"50 132")
        pyrt.ok("kill", "deaf")
        assert terminal.wait() == 137


@pytest.mark.parametrize("victim", ["client", "supervisor"])
def test_the_terminal_is_what_it_was_whatever_is_killed(pyrt: Pyrt, victim: str) -> None:
    with pyrt.pty("run", "-it", "--name", "victim", "bb", "sh", "-c", "echo ready; cat") as terminal:
        before = terminal.settings
        terminal.expect(b"ready")
        assert raw(terminal) and termios.tcgetattr(terminal.fd) != before
        os.kill(terminal.process.pid if victim == "client" else pyrt.supervisor_pid, signal.SIGKILL)
        assert terminal.wait() == (-signal.SIGKILL if victim == "client" else 125)
        wait_until(lambda: termios.tcgetattr(terminal.fd) == before, what="the terminal as it was")
    wait_until(lambda: pyrt("rm", "-f", "victim").status == 0, what="the container removed")


def test_the_daemons_death_changes_no_terminal(pyrt: Pyrt) -> None:
    with pyrt.pty("run", "--rm", "-it", "bb", "sh", "-c", "echo ready; read line; exit 3") as terminal:
        before = terminal.settings
        terminal.expect(b"ready")
        pyrt.kill_daemon()
        assert raw(terminal)
        terminal.send(b"\r")
        assert terminal.wait() == 3
        assert termios.tcgetattr(terminal.fd) == before
