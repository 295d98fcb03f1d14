# SPDX-License-Identifier: Apache-2.0
"""pause, unpause: a container that stands still, and what ends it all the same."""

from __future__ import annotations

import os
import signal

import pytest

from tests.harness import Pyrt
from tests.processes import wait_until

pytestmark = [pytest.mark.root, pytest.mark.both_engines]

COUNT = "trap 'exit 7' TERM; trap : USR1; i=0; while :; do echo $((i=i+1)); sleep 0.02; done"


@pytest.fixture
def counter(pyrt: Pyrt) -> str:
    """A container that counts, paused."""
    pyrt.detached("--name", "counter", "bb", "sh", "-c", COUNT)
    wait_until(lambda: lines(pyrt) > 2, what="it counting")
    assert len(pyrt.ok("pause", "counter").text) == 64
    return "counter"


def lines(pyrt: Pyrt) -> int:
    return len(pyrt.ok("logs", "counter").lines)


def test_it_stands_still_and_goes_on(pyrt: Pyrt, counter: str) -> None:
    assert pyrt.status_of(counter).endswith("(Paused)")
    before = lines(pyrt)
    assert pyrt("pause", counter).error == "container counter is paused already"
    assert lines(pyrt) == before
    assert len(pyrt.ok("unpause", counter).text) == 64
    wait_until(lambda: lines(pyrt) > before, what="it counting on")
    assert "Paused" not in pyrt.status_of(counter)
    assert pyrt("unpause", counter).error == "container counter is not paused"
    pyrt.ok("rm", "-f", counter)


@pytest.mark.parametrize(
    ("words", "status"),
    [(("stop",), "7"), (("kill",), "137"), (("kill", "-s", "TERM"), "7"), (("stop", "-t", "0"), "")],
)
def test_what_is_told_to_end_does(pyrt: Pyrt, counter: str, words: tuple[str, ...], status: str) -> None:
    pyrt.ok(*words, counter)
    assert pyrt.ok("wait", counter).text in (status or "7", "137")
    assert "Paused" not in pyrt.status_of(counter)
    pyrt.ok("rm", counter)


def test_rm_restart_and_a_signal_that_waits(pyrt: Pyrt, counter: str) -> None:
    pyrt.ok("kill", "-s", "USR1", counter)
    assert pyrt.status_of(counter).endswith("(Paused)")
    pyrt.ok("restart", "-t", "5", counter)
    assert "Paused" not in pyrt.status_of(counter)
    pyrt.ok("pause", counter)
    assert "is running: stop it first" in pyrt("rm", counter).error
    pyrt.ok("rm", "-f", counter)


def test_a_limit_of_time_counts(pyrt: Pyrt) -> None:
    pyrt.detached("--name", "brief", "--timeout", "1", "bb", "sleep", "60")
    pyrt.ok("pause", "brief")
    assert pyrt.ok("wait", "brief").text == "137"
    pyrt.ok("rm", "brief")


def test_the_next_daemon_knows(pyrt: Pyrt, counter: str) -> None:
    pyrt.kill_daemon()
    assert pyrt.status_of(counter).endswith("(Paused)")
    pyrt.ok("unpause", counter)
    pyrt.kill_daemon()
    assert "Paused" not in pyrt.status_of(counter)
    pyrt.ok("rm", "-f", counter)


def test_the_supervisor_killed_under_a_paused_container(pyrt: Pyrt, counter: str) -> None:
    os.kill(pyrt.supervisor_pid, signal.SIGKILL)
    wait_until(lambda: pyrt.status_of(counter) == "Lost", what="it lost")
    pyrt.ok("rm", counter)


def test_what_does_not_run(pyrt: Pyrt) -> None:
    pyrt.ok("create", "--name", "made", "bb", "true")
    for verb in ("pause", "unpause"):
        assert pyrt(verb, "made").error == "container made is not running"
        assert pyrt(verb, "nosuch").error == "No such container: nosuch"
    pyrt.ok("rm", "made")
