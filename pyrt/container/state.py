# SPDX-License-Identifier: Apache-2.0
"""Where a container is in its life, and how it ended.

An end that nobody saw is unknown, with the reason, never a number.
"""

from __future__ import annotations

import enum
import json
import time
from dataclasses import dataclass
from typing import Any

from pyrt.errors import ConflictError


class Status(enum.Enum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    LOST = "lost"  # it ended, and how is not known
    DAMAGED = "damaged"  # its files cannot be read; it can only be removed


_NEXT = {
    Status.CREATED: {Status.RUNNING, Status.EXITED, Status.LOST},
    Status.RUNNING: {Status.EXITED, Status.LOST},
    Status.EXITED: {Status.RUNNING},
    Status.LOST: {Status.RUNNING},
    Status.DAMAGED: set(),
}


# Of code and signal one is a number and the other null.
_EXIT_TYPES = [
    {"code": code, "signal": signal, "oom": bool, "timed_out": bool, "finished_at": float}
    for code, signal in ((int, type(None)), (type(None), int))
]


@dataclass(slots=True)
class State:
    """A container's state. Times are seconds since the epoch; `reason` says why a LOST one is lost."""

    status: Status = Status.CREATED
    pid: int = 0
    started_at: float = 0.0
    finished_at: float = 0.0
    code: int | None = None
    signal: int | None = None
    oom_killed: bool = False
    timed_out: bool = False
    reason: str = ""

    def _move(self, status: Status) -> None:
        if status not in _NEXT[self.status]:
            raise ConflictError(f"a container that is {self.status.value} cannot become {status.value}")
        self.status = status

    def set_running(self, *, pid: int, started_at: float) -> None:
        self._move(Status.RUNNING)
        self.pid, self.started_at = pid, started_at

    def set_exited(self, record: dict[str, Any]) -> None:
        """Take over what the supervisor recorded (exit.json)."""
        self._move(Status.EXITED)
        self.pid = 0
        self.code, self.signal = record["code"], record["signal"]
        self.oom_killed, self.timed_out = record["oom"], record["timed_out"]
        self.finished_at = record["finished_at"]

    def set_lost(self, reason: str) -> None:
        self._move(Status.LOST)
        self.pid = 0
        self.reason = reason

    @property
    def running(self) -> bool:
        return self.status is Status.RUNNING

    @property
    def exit_status(self) -> int | None:
        """The exit code, 128 + n for signal n, or None for one that is not known."""
        if self.signal is not None:
            return 128 + self.signal
        return self.code

    def describe(self, duration: str) -> str:
        """The STATUS column of `ps`. `duration` is how long it has been running, in words."""
        if self.status is Status.RUNNING:
            return f"Up {duration}"
        if self.status is Status.EXITED:
            return f"Exit {self.exit_status}"
        return str(self.status.value).capitalize()

    @property
    def comment(self) -> str:
        """The COMMENT column of `ps`: what the exit status alone does not tell."""
        if self.oom_killed:
            return "out of memory"
        return "timed out" if self.timed_out else self.reason

    def running_for_s(self) -> float:
        return max(0.0, time.time() - self.started_at)


def load_exit(data: bytes) -> dict[str, Any]:
    """Check the bytes of an exit.json. Raises ValueError for what no supervisor wrote."""
    try:
        record = json.loads(data)
    except RecursionError:
        record = None
    if not isinstance(record, dict) or {name: type(value) for name, value in record.items()} not in _EXIT_TYPES:
        raise ValueError("not an exit record")
    return record
