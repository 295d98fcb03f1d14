# SPDX-License-Identifier: Apache-2.0
"""Frames: what is encoded is decoded, whatever the pieces it arrives in; what is no frame is refused and named."""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrt.core import frames

HEADER_FILE = Path(__file__).parents[3] / "csrc" / "frames.h"
TYPES = [
    "STDIN", "STDOUT", "STDERR", "NOTICE", "CALL", "EXIT", "RESIZE", "SIGNAL", "DETACH", "ERROR", "START", "ASK",
    "OPEN", "ANSWER", "PACK", "UNPACK", "FEED",
]  # fmt: skip


def test_every_number_of_the_header_is_exported():
    declared = dict(re.findall(r"^    PYRT_(\w+) = (\d+),", HEADER_FILE.read_text(), re.MULTILINE))
    assert set(TYPES) <= declared.keys()
    assert {name: getattr(frames, name) for name in declared} == {name: int(value) for name, value in declared.items()}
    assert (frames.HEADER_BYTES, frames.MAX_PAYLOAD) == (8, 1 << 20)


def test_an_encoded_frame_is_type_zeros_length_payload():
    assert frames.encode(frames.STDERR, b"hello") == b"\x02\0\0\0\0\0\0\x05hello"
    assert frames.encode(frames.DETACH) == struct.pack(">BxxxI", 20, 0)
    assert frames.header(frames.STDOUT, 1 << 20) == b"\x01\0\0\0\0\x10\0\0"


@pytest.mark.parametrize("call", [lambda t, n: frames.header(t, n), lambda t, n: frames.encode(t, bytes(n))])
def test_what_cannot_be_a_frame_is_not_encoded(call):
    with pytest.raises(frames.FrameError, match="unknown frame type 4"):
        call(4, 0)
    with pytest.raises(frames.FrameError, match="1048577 bytes is longer than the 1048576 allowed"):
        call(1, (1 << 20) + 1)


@given(
    st.lists(
        st.tuples(st.sampled_from([getattr(frames, name) for name in TYPES]), st.binary(max_size=300)), max_size=20
    ),
    st.lists(st.integers(1, 200), min_size=1, max_size=50),
)
def test_frames_survive_any_fragmentation(sent, cuts):
    stream = b"".join(frames.encode(kind, payload) for kind, payload in sent)
    reader = frames.FrameReader()
    received = []
    while stream:
        for cut in cuts:
            reader.feed(stream[:cut])
            stream = stream[cut:]
            received += list(reader)
    assert received == sent
    assert reader.pending == 0
    reader.finish()


@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_frames_or_refused(data):
    reader = frames.FrameReader(max_payload=40)
    reader.feed(data)
    read = b""
    try:
        for kind, payload in reader:
            assert len(payload) <= 40
            read += frames.encode(kind, payload)
    except frames.FrameError:
        with pytest.raises(frames.FrameError):  # final
            reader.next_frame()
    assert data.startswith(read)
    assert reader.pending == len(data) - len(read)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"G", "unknown type 71 (first bytes 47)"),
        (b"GET / HTTP/1.1\r\n", "unknown type 71 (first bytes 47 45 54 20 2f 20 48 54)"),
        (b"\x10\0\x01\0", "bytes 1-3 of the CALL header are 00 01 00, they must be zero"),
        (b"\x00\0\0\0\0\x10\0\x01", "STDIN frame of 1048577 bytes is longer than the 1048576 allowed"),
    ],
)
def test_a_refusal_says_what_was_wrong_and_stays(data, said):
    reader = frames.FrameReader()
    reader.feed(frames.encode(frames.EXIT, bytes(4)) + data)
    assert reader.next_frame() == (frames.EXIT, bytes(4))
    for _ in range(2):
        with pytest.raises(frames.FrameError, match=re.escape(said)):
            reader.next_frame()
    left, right = socket.socketpair()
    with left, right, pytest.raises(frames.FrameError):
        reader.recv(left.fileno())


def test_max_payload_is_the_readers_choice():
    reader = frames.FrameReader(max_payload=10)
    reader.feed(frames.encode(frames.CALL, bytes(10)))
    assert reader.next_frame() == (frames.CALL, bytes(10))
    reader.feed(frames.header(frames.CALL, 11))
    with pytest.raises(frames.FrameError, match="CALL frame of 11 bytes is longer than the 10 allowed"):
        reader.next_frame()
    with pytest.raises(ValueError, match="a frame holds at most 1048576"):
        frames.FrameReader(max_payload=(1 << 20) + 1)


@pytest.mark.parametrize(
    ("cut", "said"),
    [(1, "inside a frame's header, after 1 of 8"), (11, "inside a STDOUT frame, after 3 of 5 bytes")],
)
def test_the_end_inside_a_frame_is_an_error(cut, said):
    left, right = socket.socketpair()
    reader = frames.FrameReader()
    with left, right:
        right.sendall(frames.encode(frames.STDOUT, b"abcde")[:cut])
        right.shutdown(socket.SHUT_WR)
        assert reader.recv(left.fileno()) == cut
        assert reader.next_frame() is None
        with pytest.raises(frames.FrameError, match=said):
            reader.recv(left.fileno())


