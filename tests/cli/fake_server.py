# SPDX-License-Identifier: Apache-2.0
"""A daemon that plays a script: one connection, frames by hand, so that the client is tested against bytes alone."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

STDIN, STDOUT, STDERR, NOTICE = 0, 1, 2, 3
CALL, EXIT, RESIZE, SIGNAL, DETACH, ERROR, START, ASK, OPEN, ANSWER, PACK, UNPACK, FEED, KEYS, CREDIT = range(16, 31)
WITH_STDIN, WITH_TTY, WITH_SIGNALS, WITH_CREDIT = 1, 2, 4, 8


class Peer:
    """The server's end of the client's connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(20)

    def raw(self, data: bytes) -> Peer:
        """Send bytes; like the next two it gives the peer back, so that a script can be one expression."""
        self.socket.sendall(data)
        return self

    def send(self, kind: int, payload: bytes = b"") -> Peer:
        """Send one frame."""
        return self.raw(struct.pack(">B3xI", kind, len(payload)) + payload)

    def exit(self, status: int = 0) -> Peer:
        return self.send(EXIT, struct.pack(">I", status))

    def exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise EOFError("the client left")
            data += piece
        return bytes(data)

    def receive(self) -> tuple[int, bytes]:
        """Receive one frame; EOFError where the client has left."""
        kind, length = struct.unpack(">B3xI", self.exactly(8))
        return kind, self.exactly(length)

    def expect(self, kind: int) -> bytes:
        found, payload = self.receive()
        assert found == kind, f"expected a frame of type {kind}, got {found}: {payload[:80]!r}"
        return payload

    def call(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.expect(CALL))
        return value

    def stdin(self) -> bytes:
        """Everything of stdin, to its end."""
        data = bytearray()
        while piece := self.expect(STDIN):
            data += piece
        return bytes(data)


class FakeServer:
    """Listens on a unix socket and plays `script` with the first client; `result` re-raises what it raised."""

    def __init__(self, path: Path, script: Callable[[Peer], Any]) -> None:
        self.address = f"unix://{path}"
        self._script = script
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(20)
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            connection, _ = self._listener.accept()
            with connection:
                self._value = self._script(Peer(connection))
        except BaseException as error:
            self._error = error
        finally:
            self._listener.close()

    def result(self) -> Any:
        """Wait for the script's end; what it returned."""
        self._thread.join(30)
        assert not self._thread.is_alive(), "the script did not end"
        if self._error:
            raise self._error
        return self._value
