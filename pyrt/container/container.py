# SPDX-License-Identifier: Apache-2.0
"""Container: its record, its state, its directory, and who waits for its end."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import stat
from pathlib import Path
from typing import Any

from pyrt.container.config import Record
from pyrt.container.state import State, Status
from pyrt.durable import sync_directory, write_atomically, write_durably
from pyrt.network.allocation import Allocation


class Container:
    """One container as the daemon has it. Used in the daemon's event loop only."""

    def __init__(self, directory: Path, record: Record) -> None:
        self.directory = directory
        self.record = record
        self.state = State()
        self.allocation: Allocation | None = None
        self.removing = False
        self.discarding: asyncio.Task[None] | None = None  # its removal, once that has begun
        self.started_once = False
        self.starting = False  # a request to start it is under way
        self.early_exit: dict[str, Any] | None = None  # its end, heard of before the reply to its start
        self.closed = asyncio.Event()  # nobody reads its log any more
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def image_id(self) -> str:
        return self.record.image_id

    @property
    def command(self) -> str:
        return " ".join(self.record.config.cmd)

    @property
    def label(self) -> str:
        """How messages name it."""
        return self.name or self.id[:16]

    def set_network(self, network: dict[str, Any]) -> None:
        self.record = dataclasses.replace(self.record, network=network)

    @property
    def log_directory(self) -> Path:
        return self.directory / "log"

    def make_directories(self, below: Path) -> None:
        """Make the container's own layer; its root is as that of the layer below it.

        Raises OSError; what was made is the caller's to remove.
        """
        own = os.fspath(self.directory)
        for name in ("", "/rw", "/rw/work"):
            os.mkdir(own + name, 0o700)
        diff = own + "/rw/diff"
        os.mkdir(diff)
        # It becomes the container's /: of a directory that several layers have, overlayfs shows the topmost. Everybody
        # may always enter it: archives made of a temporary directory say otherwise, and do not mean it.
        status = os.stat(below)
        os.chown(diff, status.st_uid, status.st_gid)
        os.chmod(diff, stat.S_IMODE(status.st_mode) | 0o755)
        os.utime(diff, ns=(status.st_atime_ns, status.st_mtime_ns))

    def write(self, *, durable: bool = False) -> None:
        """Write config.json; `durable`: it, its directory and the entry that leads there are on the disk on return."""
        path, data = self.directory / "config.json", self.record.dump()
        if durable:
            write_durably(path, data)
            sync_directory(self.directory.parent)
        else:
            write_atomically(path, data)

    def move(self, target: Path, *, durable: bool = False) -> None:
        """Move the directory out of the way, if it is there."""
        try:
            os.rename(self.directory, target)
        except FileNotFoundError:
            return
        if durable:
            sync_directory(self.directory.parent)

    def set_exited(self, record: dict[str, Any]) -> None:
        self.state.set_exited(record)
        self.wake()

    def set_lost(self, reason: str) -> None:
        self.state.set_lost(reason)
        self.wake()

    @property
    def active(self) -> bool:
        """It runs, or is about to."""
        return self.starting or self.state.running

    @property
    def leaving(self) -> bool:
        """It has ended and is being removed, as was asked for: for its users it is gone."""
        return self.record.config.auto_remove and self.state.status in (Status.EXITED, Status.LOST)

    def wake(self) -> None:
        """Let those look again who wait for something to become of it."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def ended(self) -> None:
        """Wait until it does not run any more. Returns at once when it does not, nor is being started."""
        while self.active:
            await self._change()

    async def started(self) -> None:
        """Wait until it is not being started any more, whatever came of that."""
        while self.starting:
            await self._change()

    async def _change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter
