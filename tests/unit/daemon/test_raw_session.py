# SPDX-License-Identifier: Apache-2.0
"""A session without frames, as a command uses it: for the command there is no difference."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from pyrt.daemon.session import Session
from pyrt.errors import PyrtError
from tests.unit.daemon.conftest import converse_raw, receive_all, run


async def read_all(session: Session, path: str) -> bytes:
    return b"".join([piece async for piece in session.open(path)])


async def send(connection: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(connection, data)


def test_everything_goes_the_one_way_there_is() -> None:
    async def serve(session: Session) -> None:
        await session.out("näh\udcff")
        await session.err(b"\0")
        await session.notice("note")
        await session.fail("that was wrong")
        await session.exit(3)

    _, seen = run(converse_raw(serve, receive_all))
    assert seen == "näh".encode() + b"\xff\0note\nError: that was wrong\n"


def test_the_end_of_its_input_is_not_the_clients_end() -> None:
    async def serve(session: Session) -> bytes:
        await asyncio.sleep(0.05)
        data = await read_all(session, "-")
        await asyncio.sleep(0.05)
        await session.out("done")
        await session.exit(0)
        return data

    async def client(connection: socket.socket) -> bytes:
        await send(connection, b"in" * 500_000)
        connection.shutdown(socket.SHUT_WR)
        return await receive_all(connection)

    assert run(converse_raw(serve, client)) == (b"in" * 500_000, b"done")


def test_a_client_that_hangs_up_cancels_its_command() -> None:
    async def serve(session: Session) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            assert session.gone
            with pytest.raises(ConnectionError):
                await session.out("x")

    async def client(connection: socket.socket) -> None:
        await send(connection, b"unread")
        connection.close()

    served, _ = run(converse_raw(serve, client))
    assert isinstance(served, asyncio.CancelledError)


def test_a_reset_cancels_its_command_while_it_sends_a_file() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()

    async def client(connection: socket.socket) -> None:
        await send(connection, b"the beginning of an archive")
        await asyncio.sleep(0.05)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    served, _ = run(converse_raw(lambda session: read_all(session, "-"), client, (ours, theirs)))
    assert isinstance(served, (asyncio.CancelledError, ConnectionResetError))


def test_what_it_cannot_do() -> None:
    async def serve(session: Session) -> None:
        assert await session.environment(["A", "B"]) == {}
        with pytest.raises(PyrtError, match="^cannot open '/etc/passwd': a client of Docker 0.1.0 cannot send files"):
            await read_all(session, "/etc/passwd")
        await session.exit(0)

    assert run(converse_raw(serve, receive_all)) == (None, b"")


def test_handing_over_loses_nothing_that_was_sent_before() -> None:
    async def serve(session: Session) -> bytes:
        await asyncio.sleep(0.05)
        handed = session.hand_over()
        with pytest.raises(RuntimeError):
            await session.out("x")
        session.take_back()
        await session.out("back")
        copy = session.hand_over().dup()
        session.close()
        with copy:
            copy.setblocking(False)
            return await asyncio.get_running_loop().sock_recv(copy, 100) + bytes(handed.fileno() < 0)

    async def client(connection: socket.socket) -> bytes:
        await send(connection, b"early")
        return await receive_all(connection)

    assert run(converse_raw(serve, client)) == (b"early\0", b"back")
