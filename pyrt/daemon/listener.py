# SPDX-License-Identifier: Apache-2.0
"""Listeners: sockets bound so that nobody else can reach them, and the first byte of every connection.

A connection's first byte tells its protocol: pyrt's own frames or Docker 0.1.0's line. Whatever is neither costs its
sender the connection and us one line in the log.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import os
import socket
import ssl
import stat
import struct
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from pyrt.core import descriptors, frames
from pyrt.daemon import frame_session, rcli
from pyrt.daemon.address import TcpAddress, UnixAddress, is_loopback, resolve
from pyrt.daemon.relay import terminate_tls
from pyrt.daemon.session import OpenSession
from pyrt.errors import ConflictError, ProtocolError, PyrtError, UsageError

log = logging.getLogger("pyrt.daemon")

MAX_CONNECTIONS: Final = 1024
FIRST_WORDS_S: Final = 10.0
EXHAUSTED_S: Final = 0.2
_SHOWN_BYTES: Final = 40
_RESERVED_FDS: Final = 128  # for everything that is no connection
_EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_BACKLOG: Final = 512


class _Protocol(Protocol):
    """What a module has to offer that speaks one."""

    @property
    def open_session(self) -> Callable[[socket.socket], Awaitable[OpenSession]]: ...

    @property
    def refusal(self) -> Callable[[str], bytes]: ...


_PROTOCOLS: Final[Mapping[int, _Protocol]] = {frame_session.FIRST_BYTE: frame_session, rcli.FIRST_BYTE: rcli}

Serve = Callable[[OpenSession], Awaitable[None]]


def bind_unix(address: UnixAddress) -> socket.socket:
    """Listen on a path, mode 0600 from its first moment, in place of a socket nobody listens on any more.

    The caller holds the lock that makes it the only daemon here.
    """
    path = Path(address.path)
    _check_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory_fd = -1
    try:
        os.fchmod(listener.fileno(), 0o600)  # Linux gives the name the mode of the socket itself
        directory_fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        temporary = f".{path.name}.{os.getpid()}"
        listener.bind(f"/proc/self/fd/{directory_fd}/{temporary}")  # a path of any length
        listener.listen(_BACKLOG)
        # ready before it has its name: a client finds a socket that answers, or none
        os.rename(temporary, path.name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
    except OSError as error:
        listener.close()
        raise PyrtError(f"cannot listen on {address}: {error.strerror}") from error
    finally:
        if directory_fd >= 0:
            os.close(directory_fd)
    listener.setblocking(False)
    return listener


def _check_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise PyrtError(f"cannot listen on unix://{path}: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise ConflictError(f"cannot listen on unix://{path}: the file exists and is no socket")
    directory_fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            probe.connect(f"/proc/self/fd/{directory_fd}/{path.name}")
    except BlockingIOError:
        pass  # its queue is full: somebody is there
    except OSError:
        return
    finally:
        os.close(directory_fd)
    raise ConflictError(f"cannot listen on unix://{path}: another process does")


def bind_tcp(address: TcpAddress, *, tls: bool) -> list[socket.socket]:
    """Listen on every address of a host. Off the loopback only with TLS: whoever can connect is root here."""
    places = resolve(address)
    for _, (host, _port) in places:
        if not tls and not is_loopback(host):
            raise UsageError(
                f"-H {address}: not a loopback address ({host}); it needs --tls, --tlscacert, --tlscert and --tlskey"
            )
    listeners = []
    try:
        for family, where in places:
            listener = socket.create_server(where, family=family, backlog=_BACKLOG)
            listener.setblocking(False)
            listeners.append(listener)
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise PyrtError(f"cannot listen on {address}: {error.strerror}") from error
    if not tls:
        log.warning("%s has no authentication: every user of this host is root there", address)
    return listeners


def connection_limit() -> int:
    """Return how many connections may be open at once, so that descriptors never run out."""
    return max(16, min(MAX_CONNECTIONS, (descriptors.limit() - _RESERVED_FDS) // 2))


class Listener:
    """Accepts connections on any number of sockets and hands each one's session to `serve`, in a task of its own."""

    def __init__(self, serve: Serve, *, limit: int | None = None, deadline: float = FIRST_WORDS_S) -> None:
        self._serve = serve
        self._deadline = deadline
        self._places = limit or connection_limit()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets: dict[socket.socket, ssl.SSLContext | None] = {}
        self._loop = asyncio.get_running_loop()
        self._accepting = True
        self._pause: asyncio.TimerHandle | None = None  # after which it is tried again

    def add(self, listener: socket.socket, *, context: ssl.SSLContext | None = None) -> None:
        """Begin to accept on a listening, non-blocking socket, which is ours from now on."""
        self._sockets[listener] = context
        self._loop.add_reader(listener.fileno(), self._accept, listener)

    async def close(self) -> None:
        """Accept no more, cancel what runs, and wait until every client has been told."""
        self._stop_accepting()
        if self._pause is not None:
            self._pause.cancel()
        for listener in self._sockets:
            listener.close()
        self._sockets.clear()  # so that nothing starts again
        for connection in self._tasks:
            connection.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start_accepting(self) -> None:
        if self._accepting or self._pause is not None or len(self._tasks) >= self._places:
            return
        self._accepting = True
        for listener in self._sockets:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    def _stop_accepting(self) -> None:
        """Let clients wait in the kernel's queue."""
        self._accepting = False
        for listener in self._sockets:
            self._loop.remove_reader(listener.fileno())

    def _accept(self, listener: socket.socket) -> None:
        """Take one of the connections that wait."""
        try:
            connection, _ = listener.accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                log.error("cannot accept a connection: %s", error.strerror)
                self._stop_accepting()  # the socket stays readable: without a pause this would be a busy loop
                self._pause = self._loop.call_later(EXHAUSTED_S, self._end_pause)
            return  # or the client has left already
        task = self._loop.create_task(self._connection(connection, self._sockets[listener]))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        if len(self._tasks) >= self._places:
            self._stop_accepting()

    def _end_pause(self) -> None:
        self._pause = None
        self._start_accepting()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._start_accepting()
        if not task.cancelled() and (error := task.exception()):
            log.error("internal error in a connection", exc_info=error)

    async def _connection(self, connection: socket.socket, context: ssl.SSLContext | None) -> None:
        peer = "a client"
        protocol: _Protocol | None = frame_session  # who is turned away before a word is told so in frames
        try:
            connection.setblocking(False)
            peer = _peer(connection)
            if connection.family != socket.AF_UNIX:
                _tune(connection)
            if context:
                connection = _behind_tls(connection, context, peer)
            async with asyncio.timeout(self._deadline):
                first = await _peek(connection)
                if not first:
                    return  # a probe
                protocol = _PROTOCOLS.get(first[0])
                if protocol is None:
                    raise ProtocolError(f"not pyrt's protocol: {first!r}")
                open_session = await protocol.open_session(connection)
            await self._serve(open_session)
        except TimeoutError:
            log.warning("%s said nothing for %g s; closed", peer, self._deadline)
        except (ProtocolError, frames.FrameError) as error:
            log.warning("%s: %s; closed", peer, error)
            if protocol is not None:
                _send_last(connection, protocol.refusal(str(error)))
        except ConnectionError as error:
            log.debug("%s: %s", peer, error)
        finally:
            connection.close()


