# SPDX-License-Identifier: Apache-2.0
"""Recorder: what the supervisor leaves on the disk of each run, before it tells anybody: its beginning and its end."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

from pyrt.container.loop import Loop
from pyrt.container.process import ExitRecord
from pyrt.container.worker import Worker
from pyrt.durable import write_atomically, write_durably

EXIT_FILE = "exit.json"
START_FILE = "started.json"

logger = logging.getLogger("pyrt.supervisor")


class Recorder:
    """Writes exit records durably in a thread of its own: an fsync must not hold up anybody's start or output."""

    def __init__(self, root: Path, loop: Loop) -> None:
        self._containers = root / "containers"
        self._worker = Worker(loop, "recorder")

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
        path, data = self._containers / container_id / EXIT_FILE, json.dumps(record).encode()
        self._worker.do(lambda: _write_exit(path, data), then)


def _write_exit(path: Path, data: bytes) -> None:
    try:
        write_durably(path, data)
    except OSError as error:  # a full disk: the status is still told to whoever listens now
        logger.error("cannot record an exit: %s: %s", path, error.strerror)
