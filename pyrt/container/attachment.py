# SPDX-License-Identifier: Apache-2.0
"""A client connected to a container: the way in. The way out is the broadcaster's, which alone writes to the socket."""

from __future__ import annotations

import signal
import socket
import struct
from collections.abc import Callable
from typing import Protocol

from pyrt.container import peer
from pyrt.container.loop import READ, Loop, Timer
from pyrt.container.stdin import Feed
from pyrt.core import frames

LINGER_S = 5.0  # how long a client may take to read its last bytes and hang up
WINDOW_BYTES = 1 << 20  # how much of a client's stdin may be under way, or wait here for the container to read it


class Target(Protocol):
    """What a client may do to its container."""

    def resize(self, rows: int, columns: int) -> None: ...

    def deliver(self, number: int) -> None: ...

    def grant(self, attachment: Attachment, total_bytes: int) -> None:
        """Let the client send its stdin up to so many bytes, counted from the first."""
        ...


class Attachment:
    """Reads a client's STDIN, RESIZE, SIGNAL and DETACH frames. Owns the socket.

    The socket is always read, so that no signal waits behind stdin that the container does not read. What keeps memory
    flat is credit: WINDOW_BYTES at first, more as the container reads, and a client that sends more has broken the
    protocol.

    `on_gone` is called once, when the client has hung up, detached, or sent what is not a frame.
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        target: Target,
        stdin: Feed | None,
        on_gone: Callable[[Attachment], None],
    ) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.reader_id = -1
        self.owner = True  # the client that started the process: when nobody reads its output, the process hears of it
        self._loop = loop
        self._target = target
        self._stdin = stdin
        self._received = 0  # bytes of stdin, ever
        self._granted = WINDOW_BYTES
        self._on_gone = on_gone
        self.detached = False
        self._frames = frames.FrameReader()
        self._leaving = False
        self._linger: Timer | None = None
        self._looking: Timer | None = None
        if stdin is not None:
            stdin.on_room = self._on_room
        self._listen()
        if peer.may_vanish(sock):
            self._looking = loop.call_later(peer.LOOK_S, self._look)

    def finish(self) -> None:
        """The client has been sent everything, and hangs up when it has read that.

        What it still says counts for nothing. (Closing now could cost it the end: TCP resets a connection that is
        closed with bytes unread.)
        """
        self._leaving = True
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self._listen()
        self._linger = self._loop.call_later(LINGER_S, self.close)

    def close(self) -> None:
        if self.socket.fileno() < 0:
            return
        self._loop.unwatch(self.socket.fileno())
        self.socket.close()
        if self._linger is not None:
            self._linger.cancel()  # it would keep all this for seconds
        if self._looking is not None:
            self._looking.cancel()
        if self._stdin is not None:
            self._stdin.leave()

    def _listen(self) -> None:
        if self.socket.fileno() >= 0:
            self._loop.watch(self.socket.fileno(), READ, self._on_readable)

    def _look(self) -> None:
        """See now and then whether the client's host is there: the kernel takes a quarter of an hour to give it up."""
        if peer.has_vanished(self.socket):
            self._gone()
        else:
            self._looking = self._loop.call_later(peer.LOOK_S, self._look)

    def hear_out(self) -> None:
        """The client has hung up: take what it said last, a signal perhaps, and close."""
        while self._read():
            pass
        self._gone()

    def _gone(self) -> None:
        if self._stdin is not None and not self.detached and self.socket.fileno() >= 0:
            self._stdin.hang_up()
        self.close()
        if not self._leaving:
            self._leaving = True
            self._on_gone(self)

    def _on_readable(self) -> None:
        self._read()

    def _on_room(self) -> None:
        """Grant what there is room for, half a window at a time: a CREDIT for each key would be too many."""
        if self._stdin is None or self._leaving:
            return
        total = self._received + WINDOW_BYTES - self._stdin.pending_bytes
        if total - self._granted >= WINDOW_BYTES // 2:
            self._granted = total
            self._target.grant(self, total)

    def _read(self) -> bool:
        """Take in what has arrived; False when that was nothing, or the end."""
        if self.socket.fileno() < 0:
            return False
        try:
            if self._frames.recv(self.socket.fileno()) == 0:
                self._gone()
                return False
            for kind, payload in self._frames:
                if not self._leaving:
                    self._take(kind, payload)
        except BlockingIOError:
            return False
        except (OSError, frames.FrameError, struct.error):
            self._gone()
            return False
        return True

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == frames.STDIN:
            if self._stdin is None:
                return
            if not payload:
                self._stdin.end()
                return
            self._received += len(payload)
            if self._received > self._granted:
                raise frames.FrameError(f"{self._received} bytes of stdin, and credit for {self._granted}")
            self._stdin.write(payload)
            self._on_room()
        elif kind == frames.RESIZE:
            self._target.resize(*struct.unpack(">HH", payload))
        elif kind == frames.SIGNAL:
            (number,) = struct.unpack(">I", payload)
            if not 0 < number < signal.NSIG:
                raise frames.FrameError(f"{number} is no signal")
            if number != signal.SIGPIPE or self.owner:
                self._target.deliver(number)
        elif kind == frames.DETACH:
            self.detached = True
            self._gone()
        else:
            raise frames.FrameError(f"a frame of type {kind} from a client that streams")
