# SPDX-License-Identifier: Apache-2.0
"""Containers that stand still: for their users until they say otherwise, or while somebody reads their files."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from pyrt.container.channel import Message
from pyrt.container.container import Container
from pyrt.errors import ConflictError, NotFoundError, PyrtError

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime


async def pause(runtime: Runtime, container: Container) -> None:
    """Stop every process of a running container where it is. Raises ConflictError when it is paused already."""
    run = await container.started()
    container.check_running()
    if run.paused:
        raise ConflictError(f"container {container.label} is paused already")
    await _ask(runtime, container, "pause")
    runtime.events.tell(container, "pause")


async def unpause(runtime: Runtime, container: Container) -> None:
    """Let a paused container go on. Raises ConflictError when it is not paused."""
    run = await container.started()
    container.check_running()
    if not run.paused:
        raise ConflictError(f"container {container.label} is not paused")
    await _ask(runtime, container, "unpause")
    runtime.events.tell(container, "unpause")


async def _ask(runtime: Runtime, container: Container, op: str) -> None:
    try:
        await runtime.supervision.ask(op, {"id": container.id})
    except NotFoundError:  # it has ended; the news is on its way
        raise ConflictError(f"container {container.label} is not running") from None


@contextlib.asynccontextmanager
async def frozen(runtime: Runtime, container: Container) -> AsyncIterator[None]:
    """Have a running container's processes stand still for the block, also if somebody unpauses it meanwhile.

    One that does not run is left alone, and one that is killed ends. Whoever asked may be cancelled, or die with its
    daemon: the container goes on all the same. Raises PyrtError when it cannot be frozen.
    """
    await container.started()
    message = {"id": container.id, "holder": secrets.token_hex(8)}
    try:
        if container.state.running:
            with contextlib.suppress(NotFoundError):  # it has ended
                await runtime.supervision.ask("hold", message)
        yield
    finally:
        await asyncio.shield(runtime.spawn(_release(runtime, message)))


async def _release(runtime: Runtime, message: Message) -> None:
    with contextlib.suppress(PyrtError):  # a supervisor that has ended holds nothing
        await runtime.supervision.ask("release", message)
