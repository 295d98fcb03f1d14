# SPDX-License-Identifier: Apache-2.0
"""The daemon's side of the supervisor: finds it or starts it, asks it, hears from it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pyrt import errors
from pyrt.container.channel import Channel, Message
from pyrt.container.ending import wait_for_processes
from pyrt.errors import PyrtError, StartError

logger = logging.getLogger(__name__)

LOG_BYTES = 4 << 20
END_S = 5.0
RESPAWN_S = 1.0
ANSWER_S = 30.0  # a start that takes longer than this hangs in the kernel (a dead network file system, say)


class SupervisorLostError(PyrtError):
    """The supervisor ended, and the containers with it."""


class SupervisorSilentError(PyrtError):
    """The supervisor has not answered in time; what was asked may still happen."""


class Supervision:
    """A connection to the one supervisor of a root. Belongs to the daemon's event loop.

    `file_limit` is how many descriptors a container's program may have open. on_event(message) is called for what the
    supervisor says unasked, on_lost() when it has ended.
    """

    def __init__(
        self,
        root: Path,
        run_dir: Path,
        *,
        cgroup_parent: str,
        file_limit: int,
        on_event: Callable[[Message], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._root = root
        self._run_dir = run_dir
        self._cgroup_parent = cgroup_parent
        self._file_limit = file_limit
        self._on_event = on_event
        self._on_lost = on_lost
        self._channel: Channel | None = None
        self._replies: dict[int, asyncio.Future[Message]] = {}
        self._sequence = itertools.count(1)
        self._sending = asyncio.Lock()
        self._room: asyncio.Future[None] | None = None  # set while a request waits for room in the socket
        self._process: subprocess.Popen[bytes] | None = None
        self._spawned_at = -RESPAWN_S

    async def connect(self, *, start: bool = True) -> bool:
        """Connect to the supervisor that is there, or start one. False: there is none, and none was to be started."""
        if self._channel is not None:
            return True
        path = self._run_dir / "supervisor.sock"
        connection = _connect(path)
        if connection is None:
            if not start:
                return False
            connection = self._spawn(path)
        connection.setblocking(False)
        self._channel = Channel(connection)
        asyncio.get_running_loop().add_reader(connection, self.poll)
        return True

    @property
    def connected(self) -> bool:
        return self._channel is not None

    def _spawn(self, path: Path) -> socket.socket:
        self._spawned_at = time.monotonic()
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(os.fspath(path))
            os.chmod(path, 0o600)
            listener.listen(4)
            _rotate(self._run_dir / "supervisor.log")
            log_fd = os.open(
                self._run_dir / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
            try:
                process = subprocess.Popen(
                    [
                        sys.executable,
                        "-I",
                        "-m",
                        "pyrt.container.supervisor",
                        self._root,
                        str(listener.fileno()),
                        self._cgroup_parent,
                        str(self._file_limit),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log_fd,
                    stderr=log_fd,
                    env={},
                    cwd="/",
                    pass_fds=[listener.fileno()],
                    start_new_session=True,
                )
            finally:
                os.close(log_fd)
            self._process = process
            (self._run_dir / "supervisor.pid").write_text(f"{process.pid}\n")
            connection = _connect(path)
            assert connection is not None  # the listener is open: the kernel keeps the connection for its owner
            return connection

    def poll(self) -> None:
        """Take in everything that has arrived."""
        while self._channel is not None:
            try:
                received = self._channel.receive()
            except BlockingIOError:
                return
            except OSError:
                received = None
            if received is None:
                self._lost()
                return
            message, fds = received
            for fd in fds:
                os.close(fd)
            if "event" in message:
                self._on_event(message)
            elif (future := self._replies.pop(message["seq"], None)) is not None and not future.done():
                future.set_result(message)

    async def restart(self) -> None:
        """After a loss: collect the one that ended, and start another, unless that one ended at once too.

        One that let go of us and lives on is connected to again.
        """
        await self._collect()
        if time.monotonic() - self._spawned_at > RESPAWN_S:
            await self.connect()

    async def _collect(self) -> None:
        """Wait for a supervisor of our own that is ending: until then its socket may still take connections.

        Who comes late, when somebody else has found or made another already, has nothing to wait for.
        """
        if (process := self._process) is not None and self._channel is None:
            await asyncio.to_thread(wait_for_processes, [process.pid], each_s=END_S)
            if process.poll() is not None and self._process is process:
                self._process = None

    def _lost(self) -> None:
        self._disconnect()
        replies, self._replies = self._replies, {}
        for future in replies.values():
            if not future.done():
                said = self._run_dir / "supervisor.log"
                future.set_exception(SupervisorLostError(f"the supervisor ended before it answered; see {said}"))
        self._on_lost()

    def close(self) -> None:
        """Let go of the supervisor, which goes on."""
        if self._process is not None:
            self._process.returncode = 0  # Popen would warn that nobody waited for it: it is init's from now on
        self._disconnect()

    def _disconnect(self) -> None:
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel.socket)
            asyncio.get_running_loop().remove_writer(self._channel.socket)
            self._channel.close()
            self._channel = None
            self._on_room()

    def tell(self, op: str, message: Message) -> None:
        """Send a request whose reply nobody waits for."""
        if self._channel is not None:
            with contextlib.suppress(OSError):
                self._channel.send({**message, "op": op, "seq": next(self._sequence)})

    async def ask(self, op: str, message: Message, fds: Sequence[int] = ()) -> Message:
        """Send a request and wait for its reply. Raises the PyrtError that the supervisor answered with.

        `fds` are borrowed, and may be closed once this has been called.
        """
        sequence = next(self._sequence)
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._replies[sequence] = future
        held: list[int] = []
        try:
            held += map(os.dup, fds)
            async with asyncio.timeout(ANSWER_S):
                await self._send({**message, "op": op, "seq": sequence}, held)
                reply = await future
        except TimeoutError:
            raise SupervisorSilentError(f"the supervisor has not answered for {ANSWER_S:.0f} s") from None
        except OSError as error:
            raise SupervisorLostError(f"the supervisor cannot be reached: {error.strerror}") from error
        finally:
            self._replies.pop(sequence, None)
            if future.done() and not future.cancelled():
                future.exception()  # taken notice of, also where sending failed first
            for fd in held:
                os.close(fd)
        if "error" in reply:
            raise _rebuild(reply)
        return reply

    async def _send(self, message: Message, fds: Sequence[int]) -> None:
        """Send, in turn; waits while the supervisor is behind with what it was sent before. Raises OSError."""
        async with self._sending:
            again = True
            if self._channel is None:
                await self.connect()
            while (channel := self._channel) is not None:
                try:
                    channel.send(message, fds)
                    return
                except (BrokenPipeError, ConnectionResetError):  # it has ended just now, and has not been asked
                    if not again:
                        raise
                    again = False
                    self._lost()
                    await self._collect()
                    await self.connect()
                except BlockingIOError:
                    self._room = asyncio.get_running_loop().create_future()
                    asyncio.get_running_loop().add_writer(channel.socket, self._on_room)
                    await self._room
            raise SupervisorLostError("the supervisor ended before it could be asked; see supervisor.log")

    def _on_room(self) -> None:
        if self._channel is not None:
            asyncio.get_running_loop().remove_writer(self._channel.socket)
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)


def _rotate(log: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))


def _connect(path: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(os.fspath(path))
    except OSError as error:
        connection.close()
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
            return None
        raise
    return connection


def _rebuild(reply: Message) -> PyrtError:
    kind = getattr(errors, reply["kind"], PyrtError)
    if issubclass(kind, StartError):
        return kind(reply["step"], reply["errno"], reply["text"])
    return kind(reply["error"]) if issubclass(kind, PyrtError) else PyrtError(reply["error"])
