# SPDX-License-Identifier: Apache-2.0
"""The supervisor: parent of every container, keeper of their output and exit statuses.

It outlives the daemon and takes orders from whichever one is connected (pyrt.container.channel); its containers die
with it.
What it must not lose it writes before it says so: a container's exit status is in its directory before anybody hears
of it. With no container and no daemon it ends by itself.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyrt.container import room
from pyrt.container.channel import STARVED, Message
from pyrt.container.daemon_link import DaemonLink
from pyrt.container.execution import Executions
from pyrt.container.loop import READ, Loop
from pyrt.container.process import ExitRecord, Process
from pyrt.container.recorder import Recorder
from pyrt.container.running import RunningContainer
from pyrt.container.starts import Start, Starts
from pyrt.container.viewing import Viewings
from pyrt.container.worker import Worker
from pyrt.core import broadcast, descriptors
from pyrt.engine.cgroups import Cgroup, Layout
from pyrt.engine.launch import Engine
from pyrt.engine.lxc import LxcEngine
from pyrt.engine.native import NativeEngine
from pyrt.engine.slots import SlotPool
from pyrt.engine.spec import LaunchSpec
from pyrt.errors import ConflictError, NotFoundError, PyrtError, StartError

LONELY_S = 3.0  # how long it stays with nothing to supervise and nobody to serve
RING_MAX_BYTES = 1 << 20  # of a log that is not kept, in memory; a reader may be that far behind
RING_MAX_FILES = 2

logger = logging.getLogger("pyrt.supervisor")


class Supervisor:
    def __init__(self, root: Path, listener: socket.socket, *, cgroup_parent: str) -> None:
        self._root = root
        self._loop = Loop()
        self._daemon = DaemonLink(self._loop, listener, on_request=self._on_request, on_left=self._on_daemon_left)
        self._recorder = Recorder(root, self._loop)
        self._remover = Worker(self._loop, "remover")
        self._broadcaster = broadcast.Broadcaster()
        self._layout = Layout.detect(cgroup_parent)
        self._containers: dict[str, RunningContainer] = {}
        pool = SlotPool(self._layout, room=lambda: room.for_slots(self._count()), later=self._loop.call_later)
        engines: tuple[Engine, ...] = (NativeEngine(self._layout, pool=pool), LxcEngine(self._layout))
        self._engines = {engine.name: engine for engine in engines}
        self._starts = Starts(
            self._loop, self._engines, self._remover, on_running=self._on_running, on_failed=self._on_failed
        )
        self._by_log: dict[broadcast.Log, RunningContainer] = {}
        self._executions = Executions(
            self._loop,
            self._broadcaster,
            Path(os.fsdecode(listener.getsockname())).with_name("exec"),
            reply=lambda request, reply: self._daemon.say({"seq": request["seq"], **reply}),
            refuse=self._refuse,
            on_closed=self._check_end_soon,
        )
        self._viewings = Viewings(self._loop, self._broadcaster, root, on_closed=self._check_end_soon)
        self._leaving: dict[str, RunningContainer] = {}  # they have ended, and their groups are not gone yet
        self._ending = False

    def run(self) -> None:
        self._daemon.listen()
        self._loop.watch(self._broadcaster.fileno(), READ, self._on_broadcaster)
        self._loop.call_later(LONELY_S, self._check_end)
        self._sweep()
        gc.freeze()  # modules and tables stay: a collection in the middle of a start need not look through them
        self._loop.run()
        self._broadcaster.close()
        for engine in self._engines.values():
            engine.close()
        try:
            for engine in self._engines.values():
                engine.sweep()
            self._layout.remove()
        except PyrtError as error:
            logger.error("%s", error)

    def _sweep(self) -> None:
        """Remove the groups that an earlier supervisor left: its containers died with it."""
        for container_id in self._layout.leftovers():
            try:
                group = Cgroup.adopt(self._layout, container_id)
                group.kill()
                group.remove()
            except PyrtError as error:
                logger.error("%s", error)
        for engine in self._engines.values():
            try:
                engine.sweep()
            except PyrtError as error:
                logger.error("%s", error)

    def end(self) -> None:
        """End every container, record how it ended, and then this process."""
        self._ending = True
        for container in self._containers.values():
            container.deliver(signal.SIGKILL)
        self._check_end()

    def _check_end(self) -> None:
        """Leave when there is nothing left to do: nobody to serve, or the order to end."""
        if self._starts or self._containers or self._leaving:
            return
        if (self._by_log or self._executions.by_log or self._viewings.by_log) and not self._ending:
            return
        if self._ending or self._daemon.deserted_s >= LONELY_S:
            self._loop.stop()

    def _check_end_soon(self) -> None:
        self._loop.call_later(0 if self._ending else LONELY_S, self._check_end)

    # --- the daemon ---

    def _on_daemon_left(self) -> None:
        for container in list(self._containers.values()):
            container.freezer.release_all()  # who was reading its files does not any more
        self._loop.call_later(LONELY_S, self._check_end)

    def _on_request(self, request: Message, fds: list[int]) -> None:
        operation: Callable[[Message, list[int]], Any] | None = {
            "start": self._start,
            "stop": self._stop,
            "signal": self._signal,
            "abandon": self._abandon,
            "follow": self._follow,
            "show": self._show,
            "attach": self._attach,
            "exec": self._exec,
            "pause": self._pause,
            "unpause": self._unpause,
            "hold": self._hold,
            "release": self._release,
            "list": self._list,
        }.get(request["op"])
        self._perform(operation, request, fds)

    def _perform(self, operation: Callable[[Message, list[int]], Any] | None, request: Message, fds: list[int]) -> None:
        try:
            if request.pop(STARVED, False):
                raise room.shortage()
            if operation is None:
                raise PyrtError(f"the supervisor knows no {request['op']!r}: is it of another version?")
            reply = operation(request, fds)
            if reply is not None:
                self._daemon.say({"seq": request["seq"], **reply})
        except PyrtError as error:
            self._refuse(request, error)
        except Exception as error:
            logger.exception("in %r", request["op"])
            self._refuse(request, PyrtError(f"internal error in the supervisor: {error!r}"))
        finally:
            for fd in fds:  # what an operation keeps it has removed from the list
                os.close(fd)

    def _refuse(self, request: Message, error: PyrtError) -> None:
        reply = {"seq": request["seq"], "error": str(error), "kind": type(error).__name__}
        if isinstance(error, StartError):
            reply.update(step=error.step, errno=error.errno, text=error.text)
        self._daemon.say(reply)

    def _count(self) -> int:
        return len(self._starts) + len(self._containers)

    def _get(self, request: Message) -> RunningContainer:
        container = self._containers.get(request["id"])
        if container is None:
            raise NotFoundError("the container is not running")
        return container

    # --- its orders ---

    def _list(self, request: Message, fds: list[int]) -> Message:
        closing: dict[str, list[str]] = {}
        for container in self._by_log.values():
            if self._containers.get(container.id) is not container:
                closing.setdefault(container.id, []).append(container.run)
        return {"containers": {c.id: c.describe() for c in self._containers.values()}, "closing": closing}

    def _signal(self, request: Message, fds: list[int]) -> Message:
        self._get(request).deliver(request["signal"])
        return {}

    def _abandon(self, request: Message, fds: list[int]) -> Message:
        """Nobody waits for this start any more: end it, wherever it is."""
        if self._executions.abandon(request["id"]):
            return {}
        if not self._starts.abandon(request["id"]) and (container := self._containers.get(request["id"])):
            container.deliver(signal.SIGKILL)
        return {}

    def _stop(self, request: Message, fds: list[int]) -> Message:
        self._get(request).stop(signal.SIGTERM, request["grace"])
        return {}

    def _follow(self, request: Message, fds: list[int]) -> Message:
        container = self._get(request)
        room.check_guest()
        sock = socket.socket(fileno=fds.pop(0))
        container.show_log(sock, reader=request["reader"], settle_s=request["settle_s"], raw=request["raw"])
        return {}

    def _show(self, request: Message, fds: list[int]) -> Message:
        """The log of a container that does not run: it is in the files."""
        room.check_guest()
        self._viewings.begin(request, fds)
        return {}

    def _attach(self, request: Message, fds: list[int]) -> Message:
        container = self._get(request)
        room.check_guest()
        container.attach_guest(
            socket.socket(fileno=fds.pop(0)),
            stdin=request["stdin"],
            streams=request["streams"],
            signals=request["signals"],
            raw=request["raw"],
        )
        return {}

    def _exec(self, request: Message, fds: list[int]) -> None:
        """Begin an execution; the reply follows when the program runs, or does not."""
        container = self._get(request)
        if container.freezer.paused:
            raise PyrtError("the container is paused: unpause it first")
        room.check_guest()
        self._executions.begin(request, container, fds)

    def _pause(self, request: Message, fds: list[int]) -> None:
        self._get(request).freezer.pause(lambda error: self._answer(request, error))

    def _unpause(self, request: Message, fds: list[int]) -> Message:
        self._get(request).freezer.unpause()
        return {}

    def _hold(self, request: Message, fds: list[int]) -> None:
        self._get(request).freezer.hold(request["holder"], lambda error: self._answer(request, error))

    def _release(self, request: Message, fds: list[int]) -> Message:
        if container := self._containers.get(request["id"]):
            container.freezer.release(request["holder"])
        return {}

    def _answer(self, request: Message, error: PyrtError | None) -> None:
        """Answer a request that could not be answered at once."""
        if error is None:
            self._daemon.say({"seq": request["seq"]})
        else:
            self._refuse(request, error)

    def _start(self, request: Message, fds: list[int]) -> None:
        """Begin a start; the reply follows when the program runs, or does not."""
        if (before := self._leaving.get(request["spec"]["id"])) is None:
            self._begin(request, fds)
            return
        held = fds[:]  # its groups have the name that the new ones get
        fds.clear()
        before.when_gone(lambda: self._perform(self._begin, request, held))

    def _begin(self, request: Message, fds: list[int]) -> None:
        spec = LaunchSpec.from_json(request["spec"])
        if spec.id in self._containers or spec.id in self._starts:
            raise ConflictError("the container is running already")
        if self._ending:
            raise PyrtError("the supervisor is ending")
        room.check_start(self._count())
        self._starts.begin(request, spec, lambda: self._open_log(spec.id, request), fds)

    def _open_log(self, container_id: str, request: Message) -> broadcast.Log:
        if request["log_driver"] == "none":
            return self._broadcaster.open_memory_log(max_size_bytes=RING_MAX_BYTES, max_files=RING_MAX_FILES)
        path = self._root / "containers" / container_id / "log"
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            dirfd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                return self._broadcaster.open_log(
                    dirfd, max_size_bytes=request["log_max_bytes"], max_files=request["log_max_files"]
                )
            finally:
                os.close(dirfd)
        except OSError as error:
            raise PyrtError(f"the log {path} cannot be opened: {error.strerror}") from error

    def _on_failed(self, request: Message, error: StartError) -> None:
        self._refuse(request, error)
        self._check_end_soon()

    def _on_running(self, start: Start) -> None:
        request = start.request
        container = RunningContainer(
            self._loop,
            start.launch,
            start.log,
            spec=start.spec,
            run=request["run"],
            reservations=start.reservations,
            remover=self._remover,
            on_exit=self._on_exit if not request["ephemeral"] else self._on_ephemeral_exit,
            on_closed=self._on_closed,
            on_paused=self._on_paused,
        )
        self._containers[container.id] = container
        self._by_log[start.log] = container
        if request["recorded"]:
            self._recorder.write_start(container.id, container.run, container.started_at)
        self._daemon.say({"seq": request["seq"], **container.describe()})
        try:
            if start.client is not None:
                container.attach(start.client, stdin=request["stdin"], raw=request["raw"])
        finally:
            container.read_output()
        if request["timeout"]:
            container.limit_time(request["timeout"])

    # --- the containers ---

    def _on_broadcaster(self) -> None:
        for kind, log, detail in self._broadcaster.events():
            if (viewing := self._viewings.by_log.get(log)) is not None:
                viewing.on_reader_event(gone=kind == broadcast.READER_GONE)
                continue
            process: Process | None = self._by_log.get(log) or self._executions.by_log.get(log)
            if process is None:
                continue
            if kind == broadcast.DRAINED:
                process.on_drained()
            elif kind in (broadcast.READER_DONE, broadcast.READER_GONE):
                process.on_reader_event(detail, gone=kind == broadcast.READER_GONE)
            elif kind == broadcast.WRITE_FAILED:
                logger.error("%s: its log cannot be written: %s", process.label, os.strerror(detail))

    def _on_exit(self, container: RunningContainer, record: ExitRecord) -> None:
        self._recorder.write_exit(container.id, record, lambda: self._on_recorded(container, record))

    def _on_ephemeral_exit(self, container: RunningContainer, record: ExitRecord) -> None:
        """A container that is removed at its end leaves no record: there will be nothing to ask about."""
        self._on_recorded(container, record)

    def _on_recorded(self, container: RunningContainer, record: ExitRecord) -> None:
        # The daemon first: a client that has its exit status finds every later command knowing it.
        self._containers.pop(container.id, None)
        self._leaving[container.id] = container
        container.when_gone(lambda: self._on_gone(container))
        self._daemon.say({"event": "exit", "id": container.id, "run": container.run, "record": record})
        container.conclude()
        if self._ending:
            self._check_end()

    def _on_paused(self, container: RunningContainer, paused: bool) -> None:
        self._daemon.say({"event": "paused", "id": container.id, "run": container.run, "paused": paused})

    def _on_gone(self, container: RunningContainer) -> None:
        del self._leaving[container.id]
        self._check_end_soon()

    def _on_closed(self, container: RunningContainer) -> None:
        self._by_log.pop(container.log, None)
        self._daemon.say({"event": "closed", "id": container.id, "run": container.run})
        self._check_end_soon()


def main(argv: list[str]) -> int:
    """python -m pyrt.container.supervisor ROOT LISTENER_FD CGROUP_PARENT FILE_LIMIT"""
    root, listener_fd, cgroup_parent, file_limit = argv
    logging.basicConfig(level=logging.INFO, format="%(asctime)s supervisor %(levelname)s %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the client
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    descriptors.raise_limit(int(file_limit))
    listener = socket.socket(fileno=int(listener_fd))
    supervisor = Supervisor(Path(root), listener, cgroup_parent=cgroup_parent)
    signal.signal(signal.SIGTERM, lambda number, frame: supervisor.end())
    supervisor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
