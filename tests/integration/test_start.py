# SPDX-License-Identifier: Apache-2.0
"""create, start, restart, rename: a container that is started when its user wants, and started again."""

from __future__ import annotations

import subprocess

import pytest

from tests.harness import Pyrt
from tests.processes import wait_until

pytestmark = [pytest.mark.root, pytest.mark.both_engines]

COUNT = "echo run >> /runs; wc -l < /runs; exit 3"  # what an earlier run wrote is there for the next


def test_created_then_started(pyrt: Pyrt) -> None:
    identifier = pyrt.ok("create", "--name", "made", "bb", "sh", "-c", COUNT).text
    assert len(identifier) == 64 and pyrt.status_of("made") == "Created"
    assert pyrt.ok("ps").lines[1:] == [], "it does not run"
    waiting = pyrt("wait", "made")
    assert (waiting.status, waiting.error) == (125, "container made: it has not been started")
    assert pyrt("kill", "made").error == "container made is not running"
    pyrt.ok("stop", "made")
    assert pyrt.ok("logs", "made").out == b""
    assert pyrt.ok("start", "made").text == identifier
    assert pyrt.ok("wait", "made").text == "3"
    assert pyrt.ok("logs", "made").out == b"1\n"
    pyrt.ok("rm", "made")


def test_created_and_never_started(pyrt: Pyrt) -> None:
    first, second = pyrt.ok("create", "bb", "true").text, pyrt.ok("create", "--rm", "bb", "true").text
    pyrt.kill_daemon()
    assert {pyrt.status_of(first[:16]), pyrt.status_of(second[:16])} == {"Created"}
    pyrt.ok("rm", first)
    pyrt.ok("rm", "-f", second)
    assert pyrt.ok("ps", "-a", "-q").lines == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("nosuch", "true"), "No such image: nosuch"),
        (("-p", "x:80", "bb", "true"), "x:80"),
        (("--name", "..", "bb", "true"), "letters, digits"),
        (("-m", "1", "bb", "true"), "at least 4m"),
        (("bb",), "Command not specified"),
    ],
)
def test_what_cannot_be_made_leaves_nothing(pyrt: Pyrt, words: tuple[str, ...], text: str) -> None:
    result = pyrt("create", *words)
    assert result.status == 125 and text in result.error
    assert pyrt.ok("ps", "-a", "-q").lines == []


