# SPDX-License-Identifier: Apache-2.0
"""What a client may say while it streams, and what becomes of one that says something else."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import pytest

from pyrt.container.attachment import WINDOW_BYTES, Attachment
from pyrt.container.loop import Loop
from pyrt.container.stdin import Stdin
from pyrt.core import frames


class Client:
    """The client's end, and a target that remembers."""

    def __init__(self, *, stdin: bool = True, terminal: bool = False, kind: type[Attachment] = Attachment) -> None:
        self.loop = Loop()
        self.peer, theirs = socket.socketpair()
        self.seen: list[tuple[str, tuple[int, ...]]] = []
        self.granted: list[int] = []
        self.gone = 0
        self.out, into = os.pipe()
        self.stdin = Stdin(self.loop, into, terminal=terminal)
        feed = self.stdin.feed(owner=True) if stdin else None
        self.attachment = kind(self.loop, theirs, self, feed, self._on_gone)

    def resize(self, rows: int, columns: int) -> None:
        self.seen.append(("resize", (rows, columns)))

    def deliver(self, number: int) -> None:
        self.seen.append(("signal", (number,)))

    def grant(self, attachment: Attachment, total_bytes: int) -> None:
        self.granted.append(total_bytes)

    def _on_gone(self, attachment: Attachment) -> None:
        assert attachment is self.attachment
        self.gone += 1

    def say(self, *data: bytes) -> None:
        for piece in data:
            self.peer.send(piece)
        self.turn()

    def turn(self) -> None:
        """Let the loop take in what has arrived."""
        self.loop.call_later(0.005, self.loop.stop)
        epoll = self.loop._epoll
        self.loop._epoll = _Unclosed(epoll)  # type: ignore[assignment]
        self.loop.run()
        self.loop._epoll = epoll

    def close(self) -> None:
        self.attachment.close()
        self.stdin.close()
        self.peer.close()
        os.close(self.out)


class _Unclosed:
    """An epoll that the end of `run` leaves open, so that a test can run the loop again."""

    def __init__(self, epoll: object) -> None:
        self.epoll = epoll

    def __getattr__(self, name: str) -> object:
        return getattr(self.epoll, name)

    def close(self) -> None:
        pass


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client()
    yield made
    made.close()


def signal_frame(number: int) -> bytes:
    return frames.encode(frames.SIGNAL, struct.pack(">I", number))


def test_everything_a_client_says(client: Client) -> None:
    client.say(
        frames.encode(frames.STDIN, b"typed"),
        frames.encode(frames.RESIZE, struct.pack(">HH", 33, 121)) + signal_frame(15),
    )
    assert client.seen == [("resize", (33, 121)), ("signal", (15,))]
    assert os.read(client.out, 99) == b"typed"
    client.say(frames.encode(frames.STDIN, b""))
    assert os.read(client.out, 99) == b"" and client.gone == 0


def test_byte_by_byte(client: Client) -> None:
    data = frames.encode(frames.STDIN, b"slow") + signal_frame(2)
    for at in range(len(data)):
        client.say(data[at : at + 1])
    assert os.read(client.out, 99) == b"slow" and client.seen == [("signal", (2,))]


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff",
        b"\x00\x01\x00\x00\x00\x00\x00\x00",
        frames.encode(frames.RESIZE, b"123"),
        frames.encode(frames.RESIZE, b""),
        frames.encode(frames.RESIZE, b"12345"),
        frames.encode(frames.SIGNAL, b"\x0f"),
        frames.encode(frames.SIGNAL, b"\0\0\0\x0f\0"),
        signal_frame(0),
        signal_frame(65),
        signal_frame(0xFFFFFFFF),
        frames.encode(frames.EXIT, bytes(4)),
        frames.encode(frames.STDOUT, b"x"),
        frames.encode(frames.CALL, b"{}"),
        frames.encode(frames.ANSWER, b""),
    ],
)
def test_what_is_not_for_a_client_to_say_ends_it_and_nothing_else(client: Client, garbage: bytes) -> None:
    client.say(garbage + signal_frame(9))
    assert client.gone == 1 and client.seen == []
    client.peer.settimeout(5)
    try:
        assert client.peer.recv(1) == b""
    except ConnectionResetError:
        pass


