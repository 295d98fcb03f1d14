# SPDX-License-Identifier: Apache-2.0
"""Starts: the containers that are on their way, from an order to start one until its program runs, or does not."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pyrt.container.channel import Message
from pyrt.container.loop import END, READ, Loop
from pyrt.container.worker import Worker
from pyrt.core.broadcast import Log
from pyrt.engine.launch import Engine, Launch, engine_name
from pyrt.engine.spec import LaunchSpec
from pyrt.errors import StartError


@dataclass(slots=True, eq=False)
class Start:
    """One of them, with what its container will own: its log, its first client, the sockets that hold its ports."""

    request: Message
    spec: LaunchSpec
    launch: Launch
    log: Log
    client: socket.socket | None
    reservations: list[int]

    def give_back(self) -> None:
        """Close what no container will own."""
        self.log.close()
        for fd in self.reservations:
            os.close(fd)
        if self.client is not None:
            self.client.close()


class Starts:
    """All of them, by container. Belongs to the supervisor's loop.

    on_running(start) hands over everything of one whose program runs. on_failed(request, error) is called when nothing
    is left of one that came to nothing: until then its container counts as being started.
    """

    def __init__(
        self,
        loop: Loop,
        engines: Mapping[str, Engine],
        remover: Worker,
        *,
        on_running: Callable[[Start], None],
        on_failed: Callable[[Message, StartError], None],
    ) -> None:
        self._loop = loop
        self._engines = engines
        self._remover = remover
        self._on_running = on_running
        self._on_failed = on_failed
        self._by_id: dict[str, Start] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, container_id: str) -> bool:
        return container_id in self._by_id

    def begin(self, request: Message, spec: LaunchSpec, open_log: Callable[[], Log], fds: list[int]) -> None:
        """Send a container on its way; what it needs of `fds` is taken out of the list. Its log is opened meanwhile.

        Raises PyrtError; `fds` are the caller's then, its program has not run, and the worker takes down what there is.
        """
        launch = self._engines[engine_name(spec.engine)].begin(spec)
        with contextlib.ExitStack() as undo:
            undo.callback(self._remover.do, launch.abort, lambda: None)
            log = open_log()
            undo.callback(log.close)
            launch.let_go()
            undo.pop_all()
        client = socket.socket(fileno=fds.pop(0)) if request["attach"] else None
        start = Start(request, spec, launch, log, client, fds[:])
        fds.clear()
        self._by_id[spec.id] = start
        self._loop.watch(launch.fileno(), END if launch.at_end_only else READ, lambda: self._advance(start))

    def abandon(self, container_id: str) -> bool:
        """End a start that nobody waits for any more; False if there is none."""
        start = self._by_id.get(container_id)
        if start is not None:
            with contextlib.suppress(OSError):  # it has ended, or is being taken down
                start.launch.signal(signal.SIGKILL)
        return start is not None

    def _advance(self, start: Start) -> None:
        try:
            if not start.launch.advance():
                return
        except StartError as error:
            self._loop.unwatch(start.launch.fileno())
            start.give_back()
            failure = error  # the name goes with the block
            self._remover.do(start.launch.abort, lambda: self._on_aborted(start, failure))
            return
        self._loop.unwatch(start.launch.fileno())
        start.launch.hang_up()
        del self._by_id[start.spec.id]
        self._on_running(start)

    def _on_aborted(self, start: Start, error: StartError) -> None:
        del self._by_id[start.spec.id]
        self._on_failed(start.request, error)
