# SPDX-License-Identifier: Apache-2.0
"""ps, logs, wait, stop, kill, rm, version: containers after they were started."""

from __future__ import annotations

import re
import time

import pytest

from tests.harness import Pyrt

pytestmark = [pytest.mark.root, pytest.mark.both_engines]

LOOP = "while :; do sleep 0.05; done"


def test_an_id_is_64_hex_digits_and_listings_show_16(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("bb", "sleep", "60")
    assert re.fullmatch(r"[0-9a-f]{64}", identifier)
    assert pyrt.ok("ps", "-q").lines == [identifier[:16]]
    assert pyrt.ok("ps", "-q", "--no-trunc").lines == [identifier] == pyrt.ok("ps", "-q", "-notrunc").lines
    pyrt.ok("rm", "-f", identifier[:6])


def test_ps(pyrt: Pyrt) -> None:
    assert pyrt("run", "--name", "ended", "bb", "sh", "-c", "exit 3").status == 3
    pyrt.detached("--name", "running", "bb", "sleep", "1234567890123456")
    header, *rows = pyrt.ok("ps").lines
    assert header.split()[:5] == ["ID", "IMAGE", "COMMAND", "CREATED", "STATUS"]
    assert len(rows) == 1 and re.search(r"bb.*sleep 12345678901234\b.*ago.*Up ", rows[0]), (
        "COMMAND is cut at 20 characters"
    )
    everything = pyrt.ok("ps", "-a").lines[1:]
    assert "Up " in everything[0] and "Exit 3" in everything[1], "newest first"
    assert "sleep 1234567890123456" in pyrt.ok("ps", "--no-trunc").lines[1]
    pyrt.ok("rm", "-f", "ended", "running")


def test_a_container_answers_to_id_prefix_and_name(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("--name", "named", "bb", "echo", "hello")
    assert pyrt.ok("wait", "named").text == "0"
    for name in (identifier, identifier[:16], identifier[:8], "named"):
        assert pyrt.ok("logs", name).out == b"hello\n"
    pyrt.ok("rm", identifier[:8])


@pytest.mark.parametrize("verb", ["logs", "wait", "stop", "kill", "rm"])
def test_a_container_that_does_not_exist(pyrt: Pyrt, verb: str) -> None:
    result = pyrt(verb, "nosuch")
    assert result.status == 125
    assert result.error == "No such container: nosuch"


def test_logs_keep_both_streams_apart_and_in_order(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("bb", "sh", "-c", "for i in 1 2 3; do echo out$i; echo err$i >&2; done")
    pyrt.ok("wait", identifier)
    result = pyrt.ok("logs", identifier)
    assert result.out == b"out1\nout2\nout3\n" and result.err == b"err1\nerr2\nerr3\n"
    pyrt.ok("rm", identifier)


def test_logs_of_a_running_container_and_following_it(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("-i", "--name", "talker", "bb", "sh", "-c", "echo first; sleep 0.5; echo second; exit 4")
    follower = pyrt.start("logs", "-f", "talker")
    out, _ = follower.communicate(timeout=20)
    assert out == b"first\nsecond\n"
    assert follower.returncode == 0
    assert pyrt.ok("logs", identifier).out == out
    pyrt.ok("rm", "talker")


def test_a_follower_that_leaves_harms_nobody(pyrt: Pyrt) -> None:
    pyrt.detached("--name", "busy", "bb", "sh", "-c", "while echo line; do sleep 0.01; done")
    follower = pyrt.start("logs", "-f", "busy")
    assert follower.stdout and follower.stdout.readline() == b"line\n"
    follower.kill()
    follower.wait(timeout=10)
    assert pyrt.status_of("busy").startswith("Up")
    pyrt.ok("rm", "-f", "busy")


def test_the_log_is_capped(pyrt: Pyrt) -> None:
    options = ["--log-opt", "max-size=64k", "--log-opt", "max-file=2"]
    identifier = pyrt.detached(*options, "bb", "probe", "emit", "1", str(2 << 20), "3")
    pyrt.ok("wait", identifier)
    assert 0 < len(pyrt.ok("logs", identifier).out) <= 256 << 10
    pyrt.ok("rm", identifier)


def test_wait_prints_every_status_in_turn(pyrt: Pyrt) -> None:
    first = pyrt.detached("bb", "sh", "-c", "sleep 0.3; exit 5")
    second = pyrt.detached("bb", "sh", "-c", "exit 6")
    assert pyrt.ok("wait", first, second).lines == ["5", "6"]
    assert pyrt.ok("wait", second, first).lines == ["6", "5"]
    pyrt.ok("rm", first, second)


def test_two_wait_for_the_same(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("bb", "sh", "-c", "sleep 0.5; exit 8")
    waiters = [pyrt.start("wait", identifier) for _ in range(2)]
    assert [waiter.communicate(timeout=20)[0] for waiter in waiters] == [b"8\n", b"8\n"]
    pyrt.ok("rm", identifier)


def test_stop_asks_first(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("bb", "sh", "-c", f"trap 'echo bye; exit 7' TERM; echo ready; {LOOP}")
    pyrt.wait_status(identifier[:16], "Up")
    while not pyrt.ok("logs", identifier).out:
        time.sleep(0.02)
    assert pyrt.ok("stop", identifier).status == 0
    assert pyrt.ok("wait", identifier).text == "7"
    assert pyrt.ok("logs", identifier).out == b"ready\nbye\n"
    pyrt.ok("rm", identifier)


def test_stop_then_insists(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("bb", "sh", "-c", f"trap '' TERM; {LOOP}")
    pyrt.ok("stop", "-t", "1", identifier)
    assert pyrt.ok("wait", identifier).text == "137"
    pyrt.ok("rm", identifier)


def test_kill_sends_what_was_asked_for(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("bb", "probe", "signals")
    while b"ready" not in pyrt.ok("logs", identifier).out:
        time.sleep(0.02)
    for name in ("USR1", "SIGUSR2", "1"):
        pyrt.ok("kill", "-s", name, identifier)
    pyrt.ok("kill", "-s", "TERM", identifier)
    assert pyrt.ok("wait", identifier).text == "15"
    assert set(pyrt.ok("logs", identifier).lines) == {"ready", "signal 10", "signal 12", "signal 1", "signal 15"}
    pyrt.ok("rm", identifier)


def test_kill_twice(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("bb", "sleep", "60")
    pyrt.ok("kill", identifier)
    assert pyrt.ok("wait", identifier).text == "137"
    assert pyrt("kill", identifier).error.endswith(" is not running")
    pyrt.ok("rm", identifier)


def test_kill_ends_every_process_of_the_container(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("bb", "sh", "-c", f"({LOOP}) & ({LOOP}) & {LOOP}")
    pyrt.ok("kill", identifier)
    assert pyrt.ok("wait", identifier).text == "137"
    pyrt.ok("rm", identifier)  # the ledger looks for what is left


def test_rm_of_a_running_container(pyrt: Pyrt) -> None:
    pyrt.detached("--name", "runs", "bb", "sleep", "60")
    pyrt.ok("rm", "-f", "runs")
    assert pyrt.status_of("runs") == ""


def test_version(pyrt: Pyrt) -> None:
    assert "0.1.0" in pyrt.ok("version").text


@pytest.mark.parametrize(
    "verb", ["run", "ps", "logs", "wait", "stop", "kill", "rm", "images", "import", "rmi", "version"]
)
def test_help(pyrt: Pyrt, verb: str) -> None:
    result = pyrt.ok(verb, "--help")
    assert f"pyrt {verb}" in result.text and result.err == b""


def test_help_alone_names_every_verb(pyrt: Pyrt) -> None:
    text = pyrt.ok("help").text
    for verb in ("run", "ps", "logs", "wait", "stop", "kill", "rm", "images", "import", "rmi", "version"):
        assert re.search(rf"^\s*{verb}\s", text, re.MULTILINE), verb
