# SPDX-License-Identifier: Apache-2.0
"""Starting a container, for the first time or again.

State first, then act: the record of the new run is written before the supervisor hears of it. From then on the disk
says at each moment what became of it:

    config.json names the run   started.json names it   exit.json names it
    yes                         no                      no                    it never began: what was before counts
    yes                         yes                     no                    it runs, or was lost
    yes                         (yes)                   yes                   it has ended like that

The supervisor writes the other two, each before it tells anybody, so the end of an earlier run is never taken for the
end of this one; see `pyrt.container.adoption`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import secrets
import shutil
import signal
import socket
from typing import TYPE_CHECKING

from pyrt.container import launching
from pyrt.container.channel import Message
from pyrt.container.container import Container
from pyrt.container.state import State
from pyrt.container.supervision import SupervisorSilentError
from pyrt.errors import PyrtError

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime

logger = logging.getLogger("pyrt.runtime")


@dataclasses.dataclass(frozen=True, slots=True)
class Viewer:
    """Who sees a start: a terminal's size, and the connection (borrowed) its output goes to, if it goes anywhere."""

    size: tuple[int, int] = (24, 80)
    client: socket.socket | None = None
    stdin: bool = True  # what the client sends is the container's standard input, if that is open
    raw: bool = False  # the client speaks no frames


def new_run() -> str:
    """Return a word that no other start of the container has: one that was given up may yet leave traces under its."""
    return secrets.token_hex(8)


async def start(runtime: Runtime, container: Container, viewer: Viewer) -> bool:
    """Start a container that does not run; False if it runs already, which is nobody's mistake.

    Of several at once one starts it and the others see what comes of that. Raises PyrtError; then everything is as it
    was before.
    """
    await container.started()
    container.check_present()
    if container.state.running:
        return False
    before, record = container.begin(new_run()), container.record
    try:
        await container.unwritten()
        if record.config.auto_remove:
            # Its overlay is mounted volatile, and leaves a mark against being mounted again after a power cut. A
            # container that is removed at its end is not there after one.
            shutil.rmtree(container.directory / "work" / "work" / "incompat", ignore_errors=True)
        prepare(runtime, container)
        await container.save()
        await launch(runtime, container, viewer)
    except BaseException as error:
        if container.state.starting:
            runtime.release_network(container)
            container.record = dataclasses.replace(record, name=container.name)
            with contextlib.suppress(OSError):  # it reads the same without: this run never began
                await container.save()
            container.fall_back(before)
        if isinstance(error, OSError):
            raise PyrtError(f"cannot start container {container.label}: {error.strerror}") from error
        raise
    return True


async def restart(runtime: Runtime, container: Container, grace_s: float, viewer: Viewer) -> None:
    """Stop a container, if it runs, and start it again. Raises PyrtError; it has ended then."""
    container.check_present()
    container.restarts += 1
    try:
        await runtime.stop(container, grace_s)
        await start(runtime, container, viewer)
    finally:
        container.restarts -= 1
        if container.leaving and not container.removing:
            runtime.depart(container)


def prepare(runtime: Runtime, container: Container) -> None:
    """Give a container that is being started its network, and its record the new run. Raises PyrtError, OSError."""
    record = container.record
    allocation = None
    if record.config.network == "bridge":
        allocation = runtime.network.allocate(record.id, record.config.ports)
        runtime.log_notices()
    container.allocation = allocation
    container.record = dataclasses.replace(
        record,
        run=container.state.run,
        boot_id=runtime.boot_id,
        network=allocation.to_record() if allocation is not None else None,
    )


async def launch(runtime: Runtime, container: Container, viewer: Viewer) -> None:
    """Have a prepared container started, and put its record on the disk meanwhile. Raises PyrtError.

    If only the latter fails it has run, and is killed.
    """
    recording = None
    if not container.record.config.auto_remove:
        recording = asyncio.ensure_future(container.save(durable=True))
    try:
        await _ask(runtime, container, viewer)
    except BaseException:
        if recording is not None:
            await asyncio.wait([recording])
            recording.exception()
        raise
    if recording is None:
        return
    try:
        await recording
    except OSError as error:
        run = container.state
        with contextlib.suppress(PyrtError):
            await runtime.signal(container, signal.SIGKILL)
        await container.ended(run)
        raise PyrtError(f"container {container.label} cannot be recorded: {error.strerror}") from error


async def _ask(runtime: Runtime, container: Container, viewer: Viewer) -> None:
    config, state, allocation = container.record.config, container.state, container.allocation
    sockets: tuple[socket.socket, ...] = ()
    if allocation is not None:
        sockets = allocation.sockets
    try:
        image = runtime.tags.lookup_image(container.image_id)
        spec = await launching.make_spec(runtime, container, image, viewer.size)
        if allocation is not None and allocation.mappings:
            runtime.network.publish(container.id, allocation)
        fds = [viewer.client.fileno()] if viewer.client is not None else []
        fds += [reserved.fileno() for reserved in sockets]
        request = {
            "spec": spec,
            "run": state.run,
            "attach": viewer.client is not None,
            "stdin": viewer.stdin,
            "raw": viewer.raw,
            "ephemeral": config.auto_remove,
            "recorded": container.record.kept or not config.auto_remove,  # else it goes, whether this run began or not
            "timeout": config.timeout_s,
            "log_driver": config.log_driver,
            "log_max_bytes": config.log_max_bytes,
            "log_max_files": config.log_max_files,
        }
        reply = await runtime.supervision.ask("start", request, fds)
    except SupervisorSilentError:
        runtime.supervision.tell("abandon", {"id": container.id})
        raise
    finally:
        for reserved in sockets:  # the supervisor has its own now, or the start has failed
            reserved.close()
    _began(runtime, container, state, reply)


def _began(runtime: Runtime, container: Container, state: State, facts: Message) -> None:
    state.set_running(facts)
    runtime.network.set_link(container.id, state.link)
    runtime.events.tell(container, "start")
    container.wake()
    if state.early_exit is not None:
        runtime.finish(container, state.early_exit)
