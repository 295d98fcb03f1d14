# SPDX-License-Identifier: Apache-2.0
"""Relay: bytes between a TLS connection (or one to a host known by name) and a plain socket, until both have ended.

The client runs it as a process of its own, the daemon as a thread for each TLS connection; everybody else only ever
sees plain sockets.
"""

from __future__ import annotations

import select
import socket
import ssl
from typing import Final

from pyrt.daemon.address import TcpAddress, Tls

_CHUNK_BYTES: Final = 64 << 10
_HANDSHAKE_S: Final = 10.0
_LAST_WORDS_MS: Final = 5000  # how long the far side may take to end after the near one has


class _Way:
    """One direction: what was read from `source` and is still to be written to `target`."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        self.buffer = b""
        self.read_needs = select.POLLIN  # TLS may have to write in order to read, and the other way round
        self.write_needs = select.POLLOUT
        self.ended = False
        self.count = 0

    def move(self) -> bool:
        """Read or write once; False when nothing moved."""
        try:
            if not self.buffer and not self.ended:
                return self._read()
            if self.buffer:
                return self._write()
        except BlockingIOError:
            pass
        return False

    def _read(self) -> bool:
        try:
            self.buffer = self.source.recv(_CHUNK_BYTES)
        except ssl.SSLWantReadError:
            self.read_needs = select.POLLIN
            return False
        except ssl.SSLWantWriteError:
            self.read_needs = select.POLLOUT
            return False
        except (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError):
            self.buffer = b""
        self.ended = not self.buffer
        if self.ended:
            _end_writing(self.target)
        self.count += len(self.buffer)
        return True

    def _write(self) -> bool:
        try:
            self.buffer = self.buffer[self.target.send(self.buffer) :]
        except ssl.SSLWantWriteError:
            self.write_needs = select.POLLOUT
            return False
        except ssl.SSLWantReadError:
            self.write_needs = select.POLLIN
            return False
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
            self.buffer, self.ended = b"", True
        return True


def _end_writing(target: socket.socket) -> None:
    """Pass an end of file on. TLS knows no half-closed connection, but TCP's half-close says the same."""
    try:
        socket.socket.shutdown(target, socket.SHUT_WR)
    except OSError:
        pass


def pump(left: socket.socket, right: socket.socket) -> int:
    """Move bytes both ways until both sides have ended; return how many came from `right`.

    Never reads more than is being written (one chunk a direction). `left` is the local side: some seconds after its end
    everything ends, whatever the network does. Raises ssl.SSLError where the peer refuses us.
    """
    ways = _Way(left, right), _Way(right, left)
    left.setblocking(False)
    right.setblocking(False)
    while not all(way.ended and not way.buffer for way in ways):
        if any([way.move() for way in ways]):
            continue
        poller = select.poll()
        wanted: dict[socket.socket, int] = {}
        for way in ways:
            if way.buffer:
                wanted[way.target] = wanted.get(way.target, 0) | way.write_needs
            elif not way.ended:
                wanted[way.source] = wanted.get(way.source, 0) | way.read_needs
        for end, events in wanted.items():
            poller.register(end, events)
        left_ended = ways[0].ended and not ways[0].buffer
        if not poller.poll(_LAST_WORDS_MS if left_ended else None) and left_ended:
            break
    return ways[1].count


def terminate_tls(connection: socket.socket, plain: socket.socket, context: ssl.SSLContext) -> None:
    """Be the daemon's side of a TLS connection; `plain` is one end of a socketpair. Owns and closes both.

    Raises OSError (ssl.SSLError) where the client does not prove who it is.
    """
    with plain, connection:
        connection.settimeout(_HANDSHAKE_S)
        with context.wrap_socket(connection, server_side=True) as secured:
            pump(plain, secured)


def connect(address: TcpAddress, tls: Tls | None, plain: socket.socket) -> str | None:
    """Be the client's side: connect, relay until the end; return why it failed, where it did."""
    try:
        context = tls.context(server=False) if tls else None
        connection = socket.create_connection((address.host, address.port), timeout=_HANDSHAKE_S)
    except (OSError, UnicodeError) as error:
        return f"cannot reach the pyrt daemon at {address}: {_reason(error)}"
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if context is None:
                pump(plain, connection)
                return None
            with context.wrap_socket(connection, server_hostname=address.host) as secured:
                # with TLS 1.3 a refused client learns it only now, in place of the first answer
                answered = pump(plain, secured)
                if answered:
                    return None
        except OSError as error:
            return f"no TLS connection to the pyrt daemon at {address}: {_reason(error)}"
    return f"the pyrt daemon at {address} refused the TLS connection"


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
