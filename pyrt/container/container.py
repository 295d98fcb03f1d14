# SPDX-License-Identifier: Apache-2.0
"""Container: its record, its state, its directory, and who waits for its end."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyrt.container.config import Record
from pyrt.container.state import STARTABLE, State, Status
from pyrt.durable import sync_directory, write_atomically, write_durably
from pyrt.errors import ConflictError, NotFoundError
from pyrt.image.sizes import tree_bytes
from pyrt.network.allocation import Allocation

WRITERS_S = 10.0


class Container:
    """One container as the daemon has it. Used in the daemon's event loop only."""

    def __init__(self, directory: Path, record: Record) -> None:
        self.directory = directory
        self.record = record
        self.state = State()
        self.listed: tuple[str, str, str, Record | None] = ("", "", "", None)  # what `ps` showed of that record
        self.allocation: Allocation | None = None
        self.making = False  # its name is taken, and it is not on the disk yet
        self.damaged = ""  # why its files cannot be used; it may run all the same
        self.restarts = 0  # how many are stopping it in order to start it again
        self.removal: asyncio.Task[None] | None = None  # somebody's `rm`, from its beginning
        self.discarding: asyncio.Future[None] | None = None  # its files and its name go; there is no way back
        self.writers = 0  # programs of ours that have its root mounted, and write there
        self._waiters: list[asyncio.Future[None]] = []
        self._saving = asyncio.Lock()

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

    # --- its files ---

    @property
    def log_directory(self) -> Path:
        return self.directory / "log"

    def written_bytes(self) -> int:
        """Return how much the files hold that the container has made or changed in its root; blocks."""
        return tree_bytes(self.directory / "diff")

    def make_directories(self, below: Path) -> None:
        """Make the container's own layer; its root is as that of the layer below it.

        Raises OSError; what was made is the caller's to remove.
        """
        own = os.fspath(self.directory)
        for name in ("", "/work"):
            os.mkdir(own + name, 0o700)
        diff = own + "/diff"
        os.mkdir(diff)
        # It becomes the container's /: of a directory that several layers have, overlayfs shows the topmost. Everybody
        # may always enter it: archives made of a temporary directory say otherwise, and do not mean it.
        status = os.stat(below)
        os.chown(diff, status.st_uid, status.st_gid)
        os.chmod(diff, stat.S_IMODE(status.st_mode) | 0o755)
        os.utime(diff, ns=(status.st_atime_ns, status.st_mtime_ns))

    async def save(self, *, durable: bool = False) -> None:
        """Write config.json; `durable`: it, its directory and the entry that leads there are on the disk on return.

        One at a time, and each writes the record as it then is: the last one to end has written the latest.
        """
        async with self._saving:
            path, data = self.directory / "config.json", self.record.dump()
            if durable:
                await asyncio.to_thread(self._write_durably, path, data)
            else:
                write_atomically(path, data)

    def _write_durably(self, path: Path, data: bytes) -> None:
        write_durably(path, data)
        sync_directory(self.directory.parent)

    def move(self, target: Path, *, durable: bool = False) -> None:
        """Move the directory out of the way, if it is there."""
        try:
            os.rename(self.directory, target)
        except FileNotFoundError:
            return
        if durable:
            sync_directory(self.directory.parent)

    # --- its state ---
    #
    # What may be done when. A start that is under way is waited for first by all but `start` of another container.
    #
    #              CREATED  STARTING  RUNNING  EXITED, LOST  DAMAGED   being removed
    #   start      starts   waits     nothing  starts        refused   no such container
    #   stop       nothing  waits     stops    nothing       nothing   as its state says
    #   kill       refused  waits     kills    refused       refused   as its state says
    #   pause      refused  waits     pauses   refused       refused   as its state says
    #   rm         removes  refused   refused  removes       removes   waits for that
    #   rm -f      removes  waits     kills, removes         removes   waits for that

    @property
    def removing(self) -> bool:
        return self.discarding is not None or (self.removal is not None and not self.removal.done())

    @property
    def active(self) -> bool:
        """It runs, or is about to."""
        return self.state.active

    @property
    def leaving(self) -> bool:
        """It has ended and is being removed, as was asked for: for its users it is gone."""
        if not self.record.config.auto_remove:
            return False
        return self.state.status in (Status.EXITED, Status.LOST) and self.restarts == 0

    def check_present(self) -> None:
        """Raise NotFoundError when it is on its way out."""
        if self.removing or self.leaving:
            raise NotFoundError(f"No such container: {self.label}")

    def check_running(self) -> None:
        """Raise ConflictError when it does not run."""
        if not self.state.running:
            raise ConflictError(f"container {self.label} is not running")

    def check_whole(self) -> None:
        """Raise ConflictError when its files cannot be read."""
        if self.damaged:
            raise ConflictError(f"container {self.label} is damaged and can only be removed")

    def begin(self, run: str) -> State:
        """Let a start begin; returns the state there was, which `fall_back` wants if nothing comes of it."""
        self.check_whole()
        before = self.state
        if before.status not in STARTABLE:
            raise ConflictError(f"container {self.label} is {before.status.value} and cannot be started")
        self.state = State(Status.STARTING, run)
        return before

    def fall_back(self, before: State) -> None:
        """A start came to nothing: what was the case before it is again."""
        failed, self.state = self.state, before
        failed.set_lost("it did not start")
        self.wake()

    def wake(self) -> None:
        """Let those look again who wait for something to become of it."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def ended(self, run: State | None = None) -> State:
        """Wait until a run (the present one, if not told otherwise) has ended; returns the state that it ended in.

        Returns at once when nothing runs nor is being started. A start that follows at once changes nothing: what it
        changes is another State.
        """
        state = run or await self.started()
        while state.active:
            await self.changed()
        return state

    async def started(self) -> State:
        """Wait until it is not being made nor started any more, whatever came of that."""
        while self.making or self.state.starting:
            await self.changed()
        return self.state

    async def made(self) -> None:
        """Wait until it is not being made any more, whatever came of that."""
        while self.making:
            await self.changed()

    @contextmanager
    def written(self) -> Iterator[None]:
        """Count as one that writes to its root, by a mount that no start must meet."""
        self.writers += 1
        try:
            yield
        finally:
            self.writers -= 1
            self.wake()

    async def unwritten(self) -> None:
        """Wait until nobody does. Raises ConflictError where that takes long: somebody may be copying by hand."""
        try:
            async with asyncio.timeout(WRITERS_S):
                while self.writers:
                    await self.changed()
        except TimeoutError:
            raise ConflictError(f"something is being copied into container {self.label}: wait for its end") from None

    async def changed(self) -> None:
        """Wait until something has become of it."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter
