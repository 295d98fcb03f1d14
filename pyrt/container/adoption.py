# SPDX-License-Identifier: Apache-2.0
"""Learning anew what became of the containers: from the supervisor what runs, from the disk what has ended.

A daemon does it when it starts, and when the supervisor has ended under it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyrt.container.channel import Message
from pyrt.container.config import Record
from pyrt.container.container import Container
from pyrt.container.state import State, Status, load_exit, load_start
from pyrt.container.supervision import SupervisorLostError

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime


async def reconcile(runtime: Runtime) -> None:
    """Agree with the supervisor on what runs; whatever does not has ended, and how is on the disk, or it is lost."""
    live: dict[str, Message] = {}
    closing: dict[str, list[str]] = {}
    if runtime.supervision.connected or await runtime.supervision.connect(start=False):
        try:
            reply = await runtime.supervision.ask("list", {})
            live, closing = reply["containers"], reply["closing"]
        except SupervisorLostError:
            pass
    for container in list(runtime.containers.values()):
        if container.state.starting:
            continue  # its own request hears of it
        if (found := live.get(container.id)) is not None:
            if not container.state.running:
                container.state = State(Status.RUNNING, found["run"], reason=container.damaged)
                container.state.take_over(found)
                runtime.network.set_link(container.id, found["link"])
        elif container.state.status in (Status.CREATED, Status.RUNNING):
            await _settle(runtime, container, being_read=container.record.run in closing.get(container.id, ()))


async def _settle(runtime: Runtime, container: Container, *, being_read: bool) -> None:
    """A container that does not run, and whose end this daemon has not been told."""
    state, ran = last_state(container.directory, container.record, runtime.boot_id), container.state
    runtime.release_network(container)
    if state is None or (container.record.config.auto_remove and state.status is not Status.CREATED):
        if ran.running:
            ran.set_lost("the supervisor ended")
            runtime.events.tell_end(container)
            container.wake()
        if being_read:  # it goes when its last reader does
            container.state = State.lost(container.record.run, "it has ended")
            container.state.closed.clear()
            runtime.depart(container)
        else:
            await runtime.discard(container)
        return
    if ran.running:  # who waits for its end has this very state in hand
        ran.set_ended(state if state.run == ran.run else State.lost(ran.run, "the supervisor ended"))
        container.wake()
        runtime.events.tell_end(container)
        return
    container.state = state
    if being_read:
        state.closed.clear()


def last_state(directory: Path, record: Record, boot_id: str) -> State | None:
    """Tell from its files what became of a container that does not run. None: nobody was told that there is one.

    What cannot be read is never taken for what is not there: a container is given up only where its files say that its
    first start did not come to anything.
    """
    if not record.run:
        return State()
    ended, ended_unreadable = _exit_of(directory)
    if ended is not None and ended["run"] == record.run:
        return State.exited(ended)
    began, started_at, began_unreadable = _start_of(directory)
    if began == record.run or began_unreadable:
        return State.lost(record.run, ended_unreadable or _reason(record, boot_id), started_at=started_at)
    if record.boot_id != boot_id:  # that the start was written down may be lost with what was not synced
        return State.lost(record.run, ended_unreadable or _reason(record, boot_id))
    # This start never began: what counts is what was before it.
    if began:
        if ended is not None and ended["run"] == began:
            return State.exited(ended)
        return State.lost(began, ended_unreadable or "the supervisor ended", started_at=started_at)
    return State() if record.kept else None


def _reason(record: Record, boot_id: str) -> str:
    return "the supervisor ended" if record.boot_id == boot_id else "the host was rebooted"


def _exit_of(directory: Path) -> tuple[Message | None, str]:
    """What exit.json says, or why it cannot be read."""
    try:
        return load_exit((directory / "exit.json").read_bytes()), ""
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError):
        return None, "exit.json is damaged"


def _start_of(directory: Path) -> tuple[str, float, bool]:
    """Which run started.json says began, and when ("" for none); whether it cannot be read."""
    try:
        return *load_start((directory / "started.json").read_bytes()), False
    except FileNotFoundError:
        return "", 0.0, False
    except (OSError, ValueError):
        return "", 0.0, True
