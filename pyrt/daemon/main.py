# SPDX-License-Identifier: Apache-2.0
"""The daemon's life: options, directories and locks, listeners, the runtime, an orderly end.

Containers are none of its children: it ends, also by kill -9, and they go on; the next one finds them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from pyrt.commands.flags import Flag, parse
from pyrt.core import descriptors
from pyrt.daemon.address import TcpAddress, Tls, UnixAddress, parse_address, tls_of
from pyrt.daemon.dispatch import FAILED, dispatch
from pyrt.daemon.listener import Listener, bind_tcp, bind_unix
from pyrt.daemon.places import Lock, prepare_directory
from pyrt.daemon.session import OpenSession
from pyrt.errors import PyrtError, UsageError

log = logging.getLogger("pyrt.daemon")

LOG_BYTES: Final = 4 << 20
MAX_THREADS: Final = 64  # blocking calls of commands at once; each waits for the kernel, none computes
THREADS_END_S: Final = 2.0

FLAGS: Final = (
    Flag("root", kind=str, default="/var/lib/pyrt"),
    Flag("run-dir", kind=str, default="/run/pyrt"),
    Flag("host", "H", kind=list),
    Flag("bridge", kind=str, default=""),
    Flag("engine", kind=str, default=""),
    Flag("debug", "D"),
    Flag("background"),
    Flag("tls"),
    Flag("tlscacert", kind=str, default=""),
    Flag("tlscert", kind=str, default=""),
    Flag("tlskey", kind=str, default=""),
)


@dataclass(frozen=True, slots=True)
class DaemonOptions:
    """What the daemon was told. `background`: started by a client that waits for "ready" on our stdout."""

    root: Path
    run_dir: Path
    addresses: tuple[UnixAddress | TcpAddress, ...] = ()
    bridge: str = ""
    engine: str = ""
    debug: bool = False
    background: bool = False
    tls: Tls | None = None


class RuntimeLike(Protocol):
    """What the daemon itself uses of pyrt.container.runtime.Runtime."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    def poll_events(self) -> None: ...


RuntimeFactory = Callable[[DaemonOptions], RuntimeLike]


def make_runtime(options: DaemonOptions) -> RuntimeLike:
    """Make the real Runtime; imported here because a daemon has to answer before all of it is loaded."""
    from pyrt.container.runtime import Runtime
    from pyrt.engine.launch import DEFAULT

    made: RuntimeLike = Runtime(
        options.root, options.run_dir, bridge=options.bridge or None, engine=options.engine or DEFAULT
    )
    return made


def parse_options(words: Sequence[str]) -> DaemonOptions:
    """Read the daemon's command line. Raises UsageError for every combination that makes no sense."""
    options, rest = parse("-d", FLAGS, words)
    if rest:
        raise UsageError(f"the daemon takes no argument: {rest[0]!r}")
    addresses = tuple(parse_address(text) for text in options.host)
    tls = tls_of(options.tls, options.tlscacert, options.tlscert, options.tlskey)
    if tls and not any(isinstance(address, TcpAddress) for address in addresses):
        raise UsageError("--tls needs -H tcp://HOST:PORT")
    for name in ("root", "run_dir"):
        if not os.path.isabs(getattr(options, name)):
            raise UsageError(f"--{name.replace('_', '-')} {getattr(options, name)!r}: not an absolute path")
    if options.bridge:
        from pyrt.network.bridge import check_name

        check_name(options.bridge)
    engine = options.engine or os.environ.get("PYRT_ENGINE", "")
    if engine:
        from pyrt.engine.launch import engine_name

        try:
            engine_name(engine)
        except UsageError as error:
            raise UsageError(f"{'--engine' if options.engine else 'PYRT_ENGINE'} {engine!r}: {error}") from None
    return DaemonOptions(
        root=Path(options.root),
        run_dir=Path(options.run_dir),
        addresses=addresses,
        bridge=options.bridge,
        engine=engine,
        debug=options.debug,
        background=options.background,
        tls=tls,
    )


class LazyRuntime:
    """The Runtime, started by whoever needs it first; a failed start is tried again by the next command."""

    def __init__(self, options: DaemonOptions, factory: RuntimeFactory) -> None:
        self._options = options
        self._factory = factory
        self._runtime: RuntimeLike | None = None
        self._starting = asyncio.Lock()

    async def get(self) -> RuntimeLike:
        """Return the started runtime, up to date with what happened to its containers."""
        async with self._starting:
            if self._runtime is None:
                runtime = self._factory(self._options)
                await runtime.open()
                self._runtime = runtime
        self._runtime.poll_events()
        return self._runtime

    async def warm_up(self) -> None:
        """Adopt what an earlier daemon left before anybody asks."""
        try:
            await self.get()
            gc.freeze()  # what there is now stays: a collection in the middle of a start need not look through it
        except PyrtError as error:
            log.error("the runtime did not start: %s", error)
        except Exception:
            log.exception("the runtime did not start")

    async def close(self) -> None:
        """Let go of the containers; they go on."""
        if self._runtime is not None:
            await self._runtime.close()


