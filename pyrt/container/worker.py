# SPDX-License-Identifier: Apache-2.0
"""Worker: a thread for what waits for the kernel, so that the supervisor's loop never does."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable

from pyrt.container.loop import READ, Loop

logger = logging.getLogger("pyrt.supervisor")


class Worker:
    """Does one thing after the other in a thread of its own, and reports each in the loop."""

    def __init__(self, loop: Loop, name: str) -> None:
        self._work: queue.SimpleQueue[tuple[Callable[[], object], Callable[[], object]]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._event_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        loop.watch(self._event_fd, READ, self._on_done)
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def do(self, work: Callable[[], object], then: Callable[[], object]) -> None:
        """Have `work` done in the thread, and then `then` called in the loop, also where work has raised."""
        self._work.put((work, then))

    def _run(self) -> None:
        while True:
            work, then = self._work.get()
            try:
                work()
            except Exception:
                logger.exception("in %r", work)
            self._done.put(then)
            os.eventfd_write(self._event_fd, 1)

    def _on_done(self) -> None:
        os.eventfd_read(self._event_fd)
        while not self._done.empty():
            self._done.get()()
