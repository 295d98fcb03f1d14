# SPDX-License-Identifier: Apache-2.0
"""`pyrt run`: what a container is given, and how its end is told."""

from __future__ import annotations

import os
import signal

import pytest

from tests.harness import Pyrt

pytestmark = [pytest.mark.root, pytest.mark.both_engines]

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.mark.parametrize("status", [0, 1, 2, 7, 63, 124, 125, 126, 127, 128, 137, 200, 254, 255])
def test_the_containers_own_status(pyrt: Pyrt, status: int) -> None:
    result = pyrt.run("bb", "probe", "exit", str(status))
    assert (result.status, result.out, result.err) == (status, b"", b"")


def test_a_container_ended_by_a_signal_is_128_and_the_signal(pyrt: Pyrt) -> None:
    command = pyrt.start("run", "--name", "victim", "bb", "probe", "signals")
    assert command.stdout and command.stdout.readline() == b"ready\n"
    pyrt.ok("kill", "-s", "KILL", "victim")
    assert command.wait(timeout=20) == 128 + signal.SIGKILL
    assert pyrt.ok("wait", "victim").text == "137"
    pyrt.ok("rm", "victim")


def test_126_for_what_cannot_be_executed(pyrt: Pyrt) -> None:
    result = pyrt.run("bb", "/etc/passwd")
    assert result.status == 126
    assert "/etc/passwd" in result.error


def test_127_for_what_does_not_exist(pyrt: Pyrt) -> None:
    result = pyrt.run("bb", "/nosuch")
    assert result.status == 127
    assert "/nosuch" in result.error
    assert pyrt.run("bb", "nosuch").status == 127


def test_a_directory_is_not_a_program(pyrt: Pyrt) -> None:
    assert pyrt.run("bb", "/bin").status == 126


def test_a_program_is_found_through_path(pyrt: Pyrt) -> None:
    assert pyrt.run("bb", "echo", "found").out == b"found\n"


def test_arguments_arrive_untouched(pyrt: Pyrt) -> None:
    words = [b"", b" ", b"a b", b'"', b"'", b"$HOME", b"*", b"--", b"-x", b"\xff\xfe", "é".encode(), b"new\nline"]
    result = pyrt.run("bb", "probe", "args", *words)
    assert result.out == b"".join(b"[%s]\n" % word for word in words)


def test_the_environment_is_home_and_path(pyrt: Pyrt) -> None:
    assert sorted(pyrt.run("bb", "probe", "env").lines) == ["HOME=/", PATH]


def test_a_terminal_adds_term_and_nothing_else(pyrt: Pyrt) -> None:
    with pyrt.pty("run", "--rm", "-t", "bb", "probe", "env") as terminal:
        assert terminal.wait() == 0
        names = sorted(line.partition(b"=")[0] for line in terminal.output.split())
    assert names == [b"HOME", b"PATH", b"TERM"]


def test_environment_flags(pyrt: Pyrt) -> None:
    flags = ["-e", "A=1", "--env", "B=two words", "-e=C=a=b", "-e", "EMPTY=", "-e", "A=2", "-e", "NOT_SET_AT_ALL"]
    result = pyrt("run", "--rm", *flags, "-e", "FROM_CLIENT", "bb", "probe", "env", env={"FROM_CLIENT": "kept"})
    lines = set(result.lines)
    assert {"A=2", "B=two words", "C=a=b", "EMPTY=", "FROM_CLIENT=kept"} <= lines
    assert not any(line.startswith(("NOT_SET_AT_ALL", "A=1")) for line in lines)
    assert len(lines) == 7


def test_an_environment_value_of_any_bytes(pyrt: Pyrt) -> None:
    assert b"RAW=\xff\nline\n" in pyrt.run("-e", b"RAW=\xff\nline", "bb", "probe", "env").out


def test_an_environment_variable_cannot_reach_the_host(pyrt: Pyrt) -> None:
    hostile = ["LD_PRELOAD=/evil.so", "PYTHONSTARTUP=/evil.py", "GCONV_PATH=/evil", "LD_AUDIT=/evil.so"]
    flags = [word for value in hostile for word in ("-e", value)]
    result = pyrt.run(*flags, "bb", "probe", "env")
    assert result.status == 0 and set(hostile) < set(result.lines)
    for pid in (pyrt.daemon_pid, pyrt.supervisor_pid):
        with open(f"/proc/{pid}/environ", "rb") as file:
            assert b"evil" not in file.read()


USERS = {
    "root": ("0", "0", "0"),
    "0": ("0", "0", "0"),
    "daemon": ("1", "1", "1 29"),
    "1": ("1", "1", "1 29"),
    "bob": ("1000", "1000", "29 50 1000"),
    "1000": ("1000", "1000", "29 50 1000"),
    "12345": ("12345", "0", "0"),
    "bob:staff": ("1000", "50", "50"),
    "1000:29": ("1000", "29", "29"),
    "5:6": ("5", "6", "6"),
    "4294967294": ("4294967294", "0", "0"),
}


