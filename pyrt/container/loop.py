# SPDX-License-Identifier: Apache-2.0
"""The supervisor's event loop: descriptors, timers, and nothing else."""

from __future__ import annotations

import heapq
import itertools
import logging
import select
import time
from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
END = 0  # the peer has hung up, which is always waited for

logger = logging.getLogger(__name__)


class Timer:
    """A callback due at a moment of CLOCK_MONOTONIC; `cancel` at any time before."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Loop:
    """Level-triggered epoll. A callback that raises is logged and costs nobody else anything. Single-threaded."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._running = False

    def watch(self, fd: int, events: int, callback: Callable[[], None]) -> None:
        """Call back while fd is ready (or hung up). Watching a watched fd changes what is waited for."""
        if fd in self._callbacks:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def unwatch(self, fd: int) -> None:
        """Stop watching fd; to be called before it is closed. Harmless when it is not watched."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._order), timer))
        return timer

    def run(self) -> None:
        self._running = True
        while self._running:
            for fd, _ in self._epoll.poll(self._timeout()):
                callback = self._callbacks.get(fd)
                if callback is not None:  # not unwatched by an earlier callback of the same round
                    self._call(callback)
            while self._timers and self._timers[0][0] <= time.monotonic():
                timer = heapq.heappop(self._timers)[2]
                if timer.callback is not None:
                    self._call(timer.callback)
        self._epoll.close()

    def stop(self) -> None:
        self._running = False

    def _timeout(self) -> float:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1

    @staticmethod
    def _call(callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:
            logger.exception("in %r", callback)