def test_the_end_between_frames_is_zero():
    left, right = socket.socketpair()
    reader = frames.FrameReader()
    with left, right:
        frames.write_frame(right.fileno(), frames.EXIT, bytes(4))
        right.shutdown(socket.SHUT_WR)
        reader.recv(left.fileno())
        assert reader.recv(left.fileno()) == 0  # what has arrived is still there
        assert list(reader) == [(frames.EXIT, bytes(4))]
        assert reader.recv(left.fileno()) == 0


def test_recv_on_a_nonblocking_socket_does_not_wait():
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        with pytest.raises(BlockingIOError):
            frames.FrameReader().recv(left.fileno())


def test_recv_buffers_a_bounded_amount():
    left, right = socket.socketpair()
    reader = frames.FrameReader()
    with left, right:
        right.setblocking(False)
        flood = frames.encode(frames.STDIN, bytes(1000)) * 200
        with pytest.raises(BufferError, match="take them out"):
            while True:
                try:
                    right.send(flood)
                except BlockingIOError:
                    pass
                reader.recv(left.fileno())
        assert reader.pending <= 64 * 1024
        taken = list(reader)
        assert all(frame == (frames.STDIN, bytes(1000)) for frame in taken)
        assert reader.recv(left.fileno()) > 0


@pytest.mark.parametrize("blocking", [True, False])
def test_the_largest_frame_crosses_a_socket(blocking):
    left, right = socket.socketpair()
    payload = os.urandom(1 << 20)
    reader = frames.FrameReader()
    with left, right:
        right.setblocking(blocking)
        writer = threading.Thread(target=frames.write_frame, args=(right.fileno(), frames.STDIN, payload))
        writer.start()
        while (frame := reader.next_frame()) is None:
            assert reader.recv(left.fileno()) > 0
        writer.join()
        assert frame == (frames.STDIN, payload)
        assert reader.pending == 0


@pytest.mark.parametrize("blocking", [True, False])
def test_many_frames_cross_a_socket_in_order(blocking):
    payloads = [b"%d" % number * (number % 700) for number in range(3000)]
    left, right = socket.socketpair()
    reader = frames.FrameReader()
    received: list[tuple[int, bytes]] = []
    with left, right:
        right.setblocking(blocking)
        writer = threading.Thread(target=frames.write_frames, args=(right.fileno(), frames.STDERR, payloads))
        writer.start()
        while len(received) < len(payloads):
            assert reader.recv(left.fileno()) > 0
            received += reader
        writer.join()
    assert received == [(frames.STDERR, payload) for payload in payloads]


def test_write_frames_refuses_what_cannot_be_sent():
    out, into = os.pipe()
    frames.write_frames(into, frames.STDOUT, [])
    with pytest.raises(frames.FrameError, match="1048577 bytes is longer"):
        frames.write_frames(into, frames.STDOUT, [bytes((1 << 20) + 1)])
    for wrong in (None, "text", 3):
        with pytest.raises(TypeError):
            frames.write_frames(into, frames.STDOUT, [wrong])  # type: ignore[list-item]
    frames.write_frames(into, frames.STDOUT, [b"by pipe"])
    assert os.read(out, 100) == frames.encode(frames.STDOUT, b"by pipe")
    os.close(out)
    with pytest.raises(BrokenPipeError):
        frames.write_frames(into, frames.STDOUT, [b"nobody there"])
    os.close(into)


def test_a_stream_of_large_frames_is_whole():
    payloads = [os.urandom(size) for size in (70_000, 1 << 20, 3, 65_536, 0, 300_000, 65_528)]
    left, right = socket.socketpair()
    reader = frames.FrameReader()
    received: list[tuple[int, bytes]] = []
    with left, right:
        writer = threading.Thread(target=frames.write_frames, args=(right.fileno(), frames.STDIN, payloads * 3))
        writer.start()
        while len(received) < 3 * len(payloads):
            assert reader.recv(left.fileno()) > 0
            received += reader
        writer.join()
    assert [payload for _, payload in received] == payloads * 3


@pytest.mark.parametrize("payload", [b"bytes", bytearray(b"bytes"), memoryview(b"bytes")])
def test_anything_with_a_buffer_is_a_payload(payload):
    assert frames.encode(frames.STDOUT, payload) == b"\x01\0\0\0\0\0\0\x05bytes"
    for wrong in ("text", None, 3):
        with pytest.raises(TypeError):
            frames.encode(frames.STDOUT, wrong)  # type: ignore[arg-type]


def test_write_frame_to_a_pipe_and_to_nobody():
    out, into = os.pipe()
    frames.write_frame(into, frames.NOTICE, b"by pipe")
    reader = frames.FrameReader()
    reader.recv(out)
    assert reader.next_frame() == (frames.NOTICE, b"by pipe")
    os.close(out)
    with pytest.raises(BrokenPipeError):
        frames.write_frame(into, frames.NOTICE, b"nobody there")
    os.close(into)
    left, right = socket.socketpair()
    left.close()
    with right, pytest.raises(BrokenPipeError):
        frames.write_frame(right.fileno(), frames.NOTICE, b"nobody there")


def test_a_frame_may_come_from_any_buffer():
    assert frames.encode(frames.STDIN, bytearray(b"ab")) == frames.encode(frames.STDIN, memoryview(b"ab"))
    with pytest.raises(TypeError):
        frames.encode(frames.STDIN, "text")  # type: ignore[arg-type]
