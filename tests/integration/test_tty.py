# SPDX-License-Identifier: Apache-2.0
"""Interactive use: a terminal inside, raw mode outside, resizing, Ctrl-C, detaching."""

from __future__ import annotations

import pytest

from tests.harness import Pyrt
from tests.processes import wait_until

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
