# SPDX-License-Identifier: Apache-2.0
"""logs: the last lines, those of a time, with times, as JSON, followed; and --log-driver none."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import rcli_client
from tests.harness import Pyrt
from tests.processes import wait_until

pytestmark = pytest.mark.root

STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")
SMALL = ("--log-opt", "max-size=4096", "--log-opt", "max-file=3")
# Two lines, one of each stream, and a third whose parts have the second between them.
THREE = "echo one; printf th; {pause}; echo two >&2; {pause}; echo ree; echo end"


@pytest.fixture(autouse=True)
def nothing_left(pyrt: Pyrt) -> Iterator[None]:
    """The containers of these tests go at their end."""
    yield
    pyrt.end_commands()
    pyrt.remove_containers()


def log_files(pyrt: Pyrt, identifier: str) -> Path:
    return pyrt.root / "containers" / identifier / "log"


def ended(pyrt: Pyrt, *argv: str, options: tuple[str, ...] = ()) -> str:
    identifier = pyrt.detached(*options, "bb", *argv)
    pyrt.ok("wait", identifier)
    return identifier


def mixed(pyrt: Pyrt, then: str = "") -> str:
    """A container with a log in a known order: each word is in the log before the next is written."""
    identifier = pyrt.detached("-i", "bb", "sh", "-c", THREE.format(pause="read x") + then)
    feeder = pyrt.start("attach", "-i", identifier, stdin=subprocess.PIPE)
    assert feeder.stdin is not None
    for seen in (b"one\nth", b"one\nthtwo\n"):
        wait_until(lambda: so_far(pyrt, identifier) == seen, what=f"{seen!r} in its log")  # noqa: B023
        feeder.stdin.write(b"\n")
        feeder.stdin.flush()
    wait_until(lambda: so_far(pyrt, identifier).endswith(b"end\n"), what="the end of its log")
    feeder.kill()
    return identifier


def so_far(pyrt: Pyrt, identifier: str) -> bytes:
    """Both outputs, one behind the other, which is the order here until the last word."""
    result = pyrt.ok("logs", identifier)
    return result.out + result.err if not result.out.endswith(b"end\n") else result.out


@pytest.mark.both_engines
@pytest.mark.parametrize("running", [True, False])
def test_the_last_lines_of_both_streams(pyrt: Pyrt, running: bool) -> None:
    """A line is where it ends: `three` is after `two`, though it was begun before, and comes whole."""
    identifier = mixed(pyrt, "; sleep 1000" if running else "")
    if not running:
        pyrt.ok("wait", identifier)
    shown = {
        number: pyrt.ok("logs", "--tail", number, identifier) for number in ("0", "1", "2", "3", "4", "100", "all")
    }
    assert (shown["0"].out, shown["0"].err) == (b"", b"")
    assert (shown["1"].out, shown["1"].err) == (b"end\n", b"")
    assert (shown["2"].out, shown["2"].err) == (b"three\nend\n", b"")
    assert (shown["3"].out, shown["3"].err) == (b"three\nend\n", b"two\n")
    for number in ("4", "100", "all"):
        assert (shown[number].out, shown[number].err) == (b"one\nthree\nend\n", b"two\n")
    assert pyrt.ok("logs", "-n", "1", identifier).out == b"end\n"
    stamped = pyrt.ok("logs", "-t", "--tail", "3", identifier)
    assert STAMP.sub(b"", stamped.out) == b"three\nend\n" and STAMP.sub(b"", stamped.err) == b"two\n"
    assert len(STAMP.findall(stamped.out)) == 2 and len(STAMP.findall(stamped.err)) == 1


@pytest.mark.both_engines
def test_times_and_what_was_written_in_a_time(pyrt: Pyrt) -> None:
    identifier = ended(pyrt, "sh", "-c", "echo one; sleep 0.1; echo two >&2; sleep 0.1; echo three")
    objects = [json.loads(line) for line in pyrt.ok("logs", "--format", "json", identifier).lines]
    assert [(one["log"], one["stream"]) for one in objects] == [
        ("one\n", "stdout"),
        ("two\n", "stderr"),
        ("three\n", "stdout"),
    ]
    first, second, third = (one["time"] for one in objects)
    assert first < second < third
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))
    for since, until, out, err in (
        (second, second, b"", b"two\n"),
        (second, "0s", b"three\n", b"two\n"),
        ("1h30m", first, b"one\n", b""),
        (str(int(time.time()) - 3600), now, b"one\nthree\n", b"two\n"),
        (now, now, b"", b""),
        ("2001-01-01", "2002-01-01T00:00:00+02:00", b"", b""),
    ):
        result = pyrt.ok("logs", "--since", since, "--until", until, identifier)
        assert (result.out, result.err) == (out, err), (since, until)
    assert pyrt.ok("logs", "--until", second, "--tail", "1", identifier).err == b"two\n"
    assert pyrt.ok("logs", "--since", second, "--tail", "1", identifier).err == b""
    stamped = pyrt.ok("logs", "-t", identifier)
    assert stamped.out == f"{first} one\n{third} three\n".encode() and stamped.err == f"{second} two\n".encode()


@pytest.mark.both_engines
def test_following_across_rotation_to_the_end(pyrt: Pyrt) -> None:
    """One that follows from the last line on gets every line there is after it, and ends when the container does."""
    script = "read x; i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; read x; echo bye"
    identifier = pyrt.detached("-i", *SMALL, "bb", "sh", "-c", "echo old; echo last; " + script)
    wait_until(lambda: pyrt.ok("logs", identifier).lines == ["old", "last"], what="its first lines")
    plain = pyrt.start("logs", "-f", "--tail", "1", identifier)
    stamped = pyrt.start("logs", "-f", "-t", "--tail", "1", identifier)
    late = pyrt.start("logs", "-f", "--tail", "0", identifier)
    for follower in (plain, stamped):
        assert follower.stdout is not None
        assert STAMP.sub(b"", follower.stdout.readline()) == b"last\n"
    feeder = pyrt.start("attach", "-i", identifier, stdin=subprocess.PIPE)
    assert feeder.stdin is not None
    feeder.stdin.write(b"\n")
    feeder.stdin.flush()
    wait_until(lambda: pyrt.ok("logs", "--tail", "1", identifier).out == b"line 2999\n", what="the last line")
    feeder.stdin.write(b"\n")
    feeder.stdin.flush()
    for follower in (plain, stamped, late):
        out, err = follower.communicate(timeout=20)
        assert follower.returncode == 0
        lines = STAMP.sub(b"", out).splitlines()
        missed = sum(int(number) for number in re.findall(rb"(\d+) bytes of output were missed", err))
        wanted = b"".join(b"line %d\n" % number for number in range(3000)) + b"bye\n"
        assert lines[-1] == b"bye" and sum(len(line) + 1 for line in lines) + missed >= len(wanted)
        if not missed and follower is not late:
            assert b"\n".join(lines) + b"\n" == wanted
    assert len(list(log_files(pyrt, identifier).glob("*.log"))) == 3


def test_following_up_to_a_moment(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("bb", "sh", "-c", "echo now; sleep 1000")
    wait_until(lambda: pyrt.ok("logs", identifier).out == b"now\n", what="its output")
    moment = f"{time.time() + 0.3:.9f}"
    assert pyrt.ok("logs", "-f", "--until", moment, identifier).out == b"now\n"
    assert time.time() > float(moment)
    assert pyrt.ok("logs", "-f", "--until", "0s", identifier).out == b"now\n"


def test_json_of_bytes_that_are_no_text(pyrt: Pyrt) -> None:
    identifier = ended(pyrt, "printf", r'a\377"\t\n\303\244\nrest')
    one, two, rest = (json.loads(line) for line in pyrt.ok("logs", "--format", "json", identifier).lines)
    assert one["log"] == 'a\ufffd"\t\n' and one["base64"] == "Yf8iCQo="
    assert two["log"] == "ä\n" and "base64" not in two
    assert rest["log"] == "rest"


def test_the_log_goes_on_while_it_is_read(pyrt: Pyrt) -> None:
    """Of a container that writes all the time the last lines are always some that follow each other."""
    script = "i=0; while :; do i=$((i+1)); echo $i; echo $i >&2; done"
    identifier = pyrt.detached("--log-opt", "max-size=64k", "--log-opt", "max-file=2", "bb", "sh", "-c", script)
    wait_until(lambda: pyrt.ok("logs", "--tail", "1", identifier).lines != [], what="its first line")
    for _ in range(20):
        result = pyrt.ok("logs", "--tail", "10", identifier)
        for numbers in ([int(line) for line in result.lines], [int(line) for line in result.err.split(b"\n") if line]):
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
        assert len(result.lines) + result.err.count(b"\n") >= 10


@pytest.mark.both_engines
@pytest.mark.parametrize("kind", ["garbage", "zeros"])
def test_the_last_lines_in_front_of_damage(pyrt: Pyrt, kind: str) -> None:
    identifier = ended(pyrt, "sh", "-c", "echo one; echo two")
    (segment,) = log_files(pyrt, identifier).glob("*.log")
    segment.write_bytes(segment.read_bytes() + (b"\0" if kind == "zeros" else b"\xff") * 50)
    for options in (("--tail", "1"), ("--tail", "1", "-t"), ("--since", "1h", "--tail", "1", "--format", "json")):
        result = pyrt("logs", *options, identifier)
        assert result.status == 125 and result.error.startswith("the log is damaged from here on: ")
        assert b"two" in result.out and b"one" not in result.out


def test_a_log_without_its_index(pyrt: Pyrt) -> None:
    identifier = ended(pyrt, "sh", "-c", "echo one; echo two")
    for index in log_files(pyrt, identifier).glob("*.idx"):
        index.unlink()
    assert pyrt.ok("logs", "--tail", "1", identifier).out == b"two\n"
    assert STAMP.sub(b"", pyrt.ok("logs", "-t", identifier).out) == b"one\ntwo\n"


def test_a_client_that_stands_still_holds_up_nobody(pyrt: Pyrt) -> None:
    """Of a container that has ended: everything else goes on, also removing it."""
    identifier = ended(pyrt, "head", "-c", "20000000", "/dev/zero", options=("--name", "large"))
    stopped = [pyrt.start("logs", *options, "large") for options in ((), ("-t",), ("--format", "json"))]
    for process in stopped:
        assert process.stdout is not None and process.stdout.read(1)
        process.send_signal(signal.SIGSTOP)
    assert len(pyrt.ok("logs", "large", timeout=60).out) == 20_000_000
    assert pyrt.run("bb", "echo", "well").out == b"well\n"
    pyrt.ok("rm", identifier)
    for process in stopped:
        process.kill()
        process.wait()


@pytest.mark.both_engines
def test_a_log_that_is_not_kept(pyrt: Pyrt) -> None:
    """The client in the foreground gets every byte, attach works, and there is nothing for logs."""
    size = 10_000_000
    command = ("bb", "sh", "-c", f"head -c {size} /dev/zero; echo done >&2")
    result = pyrt("run", "--log-driver", "none", "--name", "unkept", *command, timeout=60)
    assert result.out == bytes(size) and result.err == b"done\n" and result.status == 0
    for options in ((), ("-f",), ("--tail", "3")):
        refused = pyrt("logs", *options, "unkept")
        assert refused.status == 125 and "--log-driver none" in refused.error and "unkept" in refused.error
    described = json.loads(pyrt.ok("inspect", "unkept").text)
    assert described["HostConfig"]["LogConfig"] == {"Type": "none"}
    assert described["LogPath"] == ""
    (identifier,) = pyrt.ok("ps", "-a", "-q", "--no-trunc").lines
    assert not log_files(pyrt, identifier).exists()
    assert pyrt.ok("start", "-a", "unkept", timeout=60).out == bytes(size)

    live = pyrt.detached("--log-driver", "none", "-i", "bb", "cat")
    attached = pyrt.start("attach", live, stdin=subprocess.PIPE)
    assert attached.stdin is not None and attached.stdout is not None
    attached.stdin.write(b"there and back\n")
    attached.stdin.flush()
    assert attached.stdout.readline() == b"there and back\n"
    assert pyrt("logs", live).status == 125
    pyrt.ok("kill", live)
    attached.communicate(timeout=10)


@pytest.mark.parametrize(
    "words",
    [
        ["logs", "--tail", "-1"],
        ["logs", "--tail", "many"],
        ["logs", "--tail", ""],
        ["logs", "--since", "yesterday"],
        ["logs", "--until", "2026-13-01T00:00:00Z"],
        ["logs", "--format", "{{.Log}}"],
        ["create", "--log-driver", "syslog"],
        ["create", "--log-driver", "none", "--log-opt", "max-file=2"],
    ],
)
def test_bad_words(pyrt: Pyrt, words: list[str]) -> None:
    result = pyrt(*words, "bb", "true") if words[0] == "create" else pyrt(*words, "nosuch")
    assert result.status == 125 and words[1] in result.error


def test_one_that_was_never_started_has_none(pyrt: Pyrt) -> None:
    identifier = pyrt.ok("create", "bb", "true").text
    assert pyrt.ok("logs", "--tail", "5", "-f", identifier).out == b""


@pytest.mark.both_engines
def test_a_client_of_docker_0_1_0(pyrt: Pyrt) -> None:
    """It gets the bytes of both streams alone, whatever is asked for."""
    identifier = mixed(pyrt)
    address = str(pyrt.run_dir / "pyrt.sock")
    assert rcli_client.call(address, "logs", identifier) == b"one\nthtwo\nree\nend\n"
    assert rcli_client.call(address, "logs", "--tail", "3", identifier) == b"thtwo\nree\nend\n"
    stamped = rcli_client.call(address, "logs", "-t", "--tail", "3", identifier)
    assert STAMP.sub(b"", stamped) == b"two\nthree\nend\n"
    assert len(rcli_client.call(address, "logs", "--format", "json", identifier).splitlines()) == 4
