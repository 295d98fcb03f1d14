# SPDX-License-Identifier: Apache-2.0
"""What clients type, on its way into a container: never blocking, and in memory never more than they may send."""

from __future__ import annotations

import os
from collections.abc import Callable

from pyrt.container.loop import WRITE, Loop

END_OF_TRANSMISSION = b"\x04"  # what a terminal takes for the end of its input


class Stdin:
    """The writing end of a process's stdin: a pipe, or a terminal's master. Owns its descriptor.

    Clients write to it through a `Feed` each. It ends when the client that started the process says that its input
    ends; when another says so, it ends with the last client that feeds it, as a pipe does with its last writer.
    """

    def __init__(self, loop: Loop, fd: int, *, terminal: bool) -> None:
        os.set_blocking(fd, False)
        self.terminal = terminal
        self._loop = loop
        self._fd = fd
        self._pending = bytearray()
        self._ending = False
        self._feeds: list[Feed] = []
        self._end_wanted = False  # by one who fed it; others still do

    @property
    def pending_bytes(self) -> int:
        """What the container has not taken yet, whoever sent it."""
        return len(self._pending)

    @property
    def open(self) -> bool:
        return self._fd >= 0 and not self._ending

    def feed(self, *, owner: bool) -> Feed:
        """Let a client write to it; the `owner` is the one that started the process."""
        feed = Feed(self, owner=owner)
        self._feeds.append(feed)
        return feed

    def write(self, data: bytes) -> None:
        if not self.open:
            return
        if not self._pending:  # nobody waits for room: a key goes straight through
            try:
                data = data[os.write(self._fd, data) :]
            except OSError:
                pass  # met again, and dealt with, below
            if not data:
                return
        self._pending += data
        self._flush()

    def end(self) -> None:
        """Close it once everything is written. A terminal stays open: it is told that its input ends."""
        self._end_wanted = False
        if not self.open:
            return
        if self.terminal:
            self.write(END_OF_TRANSMISSION)
            return
        self._ending = True
        self._flush()

    def close(self) -> None:
        if self._fd < 0:
            return
        self._loop.unwatch(self._fd)
        os.close(self._fd)
        self._fd = -1
        self._pending.clear()

    def on_feed_end(self, feed: Feed) -> None:
        """A client has said that its input ends."""
        self._end_wanted = True
        if feed.owner or all(other.ended for other in self._feeds):
            self.end()

    def on_feed_gone(self, feed: Feed) -> None:
        """A client has left."""
        self._feeds.remove(feed)
        if self._end_wanted and all(other.ended for other in self._feeds):
            self.end()

    def _flush(self) -> None:
        progress = False
        while self._pending and self._fd >= 0:
            try:
                written = os.write(self._fd, self._pending)
            except BlockingIOError:
                self._loop.watch(self._fd, WRITE, self._on_writable)
                return
            except OSError:  # EPIPE, EIO: the container reads no more, and what it does not want is not kept
                self.close()
                progress = True  # whoever feeds it goes on: behind what nobody wants may be a signal
                break
            del self._pending[:written]
            progress = True
        if self._ending:
            self.close()
        if progress:
            for feed in list(self._feeds):
                if feed.on_room is not None:
                    feed.on_room()

    def _on_writable(self) -> None:
        self._loop.unwatch(self._fd)
        self._flush()


class Feed:
    """One client's share in a process's stdin. Nothing of it ever blocks.

    While bytes are `pending` the client should pause, or at least not go on for ever; `on_room` is called whenever they
    have become fewer.
    """

    def __init__(self, stdin: Stdin, *, owner: bool) -> None:
        self.owner = owner
        self.ended = False
        self.on_room: Callable[[], None] | None = None
        self._stdin = stdin
        self._left = False

    @property
    def pending_bytes(self) -> int:
        return self._stdin.pending_bytes

    @property
    def terminal(self) -> bool:
        return self._stdin.terminal

    def write(self, data: bytes) -> None:
        if not self.ended:
            self._stdin.write(data)

    def end(self) -> None:
        """The client has sent all it will."""
        if not self.ended and not self._left:
            self.ended = True
            self._stdin.on_feed_end(self)

    def hang_up(self) -> None:
        """The client has gone without a word. That of the owner ends a pipe; a terminal waits for somebody else."""
        if self.owner and not self.terminal:
            self.end()
        self.leave()

    def leave(self) -> None:
        """The client feeds it no more, which is no end of its input. A second call does nothing."""
        if not self._left:
            self._left = True
            self.on_room = None
            self._stdin.on_feed_gone(self)