@pytest.mark.parametrize("user", USERS)
def test_user(pyrt: Pyrt, user: str) -> None:
    uid, gid, _ = USERS[user]
    lines = pyrt.run("-u", user, "bb", "probe", "ids").lines
    assert lines[:2] == [f"uid {uid} {uid} {uid}", f"gid {gid} {gid} {gid}"]
    assert gid in lines[2].split(), "the base group belongs to the supplementary ones"


@pytest.mark.parametrize("user", ["daemon", "bob"])
def test_supplementary_groups_are_those_of_the_images_group_file(pyrt: Pyrt, user: str) -> None:
    groups = pyrt.run("-u", user, "bb", "probe", "ids").lines[2].split()[1:]
    assert sorted(map(int, groups)) == sorted(map(int, USERS[user][2].split()))


HOSTILE_USERS = [
    "-1",
    "4294967295",
    "4294967296",
    "1:4294967296",
    "0x0",
    "nosuch",
    "bob:nosuch",
    "1:2:3",
    "root\n",
    " 0",
    "+0",
    ":",
    "0:",
    "18446744073709551616",
]


@pytest.mark.parametrize("user", HOSTILE_USERS)
def test_a_user_that_cannot_be_resolved_is_an_error_and_never_root(pyrt: Pyrt, user: str) -> None:
    result = pyrt.run(f"--user={user}", "bb", "probe", "ids")
    assert result.status == 125
    assert result.out == b""
    assert result.error


def test_working_directory(pyrt: Pyrt) -> None:
    assert pyrt.run("bb", "pwd").text == "/"
    assert pyrt.run("-w", "/home/bob", "bb", "pwd").text == "/home/bob"


def test_hostname(pyrt: Pyrt) -> None:
    assert pyrt.run("--hostname", "box.example", "bb", "hostname").text == "box.example"
    identifier = pyrt.detached("bb", "hostname")
    pyrt.ok("wait", identifier)
    assert identifier.startswith(pyrt.ok("logs", identifier).text)
    pyrt.ok("rm", identifier)
    assert os.uname().nodename != "box.example"


def test_rm_leaves_nothing_listed_and_without_it_the_container_stays(pyrt: Pyrt) -> None:
    before = pyrt.ok("ps", "-a", "-q").lines
    pyrt.ok("run", "--rm", "--name", "gone", "bb", "true")
    assert pyrt.ok("ps", "-a", "-q").lines == before
    pyrt.ok("run", "--name", "stays", "bb", "true")
    assert len(pyrt.ok("ps", "-a", "-q").lines) == len(before) + 1
    pyrt.ok("rm", "stays")


def test_a_name_is_taken_only_once(pyrt: Pyrt) -> None:
    pyrt.ok("run", "--name", "only", "bb", "true")
    result = pyrt("run", "--name", "only", "bb", "true")
    assert result.status == 125 and "only" in result.error
    pyrt.ok("rm", "only")
    pyrt.ok("run", "--rm", "--name", "only", "bb", "true")


def test_read_only_root(pyrt: Pyrt) -> None:
    assert pyrt.run("--read-only", "bb", "touch", "/x").status != 0
    assert pyrt.run("--read-only", "bb", "sh", "-c", "echo > /dev/shm/x").status == 0


def test_containers_do_not_see_each_others_files(pyrt: Pyrt) -> None:
    pyrt.ok("run", "--rm", "bb", "sh", "-c", "echo mine > /tmp/mine; rm /bin/probe")
    assert pyrt.run("bb", "sh", "-c", "[ ! -e /tmp/mine ] && [ -e /bin/probe ]").status == 0


def test_volume(pyrt: Pyrt, tmp_path: os.PathLike[str]) -> None:
    directory = os.fspath(tmp_path)
    pyrt.ok("run", "--rm", "-v", f"{directory}:/data", "bb", "sh", "-c", "echo kept > /data/file")
    with open(f"{directory}/file") as file:
        assert file.read() == "kept\n"
    assert pyrt.run("-v", f"{directory}:/data:ro", "bb", "cat", "/data/file").out == b"kept\n"
    assert pyrt.run("-v", f"{directory}:/data:ro", "bb", "touch", "/data/other").status != 0


def test_timeout_ends_a_container(pyrt: Pyrt) -> None:
    result = pyrt.run("--timeout", "1", "bb", "sleep", "60")
    assert result.status != 0


def test_two_containers_at_once(pyrt: Pyrt) -> None:
    commands = [pyrt.start("run", "--rm", "bb", "sh", "-c", f"sleep 0.2; echo {word}") for word in ("one", "two")]
    assert [command.communicate(timeout=30) for command in commands] == [(b"one\n", b""), (b"two\n", b"")]
