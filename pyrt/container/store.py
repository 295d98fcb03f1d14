# SPDX-License-Identifier: Apache-2.0
"""ContainerStore: the containers of a root, by id and by name, and their directories on the disk."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
from collections.abc import Callable
from ipaddress import IPv4Address
from operator import attrgetter
from pathlib import Path

from pyrt.container.config import Config, Record, verified
from pyrt.container.container import Container
from pyrt.container.spread import spread
from pyrt.container.state import Status
from pyrt.errors import ConflictError, NotFoundError, PyrtError, UsageError
from pyrt.image.removal import remove_tree
from pyrt.network.allocation import Allocation
from pyrt.network.bridge import check_name
from pyrt.network.ports import parse_port_spec

ID = re.compile(r"[0-9a-f]{64}")
SWEEP_S = 0.05

logger = logging.getLogger("pyrt.runtime")


class ContainerStore:
    """What the daemon knows of its containers. `load` may run in a thread; the rest belongs to the event loop."""

    def __init__(self, root: Path) -> None:
        self._directory = root / "containers"
        self._trash = root / "tmp"
        for directory in (self._directory, self._trash):
            directory.mkdir(mode=0o700, exist_ok=True)
        spread(self._directory)
        self.by_id: dict[str, Container] = {}
        self._names: dict[str, Container] = {}
        self._removals: set[asyncio.Future[None]] = set()
        self._ended: list[Container] = []  # out of the books, and soon off the disk
        self._sweep: asyncio.TimerHandle | None = None

    def get(self, name: str) -> Container:
        """Find a container by name, id, or unique beginning of an id. Raises NotFoundError, ConflictError."""
        if container := self._names.get(name) or self.by_id.get(name):
            return container
        found = [container for id, container in self.by_id.items() if id.startswith(name)] if name else []
        if len(found) > 1:
            raise ConflictError(f"{name} is the beginning of {len(found)} containers' ids: give more of it")
        if not found:
            raise NotFoundError(f"No such container: {name}")
        return found[0]

    def list(self) -> list[Container]:
        """All containers, newest first."""
        return sorted(self.by_id.values(), key=attrgetter("record.created_at"), reverse=True)

    def holder(self, name: str) -> Container | None:
        return self._names.get(name)

    def add(self, record: Record) -> Container:
        """Take a new container into the books; its name, which must be free, is its own from now on."""
        container = Container(self._directory / record.id, record)
        self.by_id[record.id] = container
        if record.name:
            self._names[record.name] = container
        return container

    async def rename(self, container: Container, name: str) -> None:
        """Give a container another name, which must be free. Raises OSError; then it has the old one still."""
        old = container.name
        self._names[name] = container  # before the first await: a name is given once
        container.record = dataclasses.replace(container.record, name=name)
        try:
            await container.save(durable=True)
        except BaseException:
            container.record = dataclasses.replace(container.record, name=old)
            self._names.pop(name, None)
            raise
        if self._names.get(old) is container:
            del self._names[old]

    async def discard(self, container: Container) -> None:
        """Take a container out of the books and off the disk. Harmless twice: whoever comes second waits as well.

        Its name is free when this returns, and it will not come back after a power cut (one that is removed at its end
        would not anyway); its files go in the background.
        """
        if container.discarding is None:
            if container.record.config.auto_remove and container.state.status is Status.EXITED:
                container.discarding = asyncio.get_running_loop().create_future()
                container.discarding.set_result(None)
                self._forget(container)
                self._remove_soon(container)
            else:
                container.discarding = asyncio.get_running_loop().create_task(self._discard(container))
        await asyncio.shield(container.discarding)

    async def _discard(self, container: Container) -> None:
        loop = asyncio.get_running_loop()
        moved: asyncio.Future[None] = loop.create_future()

        def say(error: OSError | None) -> None:
            if moved.done():  # nobody waits any more
                return
            if error is None:
                moved.set_result(None)
            else:
                moved.set_exception(error)

        def remove() -> None:
            trash = self._trash_of(container)
            try:
                container.move(trash, durable=not container.record.config.auto_remove)
            except OSError as error:
                loop.call_soon_threadsafe(say, error)
                return
            loop.call_soon_threadsafe(say, None)
            remove_tree(trash)

        self._in_thread(remove)
        try:
            await moved
        finally:
            self._forget(container)

    def _forget(self, container: Container) -> None:
        self.by_id.pop(container.id, None)
        self._names = {name: holder for name, holder in self._names.items() if holder is not container}

    def _trash_of(self, container: Container) -> Path:
        return self._trash / f"{container.id}.removed"

    def _remove_soon(self, container: Container) -> None:
        """Have the files of one that has ended removed together with those of others that end just now.

        Nobody waits for that, and should the daemon die before, the next one knows from the record what was to be done.
        """
        self._ended.append(container)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._remove_ended)

    def _remove_ended(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        ended, self._ended = self._ended, []

        def remove() -> None:
            for container in ended:
                try:
                    container.move(self._trash_of(container))
                    remove_tree(self._trash_of(container))
                except OSError as error:
                    logger.error("container %s could not be removed: %s", container.label, error)

        if ended:
            self._in_thread(remove)

    def _in_thread(self, remove: Callable[[], None]) -> None:
        """A thread's work: a rename waits for the kernel to take down the overlay that was mounted in there."""
        removal = asyncio.get_running_loop().run_in_executor(None, remove)
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    async def removals(self, timeout_s: float) -> None:
        """Wait until the files of what was discarded are gone."""
        self._remove_ended()
        if self._removals:
            await asyncio.wait(self._removals, timeout=timeout_s)

    def load(self) -> None:
        """Read every container's record. One that cannot be read is listed as damaged, and keeps no other from it."""
        for directory in self._directory.iterdir():
            if not ID.fullmatch(directory.name):
                continue
            try:
                record = Record.load((directory / "config.json").read_bytes())
                if record.id != directory.name:
                    raise PyrtError("config.json is damaged: it is another container's")
                allocation = _load_allocation(record)
            except (PyrtError, OSError) as error:
                if isinstance(error, FileNotFoundError) and _is_unfinished(directory):
                    remove_tree(directory)
                    continue
                reason = f"config.json is damaged: {error.strerror}" if isinstance(error, OSError) else str(error)
                logger.error("container %s: %s", directory.name[:16], reason)
                self._add_damaged(directory, reason)
                continue
            self.add(record).allocation = allocation

    def _add_damaged(self, directory: Path, reason: str) -> None:
        config = Config(image="", cmd=())
        created_at = directory.lstat().st_mtime
        container = self.add(
            Record(id=directory.name, name="", created_at=created_at, image_id="", image_name="", config=config)
        )
        container.state.status = Status.DAMAGED
        container.state.reason = container.damaged = reason


def _is_unfinished(directory: Path) -> bool:
    """Whether the daemon died while making it. Nobody was told of it, and it never ran."""
    return directory.is_dir() and not any((directory / name).exists() for name in ("started.json", "exit.json", "log"))


def _load_allocation(record: Record) -> Allocation | None:
    """What a record says of the network. Raises PyrtError for a damaged one."""
    if record.network is None:
        return None
    try:
        allocation = verified(Allocation.from_record(record.network))
        IPv4Address(allocation.address), allocation.bridge_address, check_name(allocation.bridge.partition("-")[0])
        for mapping in allocation.mappings:
            parse_port_spec(f"{mapping.host_ip}:{mapping.host_port}:{mapping.container_port}/{mapping.protocol}")
        return allocation
    except (ValueError, TypeError, KeyError, AttributeError, UsageError) as error:
        raise PyrtError(f"config.json is damaged: its network: {error!r}") from error
