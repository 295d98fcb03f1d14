# SPDX-License-Identifier: Apache-2.0
"""Two clients at one container: every command ends, with success or a true error, and nothing is left in between."""

from __future__ import annotations

import random
import re
import subprocess
import threading
import time

import pytest

from tests.harness import Pyrt, Result
from tests.processes import processes, wait_until

pytestmark = pytest.mark.root

NAME = "shared"
MARK = "while :; do sleep 0.05; done; : two-clients"
MAKE = ("create", "--name", NAME, "-p", "127.0.0.1:18096:80", "bb", "sh", "-c", f"trap 'exit 4' TERM; echo up; {MARK}")
QUICK = (
    *(("start", NAME), ("start", NAME), ("restart", "-t", "1", NAME), ("stop", "-t", "1", NAME), ("kill", NAME)),
    *(("pause", NAME), ("unpause", NAME), ("rm", NAME), ("rm", "-f", NAME), MAKE),
)
# These last as long as the container runs.
LONG = (("logs", "-f", NAME), ("attach", "--no-stdin", NAME), ("wait", NAME), ("start", "-a", NAME))
TRUE_ERRORS = re.compile(
    "|".join(
        (
            f"No such container: {NAME}",
            "No such container: [0-9a-f]{16}",
            f"container {NAME} is (not running|running: stop it first, or use rm -f|not paused|paused already)",
            f"container {NAME}: it has not been started",
            f"the name {NAME} is taken by container [0-9a-f]{{16}}: remove it or use another name",
            "the container is (paused already|not paused|being ended)",
        )
    )
)
DEADLINE_S = 20.0


def judge(result: Result) -> None:
    """Success, or one line that is true."""
    if result.status != 0:
        assert result.status == 125 and TRUE_ERRORS.fullmatch(result.error), str(result)


class Client(threading.Thread):
    """Does random things, one after the other; those that last in the background."""

    def __init__(self, pyrt: Pyrt, seed: int, commands: int) -> None:
        super().__init__()
        self.pyrt = pyrt
        self.draw = random.Random(seed)
        self.commands = commands
        self.done: list[str] = []
        self.lasting: list[tuple[tuple[str, ...], subprocess.Popen[bytes]]] = []
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            missing = True
            for _ in range(self.commands):
                words = MAKE if missing else self.draw.choice(QUICK if self.draw.random() < 0.75 else LONG)
                self.done.append(" ".join(words[:2]))
                if words in LONG:
                    self.lasting.append((words, self.pyrt.start(*words)))
                    continue
                result = self.pyrt(*words, timeout=DEADLINE_S)
                judge(result)
                missing = b"No such container" in result.err
        except BaseException as fault:
            self.fault = fault

    def end(self) -> None:
        """The container is gone: whatever waited for its end has ended."""
        for words, process in self.lasting:
            out, err = process.communicate(timeout=DEADLINE_S)
            status = process.returncode
            if status not in (0, 4, 137, 143):
                judge(Result(words, status, out, err.removeprefix(b"unknown\n")))


def running(pyrt: Pyrt) -> list[int]:
    """The first processes of this test's containers."""
    return [one.pid for one in processes().values() if MARK in one.command and one.parent == pyrt.supervisor_pid]