def test_what_came_before_the_garbage_counts(client: Client) -> None:
    client.say(signal_frame(10) + b"garbage")
    assert client.seen == [("signal", (10,))] and client.gone == 1


def test_a_broken_pipe_counts_from_the_client_that_started_it_only(client: Client) -> None:
    client.say(signal_frame(13))
    client.attachment.owner = False
    client.say(signal_frame(13), signal_frame(2))
    assert client.seen == [("signal", (13,)), ("signal", (2,))]


def test_detach_and_hang_up(client: Client) -> None:
    client.say(frames.encode(frames.DETACH, b"") + signal_frame(9))
    assert client.gone == 1 and client.seen == []
    other = Client()
    other.peer.shutdown(socket.SHUT_WR)
    other.turn()
    assert other.gone == 1
    other.close()


def test_hang_up_inside_a_frame(client: Client) -> None:
    client.say(frames.encode(frames.STDIN, b"whole") + frames.encode(frames.STDIN, b"half")[:-1])
    client.peer.shutdown(socket.SHUT_WR)
    client.turn()
    assert client.gone == 1 and os.read(client.out, 99) == b"whole"


def test_stdin_of_a_container_that_has_none() -> None:
    client = Client(stdin=False)
    client.say(frames.encode(frames.STDIN, b"x"), frames.encode(frames.STDIN, b""), signal_frame(1))
    assert client.seen == [("signal", (1,))] and client.gone == 0
    client.close()


def fill(client: Client, size: int) -> None:
    """Send so much stdin, in frames that a socket holds."""
    for start in range(0, size, 32768):
        client.say(frames.encode(frames.STDIN, bytes(min(32768, size - start))))


def drain(client: Client, size: int) -> None:
    os.set_blocking(client.out, False)
    while size:
        try:
            size -= len(os.read(client.out, size))
        except BlockingIOError:
            client.turn()


def test_signals_pass_stdin_that_the_container_does_not_read(client: Client) -> None:
    fill(client, WINDOW_BYTES)
    client.say(signal_frame(2))
    assert client.seen == [("signal", (2,))] and client.stdin.pending_bytes > 0
    assert client.granted == [], "what lies here fills the window"


def test_credit_follows_what_the_container_has_read(client: Client) -> None:
    fill(client, WINDOW_BYTES)
    drain(client, WINDOW_BYTES)
    client.turn()
    assert client.granted and client.granted == sorted(client.granted) and client.granted[-1] == 2 * WINDOW_BYTES
    fill(client, WINDOW_BYTES)
    client.say(signal_frame(1))
    assert client.gone == 0 and client.seen == [("signal", (1,))]


def test_keys_that_are_typed_cost_no_credit_each(client: Client) -> None:
    for _ in range(500):
        client.say(frames.encode(frames.STDIN, b"k"))
        os.read(client.out, 9)
    assert client.granted == []


def test_a_client_that_takes_more_than_its_credit_is_cut_off(client: Client) -> None:
    fill(client, WINDOW_BYTES)
    client.say(frames.encode(frames.STDIN, b"x") + signal_frame(9))
    assert client.gone == 1 and client.seen == []
    assert client.stdin.pending_bytes <= WINDOW_BYTES


def test_signals_pass_once_the_container_has_closed_its_stdin(client: Client) -> None:
    client.say(frames.encode(frames.STDIN, bytes(150_000)), signal_frame(15))
    os.close(client.out)
    client.turn()
    assert client.seen == [("signal", (15,))] and not client.stdin.pending_bytes
    client.out = os.open("/dev/null", os.O_RDONLY)


def test_after_the_end_nothing_counts_and_nothing_is_called(client: Client) -> None:
    client.attachment.finish()
    assert client.peer.recv(1) == b""
    client.say(signal_frame(9), frames.encode(frames.STDIN, b"x"))
    client.peer.close()
    client.turn()
    assert client.seen == [] and client.gone == 0 and client.attachment.socket.fileno() < 0


def test_finishing_for_a_client_that_has_gone(client: Client) -> None:
    client.peer.close()
    client.attachment.finish()
    client.turn()
    assert client.gone == 0 and client.attachment.socket.fileno() < 0
