# SPDX-License-Identifier: Apache-2.0
"""What a verb does to several containers: each one gets its turn, whatever became of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from pyrt.errors import PyrtError

if TYPE_CHECKING:
    from pyrt.container.container import Container
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session


AT_ONCE = 16  # enough for the disk to have them in one; the daemon's threads are there for others too


async def some_at_once(*work: Coroutine[Any, Any, None]) -> None:
    """As asyncio.gather, a few at a time."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def wait_and_do(one: Coroutine[Any, Any, None]) -> None:
        try:
            async with turns:
                await one
        finally:
            one.close()

    await asyncio.gather(*map(wait_and_do, work))


async def each(
    session: Session,
    runtime: Runtime,
    names: list[str],
    action: Callable[[Container], Awaitable[None]],
    *,
    together: Callable[..., Awaitable[Any]] | None = None,
    show: bool = False,
) -> int:
    """Do `action` to each container named; `together` (asyncio.gather, `some_at_once`) does it to several at once.

    With `show` its id is printed when that is done, as Docker 0.1.0 did whatever it was named by. What fails is told on
    stderr. Returns 0, or the status of the last failure.
    """
    status = 0

    async def one(name: str) -> None:
        nonlocal status
        try:
            container = runtime.get(name)
            await action(container)
            if show:
                await session.out(f"{container.id}\n")
        except PyrtError as error:
            status = error.exit_code
            await session.err(f"Error: {error}\n")

    if together is not None:
        await together(*(one(name) for name in names))
    else:
        for name in names:
            await one(name)
    return status
