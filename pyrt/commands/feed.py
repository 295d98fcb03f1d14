# SPDX-License-Identifier: Apache-2.0
"""Feed: what arrives in the event loop, as an iterator for blocking code in a thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import TypeVar

_Result = TypeVar("_Result")


class Feed:
    """Iterate over it in the function given to `consumed_by`; each step waits for the loop to bring the next piece.

    At most one piece is ahead of the consumer. When the waiting task is cancelled (its client has left) the consumer
    gets CancelledError at its next step, and `consumed_by` does not return before the consumer has.
    """

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._stopped = False
        self._step: concurrent.futures.Future[bytes | None] | None = None

    async def __aenter__(self) -> Feed:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()

    def __iter__(self) -> Iterator[bytes]:
        while not self._stopped:
            self._step = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
            if self._stopped:
                self._step.cancel()
            piece = self._step.result()
            if piece is None:
                return
            yield piece
        raise concurrent.futures.CancelledError

    async def _next(self) -> bytes | None:
        try:
            return await anext(self._source)
        except StopAsyncIteration:
            return None

    async def consumed_by(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        """Run a blocking function, which reads this feed, in a thread; return what it returns."""
        work = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._stopped = True
            if self._step is not None:
                self._step.cancel()
            await asyncio.wait([work])
            work.cancelled() or work.exception()  # it was told to stop: how it did is nobody's concern
            raise
