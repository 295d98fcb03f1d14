# SPDX-License-Identifier: Apache-2.0
"""The door: who gets in, what the first bytes may be, and that garbage costs one connection and one line."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pyrt.core import frames
from pyrt.daemon.address import TcpAddress, UnixAddress, parse_address
from pyrt.daemon.listener import Listener, bind_tcp, bind_unix
from pyrt.daemon.session import OpenSession
from pyrt.errors import ConflictError, UsageError
from tests.unit.daemon.conftest import FakeClient, call_payload, run


class Door:
    """A listener on a unix socket, whose connections are answered with EXIT 0."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place: tuple[str, int] | None = None  # on TCP
        self.calls: list[list[str]] = []

    async def serve(self, open_session: OpenSession) -> None:
        session = open_session(on_disconnect=lambda: None)
        self.calls.append(session.argv)
        await session.exit(0)
        session.close()

    def connect(self) -> FakeClient:
        if self.place:
            return FakeClient(socket.create_connection(self.place))
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.path))
        return FakeClient(connection)


@asynccontextmanager
async def open_door(tmp_path: Path, *, tcp: bool = False, **options: Any) -> AsyncIterator[Door]:
    door = Door(tmp_path / "s")
    listener = Listener(door.serve, **options)
    if tcp:
        (listening,) = bind_tcp(TcpAddress("127.0.0.1", 0), tls=False)
        door.place = listening.getsockname()
        listener.add(listening)
    else:
        listener.add(bind_unix(UnixAddress(str(door.path))))
    try:
        yield door
    finally:
        await listener.close()


def with_door(tmp_path: Path, body: Callable[[Door], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with open_door(tmp_path, **options) as door:
            await body(door)

    run(main())


over_both = pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])


@over_both
def test_a_call(tmp_path: Path, tcp: bool) -> None:
    async def body(door: Door) -> None:
        client = door.connect()
        await client.send(frames.CALL, call_payload("ps", "-a"))
        assert await client.rest() == [(frames.EXIT, bytes(4))]
        assert door.calls[0] == ["ps", "-a"]

    with_door(tmp_path, body, tcp=tcp)


@over_both
def test_a_call_byte_by_byte(tmp_path: Path, tcp: bool) -> None:
    async def body(door: Door) -> None:
        client = door.connect()
        for byte in frames.encode(frames.CALL, call_payload("ps")):
            await client.raw(bytes([byte]))
            await asyncio.sleep(0)
        assert await client.rest() == [(frames.EXIT, bytes(4))]

    with_door(tmp_path, body, tcp=tcp)


@over_both
@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /containers/create HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\n2026-01-01 CRITICAL forged line",
        b"\x11\0\0\0\0\0\0\0",
        bytes(100_000),
    ],
)
def test_other_protocols_are_closed_without_an_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes, tcp: bool
) -> None:
    async def body(door: Door) -> None:
        client = door.connect()
        await client.raw(data)
        assert await client.receive() is None
        client.socket.close()
        assert door.calls == []

    with_door(tmp_path, body, tcp=tcp)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    warnings = [line for line in warnings if "has no authentication" not in line]  # what TCP says when it listens
    assert len(warnings) == 1 and "\n" not in warnings[0] and len(warnings[0]) < 400


@over_both
@pytest.mark.parametrize(
    "data",
    [
        b"\x10\x01\0\0\0\0\0\0",
        b"\x10\0\0\0\x00\x10\x00\x01",
        b"\x10\0\0\0\xff\xff\xff\xff",
        frames.encode(frames.CALL, b"{}"),
        frames.encode(frames.CALL, b"[" * 500_000),
        frames.encode(frames.CALL, b""),
    ],
)
def test_bad_calls_are_told_so(tmp_path: Path, data: bytes, tcp: bool) -> None:
    async def body(door: Door) -> None:
        client = door.connect()
        await client.raw(data)
        (kind, text), last = await client.rest()
        assert kind == frames.ERROR and b"\n" not in text
        assert last == (frames.EXIT, b"\0\0\0\x7d")
        assert door.calls == []

    with_door(tmp_path, body, tcp=tcp)


@over_both
@pytest.mark.parametrize("data", [b"", b"\x10", b"\x10\0\0\0\0\0\0\x05{"])
def test_silence_has_a_deadline(tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes, tcp: bool) -> None:
    async def body(door: Door) -> None:
        client = door.connect()
        await client.raw(data)
        assert await client.receive() is None
        client.socket.close()

    with_door(tmp_path, body, tcp=tcp, deadline=0.1)
    assert "said nothing for 0.1 s" in caplog.text


@over_both
def test_a_byte_now_and_then_does_not_put_the_deadline_off(tmp_path: Path, tcp: bool) -> None:
    """The whole call has to be there in time, however it is dripped in."""

    async def body(door: Door) -> None:
        client = door.connect()
        begin = asyncio.get_running_loop().time()
        dripping = asyncio.create_task(_drip(client, frames.encode(frames.CALL, call_payload("ps"))))
        assert await client.receive() is None
        assert asyncio.get_running_loop().time() - begin < 5, "it would take ten"
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        client.socket.close()
        assert door.calls == []

    with_door(tmp_path, body, tcp=tcp, deadline=0.3)


async def _drip(client: FakeClient, data: bytes) -> None:
    for byte in data:
        await client.raw(bytes([byte]))
        await asyncio.sleep(10 / len(data))


@over_both
def test_beyond_the_limit_clients_wait_their_turn(tmp_path: Path, tcp: bool) -> None:
    async def body(door: Door) -> None:
        clients = [door.connect() for _ in range(5)]  # all connected, two of them accepted
        for client in reversed(clients):
            await client.send(frames.CALL, call_payload("ps"))
        for client in clients:
            assert await client.rest() == [(frames.EXIT, bytes(4))]
        assert len(door.calls) == 5

    with_door(tmp_path, body, tcp=tcp, limit=2)


def test_a_fault_in_one_connection_is_not_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with open_door(tmp_path) as door:
            serve = door.serve

            async def faulty(open_session: OpenSession) -> None:
                await serve(open_session)
                if door.calls[-1] == ["bug"]:
                    raise KeyError("bug")

            other = tmp_path / "t"
            listener = Listener(faulty)
            listener.add(bind_unix(UnixAddress(str(other))))
            door.path = other
            for word in ("bug", "ps"):
                client = door.connect()
                await client.send(frames.CALL, call_payload(word))
                assert await client.rest() == [(frames.EXIT, bytes(4))]
            await listener.close()

    run(main())
    assert "internal error in a connection" in caplog.text


def test_sockets_are_private_whatever_the_path(tmp_path: Path) -> None:
    for path in (tmp_path / "s", tmp_path / ("d" * 150) / "s"):
        path.parent.mkdir(exist_ok=True)
        with bind_unix(UnixAddress(str(path))):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert os.listdir(path.parent).count("s") == 1


def test_a_stale_socket_is_replaced_a_live_one_and_a_file_are_not(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "s"))
    bind_unix(address).close()
    with bind_unix(address), pytest.raises(ConflictError, match="another process does"):
        bind_unix(address)
    (tmp_path / "s").unlink()
    (tmp_path / "s").write_text("mine")
    with pytest.raises(ConflictError, match="no socket"):
        bind_unix(address)
    assert (tmp_path / "s").read_text() == "mine"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_tcp_off_the_loopback_needs_tls(host: str) -> None:
    with pytest.raises(UsageError, match="not a loopback address"):
        bind_tcp(TcpAddress(host, 0), tls=False)


def test_tcp_on_the_loopback_warns(caplog: pytest.LogCaptureFixture) -> None:
    (listener,) = bind_tcp(TcpAddress("127.0.0.1", 0), tls=False)
    listener.close()
    assert "every user of this host is root" in caplog.text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:///run/x", UnixAddress("/run/x")),
        ("tcp://127.0.0.1:80", TcpAddress("127.0.0.1", 80)),
        ("tcp://[::1]:80", TcpAddress("::1", 80)),
        ("tcp://host.example:65535", TcpAddress("host.example", 65535)),
    ],
)
def test_addresses(text: str, address: object) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", "unix://", "unix://x", "tcp://", "tcp://x", "tcp://x:", "tcp://x:65536", "tcp://::1:80", "tcp://a b:1", "x"],
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_address(text)


def test_a_peer_on_tcp_that_is_silent_is_asked_whether_it_is_there() -> None:
    (listening,) = bind_tcp(TcpAddress("127.0.0.1", 0), tls=False)
    found = []

    async def main() -> None:
        async def serve(open_session: OpenSession) -> None:
            session = open_session(on_disconnect=lambda: None)
            connection = session.hand_over()
            found.append(connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            found.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE))
            session.close()

        with socket.create_connection(listening.getsockname()) as client:
            listener = Listener(serve)
            listener.add(listening)
            client.send(b'["ps"]\n')
            client.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
            await listener.close()

    run(main())
    assert found == [1, 60]


CONNECT = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(f"/proc/self/fd/{sys.argv[1]}/s")
while data := client.recv(1000):
    sys.stdout.buffer.write(data)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_who_reaches_the_socket_is_turned_away(tmp_path: Path) -> None:
    """Even where somebody has opened the directory and the socket to everybody."""

    async def body(door: Door) -> None:
        tmp_path.chmod(0o711)
        door.path.chmod(0o666)
        directory_fd = os.open(tmp_path, os.O_PATH)
        try:
            process = await asyncio.create_subprocess_exec(
                *("/usr/bin/python3", "-I", "-c", CONNECT, str(directory_fd)),
                pass_fds=[directory_fd],
                user=65534,
                extra_groups=[],
                stdout=asyncio.subprocess.PIPE,
                cwd="/",
            )
            out, _ = await process.communicate()
        finally:
            os.close(directory_fd)
        assert b"user 65534 may not use this daemon" in out
        assert door.calls == []

    with_door(tmp_path, body)


def test_no_descriptors_left_is_waited_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accept = socket.socket.accept
    failures = iter([errno.EMFILE, errno.ENFILE, errno.ECONNABORTED])

    def failing(self: socket.socket) -> tuple[socket.socket, Any]:
        if number := next(failures, None):
            raise OSError(number, os.strerror(number))
        return accept(self)

    async def body(door: Door) -> None:
        monkeypatch.setattr(socket.socket, "accept", failing)
        client = door.connect()
        await client.send(frames.CALL, call_payload("ps"))
        assert await client.rest() == [(frames.EXIT, bytes(4))]

    with_door(tmp_path, body)
    assert caplog.text.count("cannot accept a connection: Too many open files") == 2