async def _serve(
    options: DaemonOptions, factory: RuntimeFactory, *, on_ready: Callable[[], None], start_lock: Lock
) -> None:
    """Listen until SIGTERM or SIGINT. The caller holds all locks; the start lock is let go once we answer."""
    runtime = LazyRuntime(options, factory)
    workers = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="command")
    asyncio.get_running_loop().set_default_executor(workers)

    own_root = os.path.realpath(options.root)

    async def serve(open_session: OpenSession) -> None:
        task = asyncio.current_task()
        assert task is not None

        def leave() -> None:
            task.cancel()

        session = open_session(on_disconnect=leave)
        try:
            if not _is_root(session.root, own_root):
                text = f"the daemon of {options.run_dir} serves the root {options.root}; give --root {session.root}"
                await session.fail(f"{text} a --run-dir of its own")
                await session.exit(FAILED)
                return
            await dispatch(session, runtime.get)
        except asyncio.CancelledError:
            if not session.gone:
                raise
            log.debug("the client of %r left", session.argv[:1])
        finally:
            session.close()

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    own = UnixAddress(str(options.run_dir / "pyrt.sock"))
    listener = Listener(serve)
    paths = _listen(listener, own, options)
    on_ready()
    start_lock.release()
    warming = asyncio.create_task(runtime.warm_up())
    await stop.wait()
    log.info("stopping; containers go on")
    # A daemon that starts now waits for us to be gone instead of failing on our locks.
    await asyncio.to_thread(start_lock.wait)
    for path in paths:
        os.unlink(path)
    await listener.close()
    warming.cancel()
    await asyncio.gather(warming, return_exceptions=True)
    await runtime.close()
    await _end_threads(workers)


def _is_root(named: str, own: str) -> bool:
    """Whether the root that a client names, if any, is the one that is served."""
    return not named or named == own or os.path.realpath(named) == own


async def _end_threads(workers: ThreadPoolExecutor) -> None:
    """Give commands' blocking calls a moment to end; one that does not must not keep the daemon alive.

    Both asyncio and the interpreter would wait for such a thread, so the process ends here. There is nothing left that
    could be lost: clients have been told, locks go with the process, files are written durably or not at all.
    """
    ended = threading.Thread(target=workers.shutdown, kwargs={"cancel_futures": True}, daemon=True)
    ended.start()
    deadline = time.monotonic() + THREADS_END_S
    while ended.is_alive():
        if time.monotonic() > deadline:
            log.warning("a blocking call did not end; left it behind")
            logging.shutdown()
            os._exit(0)
        await asyncio.sleep(0.01)


def _listen(listener: Listener, own: UnixAddress, options: DaemonOptions) -> list[str]:
    """Bind everything before accepting anything; return the paths to remove at the end."""
    context = options.tls.context(server=True) if options.tls else None
    bound: list[tuple[socket.socket, bool]] = []
    paths: list[str] = []
    try:
        for address in dict.fromkeys((*options.addresses, own)):
            if isinstance(address, TcpAddress):
                bound += [(made, True) for made in bind_tcp(address, tls=context is not None)]
            else:
                bound.append((bind_unix(address), False))
                paths.append(address.path)
            log.info("listening on %s", address)
    except BaseException:
        for made, _ in bound:
            made.close()
        for path in paths:
            os.unlink(path)
        raise
    for made, is_tcp in bound:
        listener.add(made, context=context if is_tcp else None)
    return paths


def _log_to_file(path: Path) -> None:
    """Let stdout and stderr, Python's last words included, go to the log file from now on."""
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def _announce(options: DaemonOptions) -> None:
    """Tell the client that started us. It may have been killed meanwhile, which changes nothing."""
    if not options.background:
        log.info("ready")
        return
    try:
        os.write(1, b"ready\n")
    except OSError:
        pass
    _log_to_file(options.run_dir / "daemon.log")
    log.info("ready, pid %d", os.getpid())


def main(words: Sequence[str], *, factory: RuntimeFactory = make_runtime) -> int:
    """Be the daemon until told to stop; return the exit status. Errors are one line on stderr."""
    with contextlib.ExitStack() as held:
        try:
            options = parse_options(words)
            logging.basicConfig(
                level=logging.DEBUG if options.debug else logging.INFO,
                format="%(asctime)s %(levelname)s %(name)s: %(message)s",
                stream=sys.stderr,
            )
            logging.getLogger("asyncio").setLevel(logging.WARNING)
            start_lock = _own(options, held)
            descriptors.raise_limit()
            asyncio.run(_serve(options, factory, on_ready=lambda: _announce(options), start_lock=start_lock))
        except PyrtError as error:
            print(f"Error: {error}", file=sys.stderr)
            return error.exit_code
    return 0


def _own(options: DaemonOptions, held: contextlib.ExitStack) -> Lock:
    """Make both directories ours alone, for as long as `held` lasts; return the start lock, taken."""
    prepare_directory(options.run_dir, option="--run-dir", marker="start.lock")
    start_lock = held.enter_context(contextlib.closing(Lock(options.run_dir / "start.lock")))
    start_lock.wait()
    held.enter_context(contextlib.closing(Lock(options.run_dir / "daemon.pid"))).take(option="--run-dir")
    prepare_directory(options.root, option="--root", marker="lock")
    held.enter_context(contextlib.closing(Lock(options.root / "lock"))).take(option="--root")
    return start_lock
