# SPDX-License-Identifier: Apache-2.0
"""Clients of Docker 0.1.0's protocol that say nonsense, or nothing, or go away: it costs nobody else anything."""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path

import pytest

from tests import rcli_client
from tests.harness import Pyrt
from tests.integration.test_memory import status_kib
from tests.integration.test_rcli import daemon
from tests.processes import open_files, wait_until

pytestmark = pytest.mark.root

__all__ = ["daemon"]

MEGABYTE = 1 << 20
GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: localhost:4242\r\n\r\n",
    b'POST /containers/create HTTP/1.1\r\nOrigin: http://evil.example\r\nContent-Length: 9\r\n\r\n["ps"]\n',
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    b' ["ps"]\n',
    b"[1,2]\n",
    b"[" * 500_000 + b"]" * 500_000 + b"\n",
    b"[" + b'{"a":' * 150_000 + b"\n",
    b"[" + b"9" * 900_000 + b"]\n",
    b'["' + b"x" * 3_000_000 + b'"]\n',
    b'["ps\0"]\n',
    b'["ps\\u0000"]\n',
    b'["\xff\xfe\xfd"]\n',
    b'["\\ud800"]\n',
    b'{"argv": ["ps"]}\n',
    b"null\n",
    b"\n",
    bytes(100_000),
]


def answer(address: str, data: bytes) -> bytes:
    """Everything that comes back; nothing where the connection was reset."""
    with rcli_client.dial(address) as connection:
        rcli_client.send_all(connection, data)
        try:
            return rcli_client.read_all(connection)
        except ConnectionResetError:
            return b""


def reset(connection: socket.socket) -> None:
    """Go away at once, as a client whose machine went down."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.fixture
def tcp(daemon: str, pyrt: Pyrt) -> str:
    return daemon


@pytest.fixture
def unix(pyrt: Pyrt) -> str:
    return str(pyrt.run_dir / "pyrt.sock")


def works(address: str) -> bool:
    return rcli_client.call(address, "version").startswith(b"Version:")


def test_garbage(tcp: str) -> None:
    for data in GARBAGE:
        shown = answer(tcp, data)
        assert shown == b"" or shown.startswith(b"Error: ") and shown.count(b"\n") == 1, (data[:40], shown)
    assert works(tcp)


def test_a_gigabyte_without_a_newline(pyrt: Pyrt, tcp: str) -> None:
    works(tcp)
    Path(f"/proc/{pyrt.daemon_pid}/clear_refs").write_text("5")
    before = status_kib(pyrt.daemon_pid, "VmHWM")
    sent = 0
    with rcli_client.dial(tcp) as connection, pytest.raises(ConnectionError):
        connection.sendall(b'["')
        while sent < 1 << 30:
            connection.sendall(b"x" * MEGABYTE)
            sent += MEGABYTE
    assert sent < 64 * MEGABYTE
    assert status_kib(pyrt.daemon_pid, "VmHWM") - before < 16 << 10
    assert works(tcp)


def test_a_crowd_that_says_half_a_line(pyrt: Pyrt, tcp: str) -> None:
    """More of them than there are places: the rest waits, and whoever comes when they have left is served."""
    works(tcp)
    before = status_kib(pyrt.daemon_pid, "VmRSS")
    crowd = []
    try:
        for _ in range(1500):
            crowd.append(rcli_client.dial(tcp))
            crowd[-1].sendall(b'["run"')
        assert status_kib(pyrt.daemon_pid, "VmRSS") - before < 48 << 10
    finally:
        for connection in crowd:
            connection.close()
    assert works(tcp)
    wait_until(lambda: len(os.listdir(f"/proc/{pyrt.daemon_pid}/fd")) < 100, what="the connections being gone")


def test_any_words_are_arguments(tcp: str) -> None:
    for argv in (["x" * 100_000], [""], ["ps", "\n"], ["\x1b[2J"], ["../run"], ["__init__"], ["flags"], ["a"] * 99_999):
        shown = rcli_client.call(tcp, *argv)
        assert shown.startswith(b"Error: ") and shown.count(b"\n") == 1, (argv[:1], shown)
        assert len(shown) < 400 and b"\x1b" not in shown
    assert works(tcp)


def test_going_away_gives_up_what_is_in_progress(pyrt: Pyrt, tcp: str, unix: str, bb_tar: bytes) -> None:
    """An import whose client vanished leaves nothing, and nobody waits for a container's end on its behalf."""
    name = pyrt.detached("bb", "sleep", "1000")
    for address in (tcp, unix):
        importing = rcli_client.dial(address)
        importing.sendall(rcli_client.line(["import", "-", "half"]) + bb_tar[: len(bb_tar) // 2])
        waiting = rcli_client.dial(address)
        waiting.sendall(rcli_client.line(["wait", name]))
        waiting.shutdown(socket.SHUT_WR)
        wait_until(lambda: any((pyrt.root / "tmp").iterdir()), what="the import having begun")
        reset(importing)
        reset(waiting)
        wait_until(lambda: not any((pyrt.root / "tmp").iterdir()), what="the import being given up")
    assert pyrt.ok("images", "-q", "half").out == b""
    wait_until(lambda: len(connections(pyrt)) == 0, what="the connections being closed")
    pyrt.ok("rm", "-f", name)


def connections(pyrt: Pyrt) -> list[int]:
    """The daemon's connections to raw clients: each has an epoll of its own; the event loop has the first."""
    return [fd for fd, target in open_files(pyrt.daemon_pid).items() if "eventpoll" in target][1:]


@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_going_away_leaves_the_container_running(pyrt: Pyrt, over: str, request: pytest.FixtureRequest) -> None:
    address = request.getfixturevalue(over)
    script = "while echo y; do :; done"
    connection = rcli_client.dial(address)
    connection.sendall(rcli_client.line(["run", "--name", "alone", "bb", "sh", "-c", script]))
    assert connection.recv(2) == b"y\n"
    reset(connection)
    log = next((pyrt.root / "containers").glob("*/log"))
    size = sum(path.stat().st_size for path in log.iterdir())
    wait_until(lambda: sum(path.stat().st_size for path in log.iterdir()) > size, what="it going on writing")
    assert pyrt.status_of("alone").startswith("Up")
    pyrt.ok("rm", "-f", "alone")


def test_who_does_not_read_stops_its_own_container_only(pyrt: Pyrt, unix: str) -> None:
    with rcli_client.dial(unix) as connection:
        options = ["--name", "flood", "--log-opt", "max-size=65536", "--log-opt", "max-file=2"]
        connection.sendall(rcli_client.line(["run", *options, "bb", "yes"]))
        assert connection.recv(2) == b"y\n"
        assert pyrt.run("bb", "echo", "fine").out == b"fine\n"
        assert pyrt.ok("kill", "flood").status == 0
    pyrt.ok("rm", "flood")


def test_bytes_that_are_frames_are_bytes(pyrt: Pyrt, unix: str) -> None:
    """To a raw session and to a raw stream alike."""
    call = {"version": 2, "argv": ["ps"], "cwd": "/", "tty": [False] * 3, "size": [0, 0]}
    payload = json.dumps(call).encode()
    frame = struct.pack(">B3xI", 0x10, len(payload)) + payload
    assert rcli_client.call(unix, "run", "--rm", "-i", "bb", "cat", input=frame) == frame
    assert rcli_client.call(unix, "import", "-", "x", input=frame).startswith(b"Error: ")