def test_again_and_again_with_the_same_files_and_one_log(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("--name", "again", "bb", "sh", "-c", COUNT)
    for number in range(1, 5):
        assert pyrt.ok("wait", "again").text == "3"
        assert pyrt.ok("logs", identifier).lines == [str(n + 1) for n in range(number)]
        assert pyrt.ok("start", identifier[:7]).text == identifier
    assert pyrt.ok("wait", "again").text == "3"
    pyrt.ok("rm", "again")


def test_a_start_attached_shows_this_runs_output_and_status(pyrt: Pyrt) -> None:
    pyrt.ok("create", "--name", "fore", "bb", "sh", "-c", COUNT)
    for number in (1, 2):
        result = pyrt("start", "-a", "fore")
        assert (result.out, result.err, result.status) == (f"{number}\n".encode(), b"", 3)
    pyrt.ok("rm", "fore")


def test_stdin_and_again_after_a_restart(pyrt: Pyrt) -> None:
    """Docker 0.1.0's own test: cat echoes what it is given, in each of its runs."""
    pyrt.ok("create", "-i", "--name", "cat", "bb", "cat")
    for word in (b"hello world\n", b"a second time\n"):
        result = pyrt("start", "-i", "cat", input=word)
        assert (result.out, result.status) == (word, 0)
    assert pyrt.ok("logs", "cat").out == b"hello world\na second time\n"
    pyrt.ok("rm", "cat")


def test_several_one_of_which_is_missing_and_one_runs(pyrt: Pyrt) -> None:
    ids = []
    for name in ("one", "two"):
        ids.append(pyrt.ok("create", "--name", name, "bb", "sleep", "60").text)
    pyrt.ok("start", "two")
    result = pyrt("start", "one", "nosuch", "two")
    assert (result.lines, result.error, result.status) == (ids, "No such container: nosuch", 125)
    assert pyrt("start", "-a", "one", "two").error == "-a and -i start one container at a time"
    pyrt.ok("rm", "-f", "one", "two")


def test_restart(pyrt: Pyrt) -> None:
    ids = {pyrt.detached("--name", "first", "bb", "sh", "-c", "echo up; sleep 60")}
    wait_until(lambda: pyrt.ok("logs", "first").lines == ["up"], what="its first run's output")
    ids.add(pyrt.ok("create", "--name", "second", "bb", "sh", "-c", "echo up; sleep 60").text)
    assert set(pyrt.ok("restart", "-t", "1", "first", "second").lines) == ids
    for name, lines in (("first", 2), ("second", 1)):
        wait_until(lambda: pyrt.ok("logs", name).lines == ["up"] * lines, what=f"{lines} runs")  # noqa: B023
        assert pyrt.status_of(name).startswith("Up")
    pyrt.ok("rm", "-f", "first", "second")


def test_restart_of_one_that_is_removed_at_its_end(pyrt: Pyrt) -> None:
    pyrt.detached("--rm", "--name", "brief", "bb", "sh", "-c", "echo x >> /runs; cat /runs; sleep 60")
    wait_until(lambda: pyrt.ok("logs", "brief").lines == ["x"], what="the first run's output")
    pyrt.ok("restart", "-t", "0", "brief")
    wait_until(lambda: pyrt.ok("logs", "brief").lines == ["x"] * 3, what="the file of the first run")
    pyrt.ok("kill", "brief")
    wait_until(lambda: pyrt.status_of("brief") == "", what="its removal")


def test_who_waits_for_a_run_gets_that_runs_end(pyrt: Pyrt) -> None:
    pyrt.detached("--name", "run", "bb", "sh", "-c", "trap 'exit 4' TERM; while :; do sleep 0.02; done")
    waiter = pyrt.start("wait", "run")
    follower = pyrt.start("logs", "-f", "run")
    wait_until(lambda: pyrt.status_of("run").startswith("Up"), what="it running")
    pyrt.ok("restart", "-t", "5", "run")
    out, err = waiter.communicate(timeout=20)
    assert (out, err) in ((b"4\n", b""), (b"143\n", b"")), "the first run's, though it runs again"
    follower.communicate(timeout=20)
    assert pyrt.status_of("run").startswith("Up")
    pyrt.ok("rm", "-f", "run")


def test_a_fixed_port_stays_and_the_network_is_there_again(pyrt: Pyrt) -> None:
    pyrt.detached("--name", "web", "-p", "127.0.0.1:18099:80", "bb", "httpd", "-f", "-h", "/etc")
    for _ in range(3):
        wait_until(lambda: fetch("127.0.0.1:18099"), what="an answer")
        pyrt.ok("restart", "-t", "0", "web")
        assert "127.0.0.1:18099->80/tcp" in pyrt.ok("ps").text
    wait_until(lambda: fetch("127.0.0.1:18099"), what="an answer")
    pyrt.ok("rm", "-f", "web")


def fetch(address: str) -> bool:
    done = subprocess.run(["curl", "-sf", "-m", "2", f"http://{address}/passwd"], capture_output=True)
    return b"root" in done.stdout


def test_a_start_that_fails_changes_nothing(pyrt: Pyrt) -> None:
    """A port that somebody has taken meanwhile; then it is free again. Nothing of the attempts is left."""
    pyrt.ok("run", "--name", "loser", "-p", "127.0.0.1:18098:80", "bb", "sh", "-c", "echo ran")
    pyrt.detached("--name", "winner", "-p", "127.0.0.1:18098:80", "bb", "sleep", "60")
    for _ in range(2):
        result = pyrt("start", "loser")
        assert result.status == 125 and "18098/tcp is already in use" in result.error
        assert pyrt.status_of("loser") == "Exit 0"
    pyrt.kill_daemon()
    assert pyrt.status_of("loser") == "Exit 0"
    pyrt.ok("rm", "-f", "winner")
    assert pyrt("start", "-a", "loser").out == b"ran\n"
    pyrt.ok("rm", "loser")


def test_a_program_that_is_missing_is_missing_each_time(pyrt: Pyrt) -> None:
    """Nor is a port or an address held by a start that came to nothing."""
    pyrt.ok("create", "--name", "empty", "-p", "127.0.0.1:18098:80", "bb", "/nosuch")
    for _ in range(3):
        result = pyrt("start", "empty")
        assert (result.status, result.error) == (127, "Unable to locate /nosuch")
        assert pyrt.status_of("empty") == "Created"
    pyrt.ok("run", "--rm", "-p", "127.0.0.1:18098:80", "bb", "true")
    pyrt.kill_daemon()
    assert pyrt.status_of("empty") == "Created"
    pyrt.ok("rm", "empty")


def test_rename(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("--name", "old", "bb", "sleep", "60")
    pyrt.ok("create", "--name", "other", "bb", "true")
    pyrt.ok("rename", "old", "new")
    assert pyrt("rename", "old", "x").error == "No such container: old"
    assert "the name other is taken by container" in pyrt("rename", identifier, "other").error
    assert "letters, digits" in pyrt("rename", identifier, "a/b").error
    pyrt.ok("rename", "new", "new")
    pyrt.ok("rename", "other", "old")
    pyrt.kill_daemon()
    assert pyrt.status_of("new").startswith("Up") and pyrt.status_of("old") == "Created"
    pyrt.ok("rm", "-f", "new", "old")


def test_without_a_log_its_program_does_not_run(pyrt: Pyrt) -> None:
    """The init is at work already when the log is opened: it waits at its gate, which stays closed."""
    container = pyrt.ok("create", "bb", "sh", "-c", "echo ran > /ran").text
    directory = pyrt.root / "containers" / container
    (directory / "log").touch()
    for _ in range(3):
        result = pyrt("start", container)
        assert result.status == 125 and "log cannot be opened" in result.error, str(result)
    assert pyrt.status_of(container[:16]) == "Created" and not (directory / "diff" / "ran").exists()
    (directory / "log").unlink()
    pyrt.ok("start", "-a", container)
    assert (directory / "diff" / "ran").exists()
    pyrt.ok("rm", container)
