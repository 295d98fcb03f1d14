# SPDX-License-Identifier: Apache-2.0
"""A raw client's bytes on their way into a container; its end of input, and its end."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from pyrt.container.raw_attachment import RawAttachment
from tests.unit.container.test_attachment import Client


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client(kind=RawAttachment)
    yield made
    made.close()


def test_its_bytes_are_stdin_whatever_they_are(client: Client) -> None:
    client.say(b"\x14\0\0\0\0\0\0\x04\0\0\0\x09", b"\x03")
    assert os.read(client.out, 99) == b"\x14\0\0\0\0\0\0\x04\0\0\0\x09\x03"
    assert client.seen == []


def test_the_end_of_its_input_is_not_its_own(client: Client) -> None:
    client.say(b"last words")
    client.peer.shutdown(socket.SHUT_WR)
    client.turn()
    assert os.read(client.out, 99) == b"last words" and os.read(client.out, 99) == b""
    assert client.gone == 0 and client.attachment.socket.fileno() >= 0
    client.attachment.socket.send(b"output")
    assert client.peer.recv(99) == b"output"
    client.attachment.finish()
    assert client.peer.recv(99) == b""
    client.turn()
    assert client.gone == 0 and client.attachment.socket.fileno() < 0


def test_a_terminal_is_not_told_of_the_end_of_input() -> None:
    client = Client(kind=RawAttachment, terminal=True)
    client.say(b"typed")
    client.peer.shutdown(socket.SHUT_WR)
    client.turn()
    os.set_blocking(client.out, False)
    assert os.read(client.out, 99) == b"typed"
    with pytest.raises(BlockingIOError):
        os.read(client.out, 99)
    client.close()


def test_hanging_up(client: Client) -> None:
    client.peer.send(b"said before")
    client.peer.close()
    client.attachment.hear_out()
    assert client.gone == 1 and client.attachment.socket.fileno() < 0
    assert os.read(client.out, 99) == b"said before" and os.read(client.out, 99) == b""


def test_without_stdin_its_bytes_stay_where_they_are_until_the_end() -> None:
    client = Client(stdin=False, kind=RawAttachment)
    client.peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        for _ in range(100):
            client.say(bytes(100_000))
    client.attachment.finish()
    client.turn()
    assert client.gone == 0
    client.peer.close()
    client.turn()
    assert client.attachment.socket.fileno() < 0
    client.close()


def test_a_container_that_does_not_read_stops_its_client_until_it_does(client: Client) -> None:
    client.peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        for _ in range(100):
            client.say(bytes(100_000))
    os.set_blocking(client.out, False)
    got = 0
    while got < 1_000_000:
        got += len(os.read(client.out, 65536))
        client.turn()
        try:
            client.peer.send(bytes(65536))
        except BlockingIOError:
            pass
