# SPDX-License-Identifier: Apache-2.0
"""A TCP peer that has vanished, as opposed to one that is slow, in a network of the test's own with a wall in it."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrt.container.peer import has_vanished, may_vanish
from tests.networks import network, run_in
from tests.processes import wait_until

CLONE_NEWNET = 0x40000000
CUT = "table inet cut { chain input { type filter hook input priority 0; tcp dport %d drop; tcp sport %d drop; }; }"


@pytest.fixture
def netns() -> Iterator[Path]:
    with network() as path:
        yield path


def connect(netns: Path) -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection in a network namespace."""
    paths = ("/proc/thread-self/ns/net", netns)
    home, there = (os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths)
    try:
        enter(there)
        try:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                near = socket.create_connection(listener.getsockname())
                return near, listener.accept()[0]
        finally:
            enter(home)
    finally:
        os.close(home)
        os.close(there)


def enter(netns_fd: int) -> None:
    """Move this thread alone."""
    if ctypes.CDLL(None, use_errno=True).setns(netns_fd, CLONE_NEWNET) < 0:
        raise OSError(ctypes.get_errno(), "setns")


def fill(sock: socket.socket) -> None:
    """Send as much as it takes."""
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            sock.send(bytes(65536))


def probes(sock: socket.socket) -> int:
    """How often the kernel has asked whether the window is open, in all: a closed one doubles the pause (backoff)."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[4]


@pytest.mark.root
def test_one_that_does_not_read_is_there_and_one_behind_a_wall_is_not(netns: Path) -> None:
    near, far = connect(netns)
    with near, far:
        assert may_vanish(near) and not has_vanished(near, unheard_ms=0)
        fill(near)
        wait_until(lambda: probes(near) >= 2, what="the kernel asking for room")
        assert not has_vanished(near, unheard_ms=0), "it answers"
        port = far.getsockname()[1]
        run_in(netns, "nft", CUT % (port, port))
        wait_until(lambda: has_vanished(near, unheard_ms=1000), seconds=30, what="its silence being noticed")
        assert not has_vanished(near), "not before its two minutes are over"
        # nobody would acknowledge its end
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_local_socket_cannot_vanish() -> None:
    left, right = socket.socketpair()
    with left, right:
        assert not may_vanish(left) and not has_vanished(left)