async def _peek(connection: socket.socket) -> bytes:
    """Return the first bytes, which stay where they are; mostly they came with the connection."""
    try:
        return connection.recv(_SHOWN_BYTES, socket.MSG_PEEK)
    except BlockingIOError:
        await rcli.readable(connection)
        return connection.recv(_SHOWN_BYTES, socket.MSG_PEEK)


def _peer(connection: socket.socket) -> str:
    """Describe who connected. Raises ProtocolError for a user who may not."""
    if connection.family != socket.AF_UNIX:
        return "a client at " + ":".join(str(part) for part in connection.getpeername()[:2])
    size = struct.calcsize("3i")
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    if uid not in (0, os.geteuid()):
        raise ProtocolError(f"user {uid} may not use this daemon (process {pid})")
    return f"process {pid} of user {uid}"


def _tune(connection: socket.socket) -> None:
    """Send at once what is written, and find out within two minutes that a silent peer is not there any more.

    Probes are sent while all is quiet; who streams looks after the rest (`pyrt.container.peer`). TCP_USER_TIMEOUT would
    not do: it ends the connection of a peer that is there, but does not read, as well.
    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4)):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _send_last(connection: socket.socket, message: bytes) -> None:
    """Tell a client why it is turned away, as far as its socket takes it without waiting."""
    try:
        connection.send(message)
    except OSError:
        pass


def _behind_tls(connection: socket.socket, context: ssl.SSLContext, peer: str) -> socket.socket:
    """Return a plain socket; a thread terminates the TLS on the other side of it."""
    ours, theirs = socket.socketpair()
    threading.Thread(
        target=functools.partial(_tls_thread, connection, theirs, context, peer), name="tls", daemon=True
    ).start()
    ours.setblocking(False)
    return ours


def _tls_thread(connection: socket.socket, plain: socket.socket, context: ssl.SSLContext, peer: str) -> None:
    try:
        terminate_tls(connection, plain, context)
    except (OSError, ValueError) as error:
        log.warning("%s: no TLS: %s; closed", peer, error)
