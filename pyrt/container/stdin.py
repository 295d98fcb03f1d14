# SPDX-License-Identifier: Apache-2.0
"""What clients type, on its way into a container: never blocking, never more than a frame or two in memory."""

from __future__ import annotations

import os
from collections.abc import Callable

from pyrt.container.loop import WRITE, Loop

END_OF_TRANSMISSION = b"\x04"  # what a terminal takes for the end of its input


class Stdin:
    """The writing end of a container's stdin: a pipe, or a terminal's master. Owns its descriptor.

    `write` and `end` never block; while `full`, whoever feeds it should pause, and is told through `on_room`.
    """

    def __init__(self, loop: Loop, fd: int, *, terminal: bool) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._terminal = terminal
        self._pending = bytearray()
        self._ending = False
        self.on_room: Callable[[], None] | None = None

    @property
    def full(self) -> bool:
        return bool(self._pending)

    def write(self, data: bytes) -> None:
        if self._fd < 0 or self._ending:
            return
        self._pending += data
        self._flush()

    def end(self) -> None:
        """Close it once everything is written. A terminal stays open: it is told that its input ends."""
        if self._fd < 0 or self._ending:
            return
        if self._terminal:
            self.write(END_OF_TRANSMISSION)
            return
        self._ending = True
        self._flush()

    def hang_up(self) -> None:
        """The client that fed it has gone. A pipe ends; a terminal waits for somebody else."""
        if not self._terminal:
            self.end()

    def close(self) -> None:
        if self._fd < 0:
            return
        self._loop.unwatch(self._fd)
        os.close(self._fd)
        self._fd = -1
        self._pending.clear()

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
        if progress and self.on_room is not None:
            self.on_room()

    def _on_writable(self) -> None:
        self._loop.unwatch(self._fd)
        self._flush()
