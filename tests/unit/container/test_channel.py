# SPDX-License-Identifier: Apache-2.0
"""Messages between daemon and supervisor: small and large ones, with descriptors, to the end."""

from __future__ import annotations

import errno
import gc
import os
import resource
import socket
import threading
from collections.abc import Iterator

import pytest

from pyrt.container.channel import PACKET_MAX_BYTES, STARVED, Channel, Message


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with a, b:
        yield Channel(a), Channel(b)


def receive(channel: Channel) -> tuple[Message, list[int]]:
    received = channel.receive()
    assert received is not None
    return received


def open_fds() -> int:
    gc.collect()  # what earlier tests have left in cycles would go at any moment
    return len(os.listdir("/proc/self/fd"))


def test_a_message_is_a_message(ends: tuple[Channel, Channel]) -> None:
    ends[0].send({"op": "x", "text": "ü\udcff\0"})
    ends[0].send({})
    assert receive(ends[1]) == ({"op": "x", "text": "ü\udcff\0"}, [])
    assert receive(ends[1]) == ({}, [])


@pytest.mark.parametrize("size", [0, PACKET_MAX_BYTES - 20, PACKET_MAX_BYTES, PACKET_MAX_BYTES + 1, 5_000_000])
def test_of_any_size_and_with_descriptors(ends: tuple[Channel, Channel], size: int) -> None:
    before = open_fds()
    out, into = os.pipe()
    ends[0].send({"text": "x" * size}, [into, into])
    os.close(into)
    message, fds = receive(ends[1])
    assert message == {"text": "x" * size} and len(fds) == 2
    assert not any(os.get_inheritable(fd) for fd in fds)
    os.write(fds[0], b"1")
    os.write(fds[1], b"2")
    assert os.read(out, 10) == b"12"
    for fd in (*fds, out):
        os.close(fd)
    assert open_fds() == before


def test_as_many_descriptors_as_a_container_has_ports(ends: tuple[Channel, Channel]) -> None:
    ends[0].send({"text": "x" * 100_000}, [0] * 249)
    _, fds = receive(ends[1])
    assert len(fds) == 249
    for fd in fds:
        os.close(fd)


def test_the_end(ends: tuple[Channel, Channel]) -> None:
    ends[0].send({"last": 1})
    ends[0].close()
    assert receive(ends[1]) == ({"last": 1}, [])
    assert ends[1].receive() is None
    with pytest.raises(BrokenPipeError):
        ends[1].send({})


def test_nothing_there_yet_and_nobody_who_reads(ends: tuple[Channel, Channel]) -> None:
    for end in ends:
        end.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        ends[1].receive()
    before = open_fds()
    with pytest.raises(BlockingIOError):
        for _ in range(10_000):
            ends[0].send({"text": "x" * 100_000})
    assert receive(ends[1])[0]["text"] == "x" * 100_000
    ends[0].send({"text": "again"})
    assert open_fds() == before, "what is on its way holds no descriptor of the sender's"


def test_a_message_that_cannot_be_sent_leaves_nothing_open(ends: tuple[Channel, Channel]) -> None:
    before = open_fds()
    with pytest.raises(OSError) as caught:
        ends[0].send({"text": "x" * 100_000}, [9999])
    assert caught.value.errno == errno.EBADF
    assert open_fds() == before


def test_a_reader_that_waits(ends: tuple[Channel, Channel]) -> None:
    thread = threading.Thread(target=lambda: ends[0].send({"late": True}))
    thread.start()
    assert receive(ends[1]) == ({"late": True}, [])
    thread.join()


def test_descriptors_that_there_is_no_room_for(ends: tuple[Channel, Channel]) -> None:
    """The message arrives and says so, and none of them is left open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = open_fds()
    ends[0].send({"seq": 1}, [0] * 20)
    used = set(map(int, os.listdir("/proc/self/fd")))
    third_free = [number for number in range(1000) if number not in used][2]
    resource.setrlimit(resource.RLIMIT_NOFILE, (third_free, hard))
    try:
        message, fds = receive(ends[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert message == {"seq": 1, STARVED: True} and fds == []
    assert open_fds() == before
