# SPDX-License-Identifier: Apache-2.0
"""A session as a command uses it, against a client that speaks frames."""

from __future__ import annotations

import asyncio
import socket

import pytest

from pyrt.core import frames
from pyrt.daemon.session import Session
from pyrt.errors import ProtocolError, PyrtError
from tests.unit.daemon.conftest import FakeClient, converse, run


def test_output_and_status() -> None:
    async def serve(session: Session) -> None:
        await session.out("näh\udcff")
        await session.err(b"\0")
        await session.out("")
        await session.notice("note")
        await session.exit(3)

    _, seen = run(converse(serve, FakeClient.rest))
    assert seen == [
        (frames.STDOUT, "näh".encode() + b"\xff"),
        (frames.STDERR, b"\0"),
        (frames.NOTICE, b"note"),
        (frames.EXIT, b"\0\0\0\3"),
    ]


def test_large_output_from_two_tasks_keeps_whole_frames() -> None:
    async def serve(session: Session) -> None:
        await asyncio.gather(session.out(b"o" * 3_000_000), session.err(b"e" * 3_000_000))
        await session.exit(0)

    _, seen = run(converse(serve, FakeClient.rest))
    for kind, letter in ((frames.STDOUT, b"o"), (frames.STDERR, b"e")):
        assert b"".join(payload for found, payload in seen if found == kind) == letter * 3_000_000


def test_environment() -> None:
    async def client(peer: FakeClient) -> object:
        asked = await peer.receive()
        await peer.send(frames.ANSWER, b"A=1=2\0B=\0C=\xff\0")
        return asked

    served, seen = run(converse(lambda session: session.environment(["A", "B", "C", "D"]), client))
    assert served == {"A": "1=2", "B": "", "C": "\udcff"}
    assert seen == (frames.ASK, b"A\0B\0C\0D\0")


def test_a_tree_is_packed_and_another_unpacked() -> None:
    async def serve(session: Session) -> bytes:
        data = b"".join([piece async for piece in session.pack("in", follow=True, owners=False)])
        await session.unpack("out", owners=True)
        await session.unpacked()
        with pytest.raises(PyrtError, match="does not name"):
            await session.unpack("other", owners=False)
        return data

    async def client(peer: FakeClient) -> list[tuple[int, bytes] | None]:
        seen = [await peer.receive()]
        await peer.send(frames.ANSWER)
        await peer.send(frames.STDIN, b"tar")
        await peer.send(frames.STDIN)
        for answer in (b"", b"", b"the command does not name it"):
            seen.append(await peer.receive())
            await peer.send(frames.ANSWER, answer)
        return seen

    served, seen = run(converse(serve, client))
    assert served == b"tar"
    assert seen == [
        (frames.PACK, b"\2in"),
        (frames.UNPACK, b"\1out"),
        (frames.FEED, b""),
        (frames.UNPACK, b"\0other"),
    ]


async def read_all(session: Session, path: str) -> bytes:
    return b"".join([piece async for piece in session.open(path)])


def test_a_file_larger_than_what_is_buffered() -> None:
    content = bytes(range(256)) * 40_000

    async def client(peer: FakeClient) -> object:
        asked = await peer.receive()
        await peer.send(frames.ANSWER)
        for start in range(0, len(content), 100_000):
            await peer.send(frames.STDIN, content[start : start + 100_000])
        await peer.send(frames.STDIN)
        return asked

    served, seen = run(converse(lambda session: read_all(session, "a/b"), client))
    assert served == content
    assert seen == (frames.OPEN, b"a/b")


