# SPDX-License-Identifier: Apache-2.0
"""A container's life: which ways lead where, what its end is told as, and which exit records count."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyrt.container.state import State, Status, load_exit
from pyrt.errors import ConflictError

RECORD = {"run": "5e", "started_at": 0.5, "code": 3, "signal": None, "oom": False, "timed_out": False}
RECORD["finished_at"] = 1.5


def at(status: Status) -> State:
    state = State()
    state.status = status
    return state


def move(state: State, to: Status) -> None:
    if to is Status.RUNNING:
        state.set_running({"pid": 7, "started_at": 1.0, "paused": False, "group": "g", "link": "l"})
    elif to is Status.EXITED:
        state.set_exited(RECORD)
    else:
        state.set_lost("the supervisor ended")


LEGAL = {
    (Status.STARTING, Status.RUNNING),
    (Status.STARTING, Status.LOST),
    (Status.RUNNING, Status.EXITED),
    (Status.RUNNING, Status.LOST),
}


@pytest.mark.parametrize("before", Status)
@pytest.mark.parametrize("after", [Status.RUNNING, Status.EXITED, Status.LOST])
def test_every_way_from_state_to_state(before: Status, after: Status) -> None:
    state = at(before)
    if (before, after) in LEGAL:
        move(state, after)
        assert state.status is after
        return
    with pytest.raises(ConflictError, match=f"{before.value} cannot become {after.value}"):
        move(state, after)
    assert state.status is before and state.pid == 0, "a refused change changes nothing"


@pytest.mark.parametrize(
    ("code", "signal", "status"), [(0, None, 0), (255, None, 255), (None, 9, 137), (None, 15, 143), (None, 64, 192)]
)
def test_exit_status(code: int | None, signal: int | None, status: int) -> None:
    state = at(Status.RUNNING)
    state.set_exited({**RECORD, "code": code, "signal": signal})
    assert state.exit_status == status and state.pid == 0 and not state.running
    assert state.describe("an hour") == f"Exit {status}"


def test_what_is_not_known_is_not_told_as_a_number() -> None:
    state = at(Status.RUNNING)
    assert state.describe("2 minutes") == "Up 2 minutes"
    state.set_lost("the host was rebooted")
    assert (state.exit_status, state.describe(""), state.comment) == (None, "Lost", "the host was rebooted")


def test_what_the_status_alone_does_not_tell() -> None:
    for fields, comment in (({"oom": True}, "out of memory"), ({"timed_out": True}, "timed out"), ({}, "")):
        state = at(Status.RUNNING)
        state.set_exited({**RECORD, **fields})
        assert state.comment == comment


def test_exit_record() -> None:
    assert load_exit(json.dumps(RECORD).encode()) == RECORD
    killed = {**RECORD, "code": None, "signal": 9}
    assert load_exit(json.dumps(killed).encode()) == killed


WRONG: list[Any] = [
    *(None, 1, "x", [], {}, {**RECORD, "more": 1}, {**RECORD, "code": "3"}, {**RECORD, "code": None}),
    *({**RECORD, "run": 1}, {**RECORD, "started_at": None}),
    *({**RECORD, "signal": 9}, {**RECORD, "oom": 1}, {**RECORD, "finished_at": "now"}, {**RECORD, "code": True}),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_no_supervisor_wrote(wrong: Any) -> None:
    with pytest.raises(ValueError):
        load_exit(json.dumps(wrong).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"\0" * 100, b"[" * 100_000])
def test_an_exit_record_that_is_no_json(data: bytes) -> None:
    with pytest.raises(ValueError):
        load_exit(data)
