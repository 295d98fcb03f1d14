# SPDX-License-Identifier: Apache-2.0
"""The ends of containers: signals, stopping, what follows an exit, removal."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pyrt.container.channel import Message
from pyrt.container.container import Container
from pyrt.container.state import State, Status
from pyrt.errors import ConflictError, NotFoundError, PyrtError

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime

DEATH_S = 2.0
READERS_S = 1.0  # how long a removal waits for those who still read the log

logger = logging.getLogger("pyrt.runtime")


async def send_signal(runtime: Runtime, container: Container, number: int) -> State:
    """Signal a running container; returns the run that got it. Raises ConflictError for one that does not run."""
    run = await container.started()
    container.check_running()
    try:
        await runtime.supervision.ask("signal", {"id": container.id, "signal": number})
    except NotFoundError:  # it has ended; the news is on its way
        raise ConflictError(f"container {container.label} is not running") from None
    runtime.events.tell(container, "kill", signal=number)
    return run


async def stop(runtime: Runtime, container: Container, grace_s: float) -> None:
    """SIGTERM, after the grace SIGKILL; returns when it has ended. One that does not run is stopped already."""
    run = await container.started()
    if not run.running:
        return
    try:
        await runtime.supervision.ask("stop", {"id": container.id, "grace": grace_s})
    except NotFoundError:
        pass  # it ended first; the event is on its way
    await container.ended(run)
    runtime.events.tell(container, "stop")


def finish(runtime: Runtime, container: Container, record: Message) -> None:
    """A container has ended. Its network is free before anybody hears of that: a start may follow at once."""
    runtime.release_network(container)
    container.state.set_exited(record)
    runtime.events.tell_end(container)
    container.wake()
    if container.leaving and not container.removing:
        runtime.depart(container)


async def depart(runtime: Runtime, container: Container) -> None:
    """Remove a container that is to be removed at its end, when nobody reads its output any more."""
    await container.state.closed.wait()  # its client may be far behind, and the log is what it reads from
    await discard(runtime, container)


async def remove(runtime: Runtime, container: Container, *, force: bool) -> None:
    """Remove a container. A running one is an error, unless force: then it is killed first.

    While somebody else removes it, that is waited for. Once begun it is not left half done. Raises ConflictError.
    """
    await container.made()
    if not container.removing:
        if container.active and not force:
            raise ConflictError(f"container {container.label} is running: stop it first, or use rm -f")
        container.removal = runtime.spawn(_remove(runtime, container))
    under_way = container.discarding or container.removal
    assert under_way is not None
    await asyncio.shield(under_way)


async def _remove(runtime: Runtime, container: Container) -> None:
    run = await container.started()
    if run.running:
        try:
            await send_signal(runtime, container, signal.SIGKILL)
        except ConflictError:
            pass  # it ended first
        await container.ended(run)
    if run.status is Status.EXITED:
        await _wait_for_readers(run)
    await discard(runtime, container)


async def _wait_for_readers(run: State) -> None:
    """Let those who read its log get to the end, but not keep it for ever."""
    try:
        async with asyncio.timeout(READERS_S):
            await run.closed.wait()
    except TimeoutError:
        pass


async def discard(runtime: Runtime, container: Container) -> None:
    """Undo everything that was done for a container. Harmless twice."""
    release_network(runtime, container)
    first = container.discarding is None
    await runtime.store.discard(container)
    if first:
        runtime.events.tell(container, "destroy")


def release_network(runtime: Runtime, container: Container) -> None:
    """Give a container's address and ports back, if it has any."""
    allocation, container.allocation = container.allocation, None
    if allocation is not None:
        try:
            runtime.network.release(container.id, allocation)
        except PyrtError as error:  # what could not be taken down now goes with the next repair
            logger.error("container %s: %s", container.label, error)


def wait_for_processes(pids: Iterable[int], *, each_s: float = DEATH_S) -> None:
    """Wait until these processes have ended, or are zombies, each for at most `each_s`."""
    for pid in pids:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            select.select([pidfd], [], [], each_s)
        finally:
            os.close(pidfd)
