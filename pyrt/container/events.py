# SPDX-License-Identifier: Apache-2.0
"""Events: what happened to containers and images, in order, for whoever wants to watch.

The history is the buffer: a reader is a place in it, not a queue of its own. So memory is bounded with any number of
readers, nobody who publishes ever waits for one, and a reader that was overtaken is told how many it missed.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyrt.container.container import Container

HISTORY = 1000  # events kept


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `number` counts the daemon's events from 0; `time` is in seconds since the epoch."""

    number: int
    time: float
    kind: str  # "container" or "image"
    verb: str
    id: str
    name: str
    attributes: Mapping[str, str]


class Events:
    """The last HISTORY events of this daemon; another daemon's are not known. Thread-safe."""

    def __init__(self, history: int = HISTORY) -> None:
        self._history: deque[Event] = deque(maxlen=history)
        self._next = 0
        self._readers: set[Reader] = set()
        self._lock = threading.Lock()

    def publish(self, kind: str, verb: str, id: str, name: str = "", /, **attributes: object) -> None:
        """Tell of something that has happened; from any thread, never waiting. Attributes that are None are no part."""
        texts = {key: str(value) for key, value in attributes.items() if value is not None}
        with self._lock:
            self._history.append(Event(self._next, time.time(), kind, verb, id, name, MappingProxyType(texts)))
            self._next += 1
            readers = list(self._readers)
        for reader in readers:
            reader.wake()

    def tell(self, container: Container, verb: str, /, **attributes: object) -> None:
        """Publish what happened to a container."""
        image = container.record.image_name
        self.publish("container", verb, container.id, container.name, image=image, **attributes)

    def tell_end(self, container: Container) -> None:
        """Publish that a container has ended, and how."""
        state = container.state
        if state.oom_killed:
            self.tell(container, "oom")
        status = "unknown" if state.exit_status is None else state.exit_status
        self.tell(container, "die", exitCode=status, reason=state.comment or None)

    def since(self, number: int) -> list[Event]:
        """Return the events kept from this number on; the oldest that is kept may have a greater one."""
        with self._lock:
            if number >= self._next:
                return []
            oldest = self._history[0].number
            return [self._history[at] for at in range(max(0, number - oldest), len(self._history))]

    def subscribe(self, *, history: bool = False) -> Reader:
        """Return a reader of what happens from now on, or with `history` of all that is kept. Use it as a context."""
        reader = Reader(self)
        with self._lock:
            reader.place = self._history[0].number if history and self._history else self._next
            self._readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        with self._lock:
            self._readers.discard(reader)


class Reader:
    """A place in the history. Belongs to the event loop that was running when it was made."""

    def __init__(self, events: Events) -> None:
        self.place = 0  # the number of the next event to read
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._events.leave(self)

    def wake(self) -> None:
        """Say that there is more to read; from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._woken.set)
        except RuntimeError:  # its loop is closed: nobody reads any more
            self._events.leave(self)

    def pending(self) -> tuple[int, list[Event]]:
        """Return how many events this reader missed because they are not kept any more, and those it has not seen."""
        found = self._events.since(self.place)
        if not found:
            return 0, []
        missed = found[0].number - self.place
        self.place = found[-1].number + 1
        return missed, found

    async def read(self) -> tuple[int, list[Event]]:
        """As `pending`, after waiting until there is at least one."""
        while True:
            self._woken.clear()
            missed, found = self.pending()
            if found:
                return missed, found
            await self._woken.wait()