@pytest.mark.parametrize("seed", range(6))
def test_whatever_two_clients_do(pyrt: Pyrt, seed: int) -> None:
    clients = [Client(pyrt, 1000 * seed + number, commands=40) for number in range(2)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    story = "; ".join(f"client {number}: {client.done}" for number, client in enumerate(clients))
    for client in clients:
        if client.fault is not None:
            raise AssertionError(story) from client.fault
    # What lasts may be starting it, or ending it, at this moment.
    wait_until(
        lambda: len(running(pyrt)) == pyrt.status_of(NAME).startswith("Up"), what=f"books that agree after {story}"
    )
    judge(pyrt("rm", "-f", NAME))
    for client in clients:
        client.end()
    assert pyrt.ok("ps", "-a", "-q").lines == [] and not running(pyrt), story
    pyrt.ok("run", "--rm", "-p", "127.0.0.1:18096:80", "bb", "true")


def at_once(pyrt: Pyrt, *commands: tuple[str, ...]) -> list[Result]:
    started = [(words, pyrt.start(*words)) for words in commands]
    results = []
    for words, process in started:
        out, err = process.communicate(timeout=DEADLINE_S)
        results.append(Result(words, process.returncode, out, err))
    return results


def test_many_starts_at_once_are_one(pyrt: Pyrt) -> None:
    identifier = pyrt.ok(*MAKE).text
    for result in at_once(pyrt, *[("start", NAME)] * 6):
        assert (result.status, result.text) == (0, identifier), str(result)
    assert len(running(pyrt)) == 1 and len(pyrt.ok("logs", NAME).lines) <= 1
    pyrt.ok("rm", "-f", NAME)


def test_a_start_that_fails_fails_for_all(pyrt: Pyrt) -> None:
    pyrt.ok("create", "--name", NAME, "bb", "/nosuch")
    for result in at_once(pyrt, *[("start", NAME)] * 4):
        assert (result.status, result.error) == (127, "Unable to locate /nosuch")
    assert pyrt.status_of(NAME) == "Created"
    pyrt.ok("rm", NAME)


def test_restart_while_it_is_being_stopped(pyrt: Pyrt) -> None:
    pyrt.detached("--name", NAME, "bb", "sh", "-c", f"trap '' TERM; {MARK}")
    for _ in range(2):
        results = at_once(pyrt, ("stop", "-t", "1", NAME), ("restart", "-t", "1", NAME), ("restart", "-t", "1", NAME))
        assert [result.status for result in results] == [0, 0, 0], "\n".join(map(str, results))
        assert len(running(pyrt)) == 1
    pyrt.ok("rm", "-f", NAME)


def test_start_of_one_that_is_being_removed(pyrt: Pyrt) -> None:
    for _ in range(4):
        pyrt.ok(*MAKE)
        removed, started, again = at_once(pyrt, ("rm", "-f", NAME), ("start", NAME), ("rm", "-f", NAME))
        for result in (removed, started, again):
            judge(result)
        assert pyrt.status_of(NAME) == "" and not running(pyrt)


def test_one_name_for_one_container(pyrt: Pyrt) -> None:
    results = at_once(pyrt, *[MAKE] * 5)
    assert sorted(result.status for result in results) == [0, 125, 125, 125, 125]
    for result in results:
        judge(result)
    others = [pyrt.ok("create", "bb", "true").text for _ in range(3)]
    renames = at_once(pyrt, *(("rename", other, "wanted") for other in others))
    assert sorted(result.status for result in renames) == [0, 125, 125]
    pyrt.ok("rm", NAME, *others)


def test_no_end_is_missed(pyrt: Pyrt) -> None:
    """Many who wait, for a container that ends at once, and at once again."""
    pyrt.ok("create", "--name", NAME, "bb", "sh", "-c", "exit 9")
    for _ in range(5):
        pyrt.ok("start", NAME)
        for result in at_once(pyrt, *[("wait", NAME)] * 4):
            assert (result.text, result.status) == ("9", 0)
    pyrt.ok("rm", NAME)


def test_a_client_that_stops_waiting_harms_nobody(pyrt: Pyrt) -> None:
    """Docker 0.1.0's WaitTimeout left a waiter behind each time."""
    pyrt.detached("--name", NAME, "bb", "sh", "-c", f"trap 'exit 4' TERM; {MARK}")
    for _ in range(10):
        waiter = pyrt.start("wait", NAME)
        time.sleep(0.02)
        waiter.kill()
        waiter.wait()
    waiter = pyrt.start("wait", NAME)
    wait_until(lambda: pyrt.status_of(NAME).startswith("Up"), what="it running")
    pyrt.ok("stop", NAME)
    assert waiter.communicate(timeout=DEADLINE_S)[0] in (b"4\n", b"143\n")
    pyrt.ok("rm", NAME)