def test_a_file_of_very_many_pieces() -> None:
    """What was taken from the buffer counts as taken, to the last byte: else the session would stop listening."""
    count = 150_000

    async def client(peer: FakeClient) -> None:
        await peer.receive()
        await peer.send(frames.ANSWER)
        for _ in range(10):
            await peer.raw(frames.encode(frames.STDIN, b"x") * (count // 10))
        await peer.send(frames.STDIN)

    served, _ = run(converse(lambda session: read_all(session, "a"), client))
    assert served == b"x" * count


def test_a_file_that_cannot_be_opened() -> None:
    async def client(peer: FakeClient) -> None:
        await peer.receive()
        await peer.send(frames.ANSWER, b"cannot open 'x': No such file or directory")

    served, _ = run(converse(lambda session: read_all(session, "x"), client))
    assert type(served) is PyrtError and str(served) == "cannot open 'x': No such file or directory"


def test_a_file_read_halfway_does_not_disturb_the_next_question() -> None:
    async def serve(session: Session) -> tuple[bytes, dict[str, str]]:
        pieces = session.open("x")
        first = await anext(pieces)
        await pieces.aclose()  # type: ignore[attr-defined]
        return first, await session.environment(["A"])

    async def client(peer: FakeClient) -> None:
        await peer.receive()
        await peer.send(frames.ANSWER)
        for piece in (b"1", b"2", b"3", b""):
            await peer.send(frames.STDIN, piece)
        assert await peer.receive() == (frames.ASK, b"A\0")
        await peer.send(frames.ANSWER, b"A=1\0")

    assert run(converse(serve, client)) == ((b"1", {"A": "1"}), None)


def test_an_answer_nobody_asked_for() -> None:
    async def client(peer: FakeClient) -> None:
        await peer.receive()
        await peer.send(frames.SIGNAL, b"\0\0\0\2")
        await peer.receive()

    served, _ = run(converse(lambda session: session.environment(["A"]), client))
    assert isinstance(served, ProtocolError)


@pytest.mark.parametrize("last", [b"", b"\x00\x00", b"garbage!"])
def test_a_client_that_leaves_or_talks_nonsense_cancels_its_command(last: bytes) -> None:
    async def serve(session: Session) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            assert session.gone
            with pytest.raises(ConnectionError):
                await session.out("x")

    async def client(peer: FakeClient) -> None:
        await peer.raw(last)
        peer.socket.close()

    served, _ = run(converse(serve, client))
    assert isinstance(served, asyncio.CancelledError)


def test_handing_over() -> None:
    async def serve(session: Session) -> None:
        handed = session.hand_over()
        with pytest.raises(RuntimeError):
            await session.out("x")
        with pytest.raises(RuntimeError):
            session.hand_over()
        copy = handed.dup()
        session.close()
        copy.setblocking(False)
        with copy:
            loop = asyncio.get_running_loop()
            assert await loop.sock_recv(copy, 100) == b"hello"
            await loop.sock_sendall(copy, b"there")

    async def client(peer: FakeClient) -> bytes:
        await asyncio.sleep(0)
        await peer.raw(b"hello")
        return await asyncio.get_running_loop().sock_recv(peer.socket, 100)

    assert run(converse(serve, client)) == (None, b"there")


def test_bytes_before_streaming_make_handing_over_impossible() -> None:
    async def serve(session: Session) -> None:
        await asyncio.sleep(0.05)
        with pytest.raises(ProtocolError):
            session.hand_over()

    assert run(converse(serve, lambda peer: peer.raw(b"\0\0"))) == (None, None)


def test_the_status_arrives_although_the_client_is_still_sending() -> None:
    async def serve(session: Session) -> None:
        await anext(session.open("x"))
        await session.exit(9)

    async def client(peer: FakeClient) -> object:
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        await peer.receive()
        await peer.send(frames.ANSWER)
        for _ in range(100):
            await peer.send(frames.STDIN, b"x" * 100_000)
        return await peer.rest()

    assert run(converse(serve, client)) == (None, [(frames.EXIT, b"\0\0\0\x09")])


def test_asking_while_a_file_is_read_gives_the_file_up_and_hangs_nobody() -> None:
    async def serve(session: Session) -> dict[str, str]:
        pieces = session.open("x")
        await anext(pieces)
        found = await session.environment(["A"])
        with pytest.raises(RuntimeError, match="given up"):
            await anext(pieces)
        return found

    async def client(peer: FakeClient) -> None:
        await peer.receive()
        for kind, payload in ((frames.ANSWER, b""), (frames.STDIN, b"1"), (frames.STDIN, b"2"), (frames.STDIN, b"")):
            await peer.send(kind, payload)
        await peer.receive()
        await peer.send(frames.ANSWER, b"A=1\0")

    assert run(converse(serve, client)) == ({"A": "1"}, None)
