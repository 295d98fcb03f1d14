# SPDX-License-Identifier: Apache-2.0
"""Runtime: all containers of one root, and what they are made of. The daemon has one.

State first, then act: a container is on disk before it is started, its end is on disk before anybody hears of it, and
each step of a start has its undo. What the daemon knows it can learn again: from the containers' directories and
from the supervisor. How containers are made, started, adopted and ended is in the modules of those names.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from pyrt.container import adoption, creation, ending, executing, output, pausing, starting
from pyrt.container.channel import Message
from pyrt.container.config import Config
from pyrt.container.container import Container
from pyrt.container.events import Events
from pyrt.container.executing import Program
from pyrt.container.output import Selection
from pyrt.container.starting import Viewer
from pyrt.container.state import State
from pyrt.container.store import ContainerStore
from pyrt.container.supervision import Supervision
from pyrt.core import descriptors, frames
from pyrt.engine import launch
from pyrt.engine.seccomp import ProgramCache
from pyrt.errors import ConflictError, NotFoundError, PyrtError
from pyrt.image import base
from pyrt.image.graph import Graph
from pyrt.image.tagstore import TagStore
from pyrt.network.manager import NetworkManager

DEFAULT_ROOT = Path("/var/lib/pyrt")
DEFAULT_BRIDGE = "pyrt0"
NETWORK_CHECK_S = 5.0

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

    def __init__(self, root: Path, run_dir: Path, *, bridge: str | None = None, engine: str = launch.DEFAULT) -> None:
        self.root = root
        self.run_dir = run_dir
        self.engine = engine  # of the containers that were made without saying which
        name = self.cgroup_parent = instance_name(root)
        (root / "cache").mkdir(mode=0o700, exist_ok=True)
        base.make(root)
        self.events = Events()
        self.store = ContainerStore(root)
        self.graph = Graph(root)
        self.tags = TagStore(root / "tags.json", self.graph)
        self.network = NetworkManager(bridge or (DEFAULT_BRIDGE if root == DEFAULT_ROOT else name))
        self.programs = ProgramCache(root / "cache" / "seccomp")
        self.boot_id = boot_id()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Future[None] | None = None
        self._departing: set[asyncio.Task[None]] = set()
        self.supervision = Supervision(
            root,
            run_dir,
            cgroup_parent=name,
            file_limit=descriptors.handed_down(),
            on_event=self._on_event,
            on_lost=self._on_supervisor_lost,
        )

    async def open(self) -> None:
        """Load what is there, find the supervisor, and agree with it on what runs."""
        await asyncio.to_thread(self.store.load)
        await asyncio.to_thread(self.graph.collect)
        await self.supervision.connect()
        await adoption.reconcile(self)
        live = {c.id: c.allocation for c in self.containers.values() if c.state.running and c.allocation}
        await asyncio.to_thread(self.network.sync, live)
        self._watching = asyncio.ensure_future(self._watch_network())

    async def close(self) -> None:
        """Let go of everything; containers and supervisor go on."""
        if self._watching is not None:
            self._watching.cancel()
        self.supervision.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        await self.store.removals(ending.READERS_S)
        self.network.close()

    def poll_events(self) -> None:
        """Take in what the supervisor has said: a client that saw a container end finds every command knowing it."""
        self.supervision.poll()

    @property
    def containers(self) -> dict[str, Container]:
        """All containers by id."""
        return self.store.by_id

    def get(self, name: str) -> Container:
        """Find a container by name, id, or unique beginning of an id. Raises NotFoundError, ConflictError."""
        return self.store.get(name)

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Do something in the background that `close` waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- making and starting ---
    #
    # A caller that is cancelled (its client hung up) must not leave half of anything behind: all this goes on to an
    # end of its own.

    async def create(self, config: Config, *, name: str = "") -> Container:
        """Make a container for `start`. It is safe on disk on return. Raises PyrtError; nothing is left then."""
        return await asyncio.shield(creation.create(self, config, name))

    async def start(
        self,
        container: Container,
        *,
        size: tuple[int, int] = (24, 80),
        client: socket.socket | None = None,
        stdin: bool = True,
        raw: bool = False,
    ) -> bool:
        """Start a container that does not run: its files are as it left them, its network is new.

        `client` is the connection its output goes to from now on (borrowed), `raw` or in frames, and with `stdin` its
        input comes from. Returns when its program runs; False if it did already, and the client was not used. Raises
        PyrtError; then all is as it was.
        """
        return await asyncio.shield(starting.start(self, container, Viewer(size, client, stdin, raw)))

    async def run(
        self,
        config: Config,
        *,
        name: str = "",
        size: tuple[int, int] = (24, 80),
        client: socket.socket | None = None,
        raw: bool = False,
    ) -> Container:
        """Make a container and start it, in one; `client` as for `start`.

        Returns when its program runs, and it is safe on disk unless it is one that is removed at its end. Raises
        PyrtError; nothing of the container is left then.
        """
        return await asyncio.shield(creation.run(self, config, name, Viewer(size, client, raw=raw)))

    async def restart(self, container: Container, grace_s: float, *, size: tuple[int, int] = (24, 80)) -> None:
        """Stop a container, if it runs, and start it again. One made with --rm stays for that."""
        await asyncio.shield(starting.restart(self, container, grace_s, Viewer(size)))

    async def rename(self, container: Container, name: str) -> None:
        """Give a container another name. Raises UsageError, ConflictError when it is taken."""
        await asyncio.shield(creation.rename(self, container, name))

    # --- what happens to them ---

    def _on_event(self, message: Message) -> None:
        container = self.containers.get(message["id"])
        if container is None or message["run"] != container.state.run:
            return  # of a run that nobody waits for any more
        state = container.state
        if message["event"] == "closed":
            state.closed.set()
        elif message["event"] == "paused":
            state.paused = message["paused"]
        elif state.running:
            self.finish(container, message["record"])
        elif state.starting:  # the reply to its start came with it and has not been looked at yet
            state.early_exit = message["record"]

    def finish(self, container: Container, record: Message) -> None:
        ending.finish(self, container, record)

    def depart(self, container: Container) -> None:
        """Remove a container, made with --rm, when nobody reads its output any more."""
        task = self.spawn(ending.depart(self, container))
        self._departing.add(task)
        task.add_done_callback(self._departing.discard)

    async def departures(self) -> None:
        """Wait a moment for containers that have ended and are being removed: they still hold names and images."""
        if self._departing:
            await asyncio.wait(list(self._departing), timeout=ending.READERS_S)

    def _on_supervisor_lost(self) -> None:
        logger.error("the supervisor ended; see supervisor.log")
        self.spawn(self._after_supervisor())

    async def _after_supervisor(self) -> None:
        """Its containers die with it: nothing is said of their end before they are gone."""
        pids = [container.state.pid for container in self.containers.values() if container.state.running]
        await asyncio.to_thread(ending.wait_for_processes, pids)
        await self.supervision.restart()
        await adoption.reconcile(self)

    # --- standing still ---

    async def pause(self, container: Container) -> None:
        """Stop every process of a running container where it is. Raises ConflictError when it is paused already."""
        await pausing.pause(self, container)

    async def unpause(self, container: Container) -> None:
        """Let a paused container go on. Raises ConflictError when it is not paused."""
        await pausing.unpause(self, container)

    def frozen(self, container: Container) -> AbstractAsyncContextManager[None]:
        """Return a context in which a container's processes stand still; one that does not run is left alone."""
        return pausing.frozen(self, container)

    # --- ending and removing ---

    async def signal(self, container: Container, number: int) -> State:
        """Signal a running container; returns the run that got it. Raises ConflictError for one that does not run."""
        return await ending.send_signal(self, container, number)

    async def stop(self, container: Container, grace_s: float) -> None:
        """SIGTERM, after the grace SIGKILL; returns when it has ended. One that does not run is stopped already."""
        await ending.stop(self, container, grace_s)

    async def remove(self, container: Container, *, force: bool = False) -> None:
        """Remove a container. A running one is an error, unless force: then it is killed first."""
        await ending.remove(self, container, force=force)

    async def discard(self, container: Container) -> None:
        """Undo everything that was done for a container. Harmless twice."""
        await ending.discard(self, container)

    # --- watching ---

    async def show_log(
        self, container: Container, client: socket.socket, selection: Selection, *, raw: bool = False
    ) -> None:
        """Have what is wanted of a container's log sent to a client (borrowed), and then a status; see Selection."""
        await output.show(self, container, client, selection, raw)

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
        container.check_running()
        wanted = {frames.STDOUT: stdout, frames.STDERR: stderr}
        request = {
            "id": container.id,
            "stdin": stdin,
            "streams": [stream for stream, given in wanted.items() if given] or [frames.NOTICE],
            "signals": signals,
            "raw": raw,
        }
        try:
            await self.supervision.ask("attach", request, [client.fileno()])
        except NotFoundError:  # it has ended; the event is on its way
            raise ConflictError(f"container {container.label} is not running") from None
        self.events.tell(container, "attach")

    async def execute(self, container: Container, program: Program, viewer: Viewer) -> None:
        """Start one more program in a running container; returns when it runs, and `viewer` sees it."""
        await asyncio.shield(executing.execute(self, container, program, viewer))

    # --- its network ---

    def release_network(self, container: Container) -> None:
        ending.release_network(self, container)

    def log_notices(self) -> None:
        """Say what the network changed on the host beyond its own bridges and rules."""
        while self.network.notices:
            logger.warning("%s", self.network.notices.pop(0))

    async def _watch_network(self) -> None:
        """Repair what others remove of ours (a firewall that is reloaded flushes every rule)."""
        while True:
            await asyncio.sleep(NETWORK_CHECK_S)
            self.log_notices()
            if any(container.allocation for container in self.containers.values()):
                try:
                    if await asyncio.to_thread(self.network.repair):
                        logger.warning("the network was not as it should be, and was repaired")
                except PyrtError as error:
                    logger.error("the network is not as it should be: %s", error)
