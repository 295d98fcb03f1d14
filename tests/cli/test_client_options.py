# SPDX-License-Identifier: Apache-2.0
"""The client's own options, and the CALL it sends: every argument arrives as it was typed."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cli.conftest import Client
from tests.cli.fake_server import FakeServer, Peer


def answer(peer: Peer) -> dict[str, object]:
    call = peer.call()
    peer.exit()
    return call


def run(program: str, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run([program, *argv], env=variables, capture_output=True, text=True, timeout=20)


def test_call_carries_what_the_daemon_needs(client: Client, tmp_path: Path) -> None:
    assert client.run(answer, "run", "-it", "x", cwd=tmp_path).returncode == 0
    assert client.value == {
        "version": 2,
        "argv": ["run", "-it", "x"],
        "cwd": str(tmp_path),
        "tty": [False, False, False],
        "size": [0, 0],
    }


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["--version"], ["--help", "run"]])
def test_help_and_version_are_the_daemons_to_answer(program: str, tmp_path: Path, words: list[str]) -> None:
    server = FakeServer(tmp_path / "s", answer)
    assert run(program, "-H", server.address, *words).returncode == 0
    assert server.result()["argv"] == words


@pytest.mark.parametrize("spelling", [["-H", "{}"], ["-H={}"], ["--host", "{}"], ["--host={}"]])
def test_host_in_every_spelling(program: str, tmp_path: Path, spelling: list[str]) -> None:
    server = FakeServer(tmp_path / "s", answer)
    assert run(program, *(word.format(server.address) for word in spelling), "--root=/x", "ps", "-a").returncode == 0
    assert server.result()["argv"] == ["ps", "-a"]


def test_host_from_the_environment_and_the_flag_wins(program: str, tmp_path: Path) -> None:
    server = FakeServer(tmp_path / "s", answer)
    assert run(program, "ps", PYRT_HOST=server.address).returncode == 0
    server.result()
    server = FakeServer(tmp_path / "t", answer)
    assert run(program, "-H", server.address, "ps", PYRT_HOST="unix:///nowhere").returncode == 0
    server.result()


def test_two_dashes_end_the_options(program: str, tmp_path: Path) -> None:
    server = FakeServer(tmp_path / "s", answer)
    assert run(program, "-H", server.address, "--", "-odd").returncode == 0
    assert server.result()["argv"] == ["-odd"]


def test_socket_path_beyond_the_kernels_108_bytes(program: str, tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    server = FakeServer(tmp_path / "s", answer)
    (tmp_path / "s").rename(directory / "s")
    assert run(program, "-H", f"unix://{directory}/s", "ps").returncode == 0
    server.result()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--bogus"], "unknown option --bogus"),
        (["-H"], "option -H needs a value"),
        (["-H", ""], "needs a value that is not empty"),
        (["-H", "http://x"], "expected unix://PATH or tcp://HOST:PORT"),
        (["-H", "unix://"], "expected unix://PATH"),
        (["-H", "tcp://localhost", "x"], "expected tcp://HOST:PORT"),
        (["-H", "tcp://:1", "x"], "expected tcp://HOST:PORT"),
        (["-H", "tcp://h:0", "x"], "expected tcp://HOST:PORT"),
        (["-H", "tcp://h:65536", "x"], "expected tcp://HOST:PORT"),
        (["-H", "tcp://h: 1", "x"], "expected tcp://HOST:PORT"),
        (["--debug=yes"], "takes no value"),
        (["-H", "unix:///a", "-H", "unix:///b", "x"], "give -H once"),
        (["-d", "run"], "runs no command"),
        (["-d", "--version"], "runs no command"),
        (["--tls", "-H", "tcp://h:1", "x"], "--tls needs all of"),
        (["--tlscert", "c", "-H", "tcp://h:1", "x"], "mean nothing without --tls"),
        (["--tls", "--tlscacert=a", "--tlscert=b", "--tlskey=c", "x"], "--tls needs -H tcp://"),
        (["-H", "tcp://127.0.0.1:1", "x"], "cannot reach the pyrt daemon at tcp://127.0.0.1:1: Connection refused"),
        (["-H", "unix:///nowhere/s", "x"], "cannot reach the pyrt daemon at unix:///nowhere/s"),
        (["--run-dir", "/" + "x" * 5000, "x"], "too long"),
    ],
)
def test_a_wrong_option_is_one_clear_line(program: str, words: list[str], text: str) -> None:
    result = run(program, *words)
    assert result.returncode == 125
    assert result.stderr.startswith("Error: ") and text in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_daemon_can_be_asked_for_help(program: str) -> None:
    result = run(program, "-d", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "be the daemon, in the foreground" in result.stdout


def test_hostile_arguments_arrive_byte_for_byte(client: Client) -> None:
    words = [
        b"",
        b"\n",
        b'"\\',
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        "ä€😀".encode(),
        b"\xf0\x9f\x98",
        bytes(range(1, 256)),
    ]
    assert client.run(answer, b"run", *words).returncode == 0
    assert [os.fsencode(word) for word in client.value["argv"]] == [b"run", *words]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40).map(lambda word: word.replace(b"\0", b"")), max_size=8))
def test_any_arguments_arrive_byte_for_byte(program: str, tmp_path: Path, words: list[bytes]) -> None:
    path = tmp_path / uuid.uuid4().hex
    server = FakeServer(path, answer)
    subprocess.run([program, "-H", server.address, b"verb", *words], check=True, timeout=20)
    assert [os.fsencode(word) for word in server.result()["argv"]] == [b"verb", *words]


def test_arguments_near_the_limit_arrive_and_beyond_it_are_refused(client: Client, tmp_path: Path) -> None:
    piece = "x" * 100_000
    assert client.run(answer, "run", *[piece] * 10).returncode == 0
    assert client.value["argv"][1:] == [piece] * 10
    (tmp_path / "fake.sock").unlink()
    with open("/dev/null") as null:
        result = subprocess.run(
            [client.program, "-H", "unix:///x", *[piece] * 11], stdin=null, capture_output=True, timeout=20
        )
    assert result.returncode == 125
    assert b"too long" in result.stderr


def test_help_without_a_daemon_still_shows_the_options(program: str) -> None:
    result = run(program, "--help", PYRT_PYTHON="/nowhere/python3", PYRT_RUN_DIR="/nowhere")
    assert result.returncode == 125
    assert "--run-dir DIR" in result.stdout
    assert "cannot start the pyrt daemon with /nowhere/python3: cannot run it: No such file" in result.stderr
