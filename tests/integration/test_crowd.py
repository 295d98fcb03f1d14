# SPDX-License-Identifier: Apache-2.0
"""Many commands at once: none is refused because others are being served."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.harness import Pyrt

pytestmark = [pytest.mark.root, pytest.mark.both_engines]


def test_forty_runs_at_once(pyrt: Pyrt) -> None:
    commands = [pyrt.start("run", "--rm", "bb", "echo", f"{number}" * 3000) for number in range(40)]
    for number, command in enumerate(commands):
        out, err = command.communicate(timeout=60)
        assert (out.decode(), err, command.returncode) == (f"{number}" * 3000 + "\n", b"", 0)


def test_a_supervisor_that_is_held_up(pyrt: Pyrt) -> None:
    """Requests wait for it, also more of them than a socket holds."""
    supervisor = pyrt.supervisor_pid
    os.kill(supervisor, signal.SIGSTOP)
    try:
        words = "x" * 20_000
        commands = [pyrt.start("run", "--rm", "-e", f"A={words}", "bb", "true") for _ in range(20)]
        time.sleep(1.5)
    finally:
        os.kill(supervisor, signal.SIGCONT)
    for command in commands:
        _, err = command.communicate(timeout=60)
        assert (err, command.returncode) == (b"", 0)


def test_a_daemon_that_is_held_up(pyrt: Pyrt) -> None:
    """The supervisor does not take it for gone, and what ended meanwhile is told to it afterwards."""
    ids = [pyrt.detached("bb", "sh", "-c", f"sleep 1; exit {number}") for number in range(30)]
    daemon, supervisor = pyrt.daemon_pid, pyrt.supervisor_pid
    os.kill(daemon, signal.SIGSTOP)
    time.sleep(2)
    os.kill(daemon, signal.SIGCONT)
    for number, identifier in enumerate(ids):
        assert pyrt.ok("wait", identifier).text == str(number)
    assert (pyrt.daemon_pid, pyrt.supervisor_pid) == (daemon, supervisor)
    pyrt.ok("rm", *ids)
