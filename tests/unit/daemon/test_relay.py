# SPDX-License-Identifier: Apache-2.0
"""The relay's pump: every byte both ways at once, and an end when the local side has ended."""

from __future__ import annotations

import hashlib
import os
import socket
import threading

from pyrt.daemon.relay import pump

PIECE = os.urandom(1 << 20)
COUNT = 20


def send(connection: socket.socket) -> None:
    for _ in range(COUNT):
        connection.sendall(PIECE)
    connection.shutdown(socket.SHUT_WR)


def digest(connection: socket.socket) -> str:
    found = hashlib.sha256()
    while data := connection.recv(1 << 18):
        found.update(data)
    return found.hexdigest()


def test_both_ways_at_once() -> None:
    local, left = socket.socketpair()
    right, far = socket.socketpair()
    results: dict[str, str] = {}
    threads = [
        threading.Thread(target=send, args=[local]),
        threading.Thread(target=send, args=[far]),
        threading.Thread(target=lambda: results.update(local=digest(local))),
        threading.Thread(target=lambda: results.update(far=digest(far))),
    ]
    with local, left, right, far:
        for thread in threads:
            thread.start()
        assert pump(left, right) == len(PIECE) * COUNT
        for thread in threads:
            thread.join(20)
    expected = hashlib.sha256(PIECE * COUNT).hexdigest()
    assert results == {"local": expected, "far": expected}


def test_a_local_side_that_is_gone_ends_it() -> None:
    local, left = socket.socketpair()
    right, far = socket.socketpair()
    with left, right, far:
        local.sendall(b"last words")
        local.close()
        thread = threading.Thread(target=pump, args=[left, right])
        thread.start()
        assert far.recv(100) == b"last words"
        assert far.recv(100) == b""
        far.close()
        thread.join(20)
        assert not thread.is_alive()
