# SPDX-License-Identifier: Apache-2.0
"""Runtime: all containers of one root, and what they are made of. The daemon has one.

State first, then act: a container is on disk before it is started, its end is on disk before anybody hears of it, and
each step of a start has its undo. What the daemon knows it can learn again: from the containers' directories and
from the supervisor.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
import secrets
import select
import signal
import socket
import time
from collections.abc import Coroutine, Iterable
from pathlib import Path

from pyrt.container import launching
from pyrt.container.channel import Message
from pyrt.container.config import NAME, Config, Record
from pyrt.container.container import Container
from pyrt.container.events import Events
from pyrt.container.state import Status, load_exit
from pyrt.container.store import ContainerStore
from pyrt.container.supervision import Supervision, SupervisorLostError, SupervisorSilentError
from pyrt.core import frames
from pyrt.engine import launch
from pyrt.engine.seccomp import ProgramCache
from pyrt.errors import ConflictError, NotFoundError, PyrtError, UsageError
from pyrt.image.graph import Graph
from pyrt.image.tagstore import TagStore
from pyrt.network.manager import NetworkManager

DEFAULT_ROOT = Path("/var/lib/pyrt")
DEFAULT_BRIDGE = "pyrt0"
NETWORK_CHECK_S = 5.0
REMOVAL_S = 10.0
DEATH_S = 2.0
READERS_S = 1.0  # how long a removal waits for those who still read the log

logger = logging.getLogger("pyrt.runtime")


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def instance_name(root: Path) -> str:
    """What bridges and groups of the root are called: instances with roots of their own must not meet anywhere."""
    return "pyrt" if root == DEFAULT_ROOT else f"pyrt{hashlib.sha256(os.fsencode(root)).hexdigest()[:7]}"


class Runtime:
    """The containers, images and networks of one root.

    Belongs to one event loop. What takes longer than handing it to a thread would (0.1 ms) runs in one.
    """

    def __init__(
        self, root: Path, run_dir: Path, *, bridge: str | None = None, engine: str = launch.DEFAULT
    ) -> None:
        self.root = root
        self.run_dir = run_dir
        self.engine = engine  # of the containers that were made without saying which
        name = instance_name(root)
        (root / "cache").mkdir(mode=0o700, exist_ok=True)
        self.events = Events()
        self.store = ContainerStore(root)
        self.graph = Graph(root)
        self.tags = TagStore(root / "tags.json", self.graph)
        self.network = NetworkManager(bridge or (DEFAULT_BRIDGE if root == DEFAULT_ROOT else name))
        self.programs = ProgramCache(root / "cache" / "seccomp")
        self._boot_id = boot_id()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Future[None] | None = None
        self._departing: dict[Container, asyncio.Task[None]] = {}
        self._supervision = Supervision(
            root, run_dir, cgroup_parent=name, on_event=self._on_event, on_lost=self._on_supervisor_lost
        )

    async def start(self) -> None:
        """Load what is there, find the supervisor, and agree with it on what runs."""
        await asyncio.to_thread(self.store.load)
        await asyncio.to_thread(self.graph.collect)
        await self._supervision.connect()
        await self._reconcile()
        live = {c.id: c.allocation for c in self.containers.values() if c.state.running and c.allocation}
        await asyncio.to_thread(self.network.sync, live)
        self._watching = asyncio.ensure_future(self._watch_network())

    async def close(self) -> None:
        """Let go of everything; containers and supervisor go on."""
        if self._watching is not None:
            self._watching.cancel()
        self._supervision.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        self.network.close()

    def poll_events(self) -> None:
        """Take in what the supervisor has said: a client that saw a container end finds every command knowing it."""
        self._supervision.poll()

    @property
    def containers(self) -> dict[str, Container]:
        """All containers by id."""
        return self.store.by_id

    def get(self, name: str) -> Container:
        """Find a container by name, id, or unique beginning of an id. Raises NotFoundError, ConflictError."""
        return self.store.get(name)

    # --- running ---

    async def run(
        self,
        config: Config,
        *,
        name: str = "",
        size: tuple[int, int] = (24, 80),
        client: socket.socket | None = None,
        raw: bool = False,
    ) -> Container:
        """Make a container and start it; `client` is the connection its output goes to (borrowed), `raw` or in frames.

        Returns when its program runs, and it is safe on disk unless it is one that is removed at its end. Raises
        PyrtError; nothing of the container is left then.
        """
        # A caller that is cancelled (its client hung up) must not leave half a start behind: this goes on to an end.
        return await asyncio.shield(self._run(config, name, size, client, raw))

    async def _run(
        self, config: Config, name: str, size: tuple[int, int], client: socket.socket | None, raw: bool
    ) -> Container:
        container = await self._create(config, name)
        try:
            durable = (
                None if config.auto_remove else asyncio.ensure_future(asyncio.to_thread(container.write, durable=True))
            )
            await self._launch(container, size, client, raw)
            if durable is not None:
                await durable
        except BaseException:
            await self._discard(container)
            raise
        return container

    async def _create(self, config: Config, name: str) -> Container:
        try:
            return await self._make(config, name)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise PyrtError(f"Error creating container: {error.strerror}: {error.filename or ''}") from error
        # What has just ended or been removed may still be on its way off the disk.
        await self.departures()
        await self.store.removals(REMOVAL_S)
        try:
            return await self._make(config, name)
        except OSError as error:
            raise PyrtError(f"Error creating container: {error.strerror}: {error.filename or ''}") from error

    async def _make(self, config: Config, name: str) -> Container:
        image = self.tags.lookup_image(config.image)
        if name and not NAME.fullmatch(name):
            raise UsageError(f"container name {name!r}: use letters, digits, and _ . - after the first, at most 63")
        if name:
            await self._wait_for_name(name)
        record = Record(
            id=secrets.token_hex(32),
            name=name,
            created_at=time.time(),
            boot_id=self._boot_id,
            image_id=image.id,
            image_name=config.image,
            config=config,
        )
        container = self.store.add(record)  # before the next await: a name is given once, and its image stays
        container.starting = True
        self.events.tell(container, "create")
        try:
            if config.network == "bridge":
                container.allocation = self.network.allocate(record.id, config.ports)
                self._log_notices()
                container.set_network(container.allocation.to_record())
            container.make_directories()
            container.write()
        except BaseException:
            await self._discard(container)
            raise
        return container

    async def _wait_for_name(self, name: str) -> None:
        """A container that is on its way out frees its name in a moment; any other keeps it."""
        holder = self.store.holder(name)
        if holder in self._departing:
            await self.departures()
            holder = self.store.holder(name)
        if holder is None:
            return
        raise ConflictError(f"the name {name} is taken by container {holder.id[:16]}: remove it or use another name")

    async def _launch(
        self, container: Container, size: tuple[int, int], client: socket.socket | None, raw: bool
    ) -> None:
        config = container.record.config
        image = self.tags.lookup_image(container.image_id)
        spec = await launching.make_spec(self, container, image, size)
        allocation = container.allocation
        sockets: tuple[socket.socket, ...] = ()
        if allocation is not None:
            sockets = allocation.sockets
            if allocation.mappings:
                self.network.publish(container.id, allocation)
        fds = [client.fileno()] if client is not None else []
        fds += [reserved.fileno() for reserved in sockets]
        request = {
            "spec": spec,
            "attach": client is not None,
            "raw": raw,
            "ephemeral": config.auto_remove,
            "timeout": config.timeout_s,
            "log_max_bytes": config.log_max_bytes,
            "log_max_files": config.log_max_files,
        }
        try:
            reply = await self._supervision.ask("start", request, fds)
        except SupervisorSilentError:
            self._supervision.tell("abandon", {"id": container.id})
            raise
        finally:
            for reserved in sockets:  # the supervisor has its own now, or the start has failed
                reserved.close()
        container.started_once = True
        container.state.set_running(pid=reply["pid"], started_at=reply["started_at"])
        self.network.set_link(container.id, reply["link"])
        container.starting = False
        self.events.tell(container, "start")
        container.wake()
        if (record := container.early_exit) is not None:
            self._finish(container, record)

    # --- what happens to them ---

    def _on_event(self, message: Message) -> None:
        container = self.containers.get(message["id"])
        if container is None:
            return
        if message["event"] == "closed":
            container.closed.set()
        elif container.state.running:
            self._finish(container, message["record"])
        else:  # the reply to its start came with it and has not been looked at yet
            container.early_exit = message["record"]

    def _finish(self, container: Container, record: Message) -> None:
        container.set_exited(record)
        self.events.tell_end(container)
        self._depart(container)

    def _depart(self, container: Container) -> None:
        task = self._departing[container] = self._spawn(self._after_exit(container))
        task.add_done_callback(lambda _: self._departing.pop(container, None))

    async def _after_exit(self, container: Container) -> None:
        self._release_network(container)
        if container.record.config.auto_remove and not container.removing:
            await container.closed.wait()  # its client may be far behind, and the log is what it reads from
            await self._discard(container)

    async def departures(self) -> None:
        """Wait a moment for containers that have ended and are being removed: they still hold names and images."""
        if self._departing:
            await asyncio.wait(list(self._departing.values()), timeout=READERS_S)

    def _on_supervisor_lost(self) -> None:
        logger.error("the supervisor ended; see supervisor.log")
        self._spawn(self._after_supervisor())

    async def _after_supervisor(self) -> None:
        """Its containers die with it: nothing is said of their end before they are gone."""
        pids = [container.state.pid for container in self.containers.values() if container.state.running]
        await asyncio.to_thread(_wait_for_processes, pids)
        await self._supervision.restart()
        await self._reconcile()

    def _log_notices(self) -> None:
        """Say what the network changed on the host beyond its own bridges and rules."""
        while self.network.notices:
            logger.warning("%s", self.network.notices.pop(0))

    async def _watch_network(self) -> None:
        """Repair what others remove of ours (a firewall that is reloaded flushes every rule)."""
        while True:
            await asyncio.sleep(NETWORK_CHECK_S)
            self._log_notices()
            if any(container.allocation for container in self.containers.values()):
                try:
                    if await asyncio.to_thread(self.network.repair):
                        logger.warning("the network was not as it should be, and was repaired")
                except PyrtError as error:
                    logger.error("the network is not as it should be: %s", error)

    async def _reconcile(self) -> None:
        """Learn from the supervisor what runs; whatever does not has an exit record, or is lost."""
        live: dict[str, Message] = {}
        closing: list[str] = []
        if self._supervision.connected or await self._supervision.connect(start=False):
            try:
                reply = await self._supervision.ask("list", {})
                live, closing = reply["containers"], reply["closing"]
            except SupervisorLostError:
                pass
        for container in list(self.containers.values()):
            if container.starting:
                continue  # its own request hears of it
            if (found := live.get(container.id)) is not None:
                self.network.set_link(container.id, found["link"])
                if not container.state.running:
                    container.started_once = True
                    container.state.set_running(pid=found["pid"], started_at=found["started_at"])
            elif container.id in closing and container.record.config.auto_remove:
                container.set_lost("it has ended, and goes when its last reader does")
                self._depart(container)
            elif container.state.status in (Status.CREATED, Status.RUNNING):
                await self._settle(container)

    async def _settle(self, container: Container) -> None:
        """A container that does not run, and whose end this daemon has not been told."""
        never_started = container.state.status is Status.CREATED and not container.log_directory.exists()
        if container.record.config.auto_remove or never_started:
            if container.state.running:
                container.set_lost("the supervisor ended")
                self.events.tell_end(container)
            container.closed.set()
            await self._discard(container)
            return
        container.closed.set()
        ran = container.state.running
        try:
            container.set_exited(load_exit((container.directory / "exit.json").read_bytes()))
        except (OSError, ValueError):
            rebooted = container.record.boot_id != self._boot_id
            container.set_lost("the host was rebooted" if rebooted else "the supervisor ended")
        if ran:  # else it ended before this daemon began
            self.events.tell_end(container)
        self._release_network(container)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- ending and removing ---

    async def signal(self, container: Container, number: int) -> None:
        await container.started()
        if not container.state.running:
            raise ConflictError(f"container {container.label} is not running")
        await self._supervision.ask("signal", {"id": container.id, "signal": number})
        self.events.tell(container, "kill", signal=number)

    async def stop(self, container: Container, grace_s: float) -> None:
        """SIGTERM, after the grace SIGKILL; returns when it has ended. One that does not run is stopped already."""
        await container.started()
        if not container.state.running:
            return
        try:
            await self._supervision.ask("stop", {"id": container.id, "grace": grace_s})
        except NotFoundError:
            pass  # it ended first; the event is on its way
        await container.ended()
        self.events.tell(container, "stop")

    async def remove(self, container: Container, *, force: bool = False) -> None:
        """Remove a container. A running one is an error, unless force: then it is killed first."""
        await asyncio.shield(self._remove(container, force=force))  # once begun, it is not left half done

    async def _remove(self, container: Container, *, force: bool) -> None:
        if force:
            await container.started()
        if container.active:
            if not force:
                raise ConflictError(f"container {container.label} is running: stop it first, or use rm -f")
            container.removing = True
            try:
                await self.signal(container, signal.SIGKILL)
            except (NotFoundError, ConflictError):
                pass  # it ended first
            await container.ended()
        if container.state.status is Status.EXITED:
            await self._wait_for_readers(container)
        await self._discard(container)

    @staticmethod
    async def _wait_for_readers(container: Container) -> None:
        """Let those who read its log get to the end, but not keep it for ever."""
        try:
            async with asyncio.timeout(READERS_S):
                await container.closed.wait()
        except TimeoutError:
            pass

    async def follow(self, container: Container, client: socket.socket, *, to_the_end: bool, raw: bool = False) -> None:
        """Stream a running container's log to a client (borrowed): to what is its end now, or to the container's.

        Raises NotFoundError when it runs no more.
        """
        request = {"id": container.id, "to_the_end": to_the_end, "raw": raw}
        await self._supervision.ask("follow", request, [client.fileno()])

    async def attach(
        self,
        container: Container,
        client: socket.socket,
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        signals: bool,
        raw: bool = False,
    ) -> None:
        """Connect a client (borrowed) to a running container: its output from now on, its status, its stdin if wanted.

        `signals`: those the client gets go to the container. Raises ConflictError when it does not run.
        """
        await container.started()
        if not container.state.running:
            raise ConflictError(f"container {container.label} is not running")
        wanted = {frames.STDOUT: stdout, frames.STDERR: stderr}
        request = {
            "id": container.id,
            "stdin": stdin,
            "streams": [stream for stream, given in wanted.items() if given] or [frames.NOTICE],
            "signals": signals,
            "raw": raw,
        }
        try:
            await self._supervision.ask("attach", request, [client.fileno()])
        except NotFoundError:  # it has ended; the event is on its way
            raise ConflictError(f"container {container.label} is not running") from None
        self.events.tell(container, "attach")

    def _release_network(self, container: Container) -> None:
        allocation, container.allocation = container.allocation, None
        if allocation is not None:
            try:
                self.network.release(container.id, allocation)
            except PyrtError as error:  # what could not be taken down now goes with the next repair
                logger.error("container %s: %s", container.label, error)

    async def _discard(self, container: Container) -> None:
        """Undo everything that was done for a container. Harmless twice."""
        self._release_network(container)
        first = container.discarding is None
        await self.store.discard(container)
        if first:
            self.events.tell(container, "destroy")


def _wait_for_processes(pids: Iterable[int]) -> None:
    """Wait until these processes have ended, each for at most DEATH_S: they have been sent SIGKILL by the kernel."""
    for pid in pids:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            select.select([pidfd], [], [], DEATH_S)
        finally:
            os.close(pidfd)
