# SPDX-License-Identifier: Apache-2.0
"""Where a container is in its life, and how it ended.

A State is one run's: a container that is started again gets a new one, and who waits for the end of a run keeps that
run's. An end that nobody saw is unknown, with the reason, never a number.
"""

from __future__ import annotations

import asyncio
import enum
import json
from dataclasses import dataclass, field
from typing import Any

from pyrt.container.config import MOST_SECONDS
from pyrt.errors import ConflictError


class Status(enum.Enum):
    CREATED = "created"  # it has never run
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    LOST = "lost"  # it ended, and how is not known
    DAMAGED = "damaged"  # its files cannot be read; it can only be removed


# Within a run. A start that fails puts the state back that was there before it; a start begins a state of its own.
_NEXT = {
    Status.CREATED: set[Status](),
    Status.STARTING: {Status.RUNNING, Status.LOST},
    Status.RUNNING: {Status.EXITED, Status.LOST},
    Status.EXITED: set(),
    Status.LOST: set(),
    Status.DAMAGED: set(),
}
_WORDS = {status: str(status.value).capitalize() for status in Status}
STARTABLE = frozenset((Status.CREATED, Status.EXITED, Status.LOST))


# Of code and signal one is a number and the other null.
_EXIT_TYPES = [
    {
        "run": str,
        "started_at": float,
        "code": code,
        "signal": signal,
        "oom": bool,
        "timed_out": bool,
        "finished_at": float,
    }
    for code, signal in ((int, type(None)), (type(None), int))
]


@dataclass(slots=True, eq=False)
class State:
    """The state of one run. Times are seconds since the epoch; `reason` says why a LOST one is lost."""

    status: Status = Status.CREATED
    run: str = ""  # which run, as config.json, started.json and exit.json name it
    pid: int = 0  # the first process, as the host sees it
    group: str = ""  # what its cgroups are called
    link: str = ""  # the host's side of its veth
    started_at: float = 0.0
    finished_at: float = 0.0
    code: int | None = None
    signal: int | None = None
    oom_killed: bool = False
    timed_out: bool = False
    paused: bool = False
    reason: str = ""
    early_exit: dict[str, Any] | None = None  # its end, heard of before the reply to its start
    closed: asyncio.Event = field(default_factory=asyncio.Event)  # nobody reads this run's output any more

    def _move(self, status: Status) -> None:
        if status not in _NEXT[self.status]:
            raise ConflictError(f"a container that is {self.status.value} cannot become {status.value}")
        self.status = status

    def set_running(self, facts: dict[str, Any]) -> None:
        self._move(Status.RUNNING)
        self.take_over(facts)

    def take_over(self, facts: dict[str, Any]) -> None:
        """Learn from the supervisor what it knows of a running container (RunningContainer.describe)."""
        self.pid, self.started_at, self.paused = facts["pid"], facts["started_at"], facts["paused"]
        self.group, self.link = facts["group"], facts["link"]

    def set_exited(self, record: dict[str, Any]) -> None:
        """Take over what the supervisor recorded (exit.json)."""
        self._move(Status.EXITED)
        self.pid, self.paused = 0, False
        self.started_at, self.finished_at = record["started_at"], record["finished_at"]
        self.code, self.signal = record["code"], record["signal"]
        self.oom_killed, self.timed_out = record["oom"], record["timed_out"]

    def set_lost(self, reason: str) -> None:
        self._move(Status.LOST)
        self.pid, self.paused = 0, False
        self.reason = reason

    def set_ended(self, found: State) -> None:
        """Take over what was found out later about the end of this run."""
        self._move(found.status)
        self.pid, self.paused = 0, False
        for name in ("finished_at", "code", "signal", "oom_killed", "timed_out", "reason"):
            setattr(self, name, getattr(found, name))
        self.closed.set()

    @classmethod
    def exited(cls, record: dict[str, Any]) -> State:
        """Return the state of a run that ended as this record says, and that nobody watches any more."""
        state = cls(Status.RUNNING, record["run"])
        state.set_exited(record)
        state.closed.set()
        return state

    @classmethod
    def lost(cls, run: str, reason: str, *, started_at: float = 0.0) -> State:
        """Return the state of a run whose end nobody saw."""
        state = cls(Status.LOST, run, started_at=started_at, reason=reason)
        state.closed.set()
        return state

    @property
    def starting(self) -> bool:
        return self.status is Status.STARTING

    @property
    def running(self) -> bool:
        return self.status is Status.RUNNING

    @property
    def active(self) -> bool:
        """It runs, or is about to."""
        return self.starting or self.running

    @property
    def exit_status(self) -> int | None:
        """The exit code, 128 + n for signal n, or None for one that is not known."""
        if self.signal is not None:
            return 128 + self.signal
        return self.code

    @property
    def condition(self) -> str:
        """The status in one word: that of the enum, or `paused`."""
        return "paused" if self.paused else self.status.value

    def describe(self, duration: str) -> str:
        """The STATUS column of `ps`. `duration` is how long it has been running, in words."""
        if self.status is Status.RUNNING:
            return f"Up {duration} (Paused)" if self.paused else f"Up {duration}"
        if self.status is Status.EXITED:
            return f"Exit {self.exit_status}"
        return _WORDS[self.status]

    @property
    def comment(self) -> str:
        """The COMMENT column of `ps`: what the exit status alone does not tell."""
        if self.oom_killed:
            return "out of memory"
        return "timed out" if self.timed_out else self.reason


def load_exit(data: bytes) -> dict[str, Any]:
    """Check the bytes of an exit.json. Raises ValueError for what no supervisor wrote."""
    try:
        record = json.loads(data)
    except RecursionError:
        record = None
    if not isinstance(record, dict) or {name: type(value) for name, value in record.items()} not in _EXIT_TYPES:
        raise ValueError("not an exit record")
    if not (0 <= (record["code"] or 0) <= 255 and 1 <= (record["signal"] or 1) <= 64):
        raise ValueError("not an exit status")
    if not (_is_time(record["started_at"]) and _is_time(record["finished_at"])):
        raise ValueError("not a time")
    return record


def load_start(data: bytes) -> tuple[str, float]:
    """Read the bytes of a started.json: which run, and when. Raises ValueError for what no supervisor wrote."""
    try:
        record = json.loads(data)
    except RecursionError:
        record = None
    match record:
        case {"run": str(run), "started_at": float(started_at)} if run and _is_time(started_at):
            return run, started_at
    raise ValueError("not the record of a start")


def _is_time(seconds: float) -> bool:
    return 0 <= seconds < MOST_SECONDS
