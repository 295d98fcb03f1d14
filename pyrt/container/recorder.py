# SPDX-License-Identifier: Apache-2.0
"""Recorder: what the supervisor leaves on the disk of each run, before it tells anybody: its beginning and its end."""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path

from pyrt.container.loop import READ, Loop
from pyrt.container.process import ExitRecord
from pyrt.durable import write_atomically, write_durably

EXIT_FILE = "exit.json"
START_FILE = "started.json"

logger = logging.getLogger("pyrt.supervisor")


class Recorder:
    """Writes exit records durably in a thread of its own: an fsync must not hold up anybody's start or output."""

    def __init__(self, root: Path, loop: Loop) -> None:
        self._containers = root / "containers"
        self._work: queue.SimpleQueue[tuple[Path, bytes, Callable[[], None]]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._event_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        loop.watch(self._event_fd, READ, self._on_done)
        threading.Thread(target=self._run, name="recorder", daemon=True).start()

    def write_start(self, container_id: str, run: str, started_at: float) -> None:
        """Leave word that this run began: a daemon that finds neither it nor its end knows that it was lost.

        At once, and not durably: after a reboot it is lost either way.
        """
        path = self._containers / container_id / START_FILE
        try:
            write_atomically(path, json.dumps({"run": run, "started_at": started_at}).encode())
        except OSError as error:
            logger.error("cannot record a start: %s: %s", path, error.strerror)

    def write_exit(self, container_id: str, record: ExitRecord, then: Callable[[], None]) -> None:
        """Have the end of a run put on the disk, and then (in the loop) `then` called, whether that worked or not."""
        self._work.put((self._containers / container_id / EXIT_FILE, json.dumps(record).encode(), then))

    def _run(self) -> None:
        while True:
            path, data, then = self._work.get()
            try:
                write_durably(path, data)
            except OSError as error:  # a full disk: the status is still told to whoever listens now
                logger.error("cannot record an exit: %s: %s", path, error.strerror)
            self._done.put(then)
            os.eventfd_write(self._event_fd, 1)

    def _on_done(self) -> None:
        os.eventfd_read(self._event_fd)
        while not self._done.empty():
            self._done.get()()
