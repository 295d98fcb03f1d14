# SPDX-License-Identifier: Apache-2.0
"""Programs that run in containers beside their first process, as the supervisor has them.

Of an execution nothing is recorded, and its output is kept only as long as there may be somebody to read it: in a
bounded log of its own in the run directory, which goes with it.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyrt.container.attachment import Attachment
from pyrt.container.channel import Message
from pyrt.container.loop import READ, Loop
from pyrt.container.process import TRACED_S, ExitRecord, Process
from pyrt.container.running import RunningContainer
from pyrt.core.broadcast import Broadcaster, Log
from pyrt.engine import capabilities, joining
from pyrt.engine.joining import Exec
from pyrt.engine.spec import ExecSpec, LaunchSpec
from pyrt.errors import ConflictError, PyrtError, StartError

LOG_MAX_BYTES = 4 << 20  # its reader may be that far behind before it waits
LOG_MAX_FILES = 2

logger = logging.getLogger("pyrt.supervisor")


def make_spec(container: LaunchSpec, request: Message) -> ExecSpec:
    """What to execute: what was asked for, and for the rest what the container itself was started with."""
    variables = dict(variable.split("=", 1) for variable in container.env)
    if request["tty"]:
        variables.setdefault("TERM", "xterm")
    variables.update(variable.split("=", 1) for variable in request["env"])
    privileged = request["privileged"]
    everything = capabilities.mask(capabilities.process_capabilities()) if privileged else 0
    return ExecSpec(
        argv=tuple(request["argv"]),
        env=tuple(f"{name}={value}" for name, value in variables.items()),
        cwd=request["cwd"] or container.cwd,
        user=request["user"] or container.user,
        capabilities=everything or container.capabilities,
        seccomp_path="" if privileged else container.seccomp_path,
        no_new_privileges=container.no_new_privileges and not privileged,
        tty=request["tty"],
        rows=request["rows"],
        columns=request["columns"],
        stdin=request["stdin"],
        detached=request["detach"] and not request["tty"],
    )


class Execution(Process):
    """One program in a container. It ends with the container; nothing else ends it that does not end any program.

    on_closed(execution) is called when nothing of it is left.
    """

    def __init__(
        self,
        loop: Loop,
        program: Exec,
        log: Log,
        *,
        directory: Path,
        wants_stdin: bool,
        on_closed: Callable[[Execution], None],
    ) -> None:
        super().__init__(loop, program, log, label=f"exec {directory.name}", wants_stdin=wants_stdin)
        self._directory = directory  # owned: where its log is
        self._closed_callback = on_closed

    def attach(self, sock: socket.socket, *, stdin: bool, raw: bool) -> None:
        super().attach(sock, stdin=stdin, raw=raw)
        if not self._attachments:  # it has gone already
            self._hang_up_terminal()

    def _on_client_gone(self, attachment: Attachment) -> None:
        if not attachment.detached:
            self._hang_up_terminal()  # nobody can ever come back to it
        super()._on_client_gone(attachment)

    def _on_complete(self, record: ExitRecord) -> None:
        self.conclude()

    def _release(self) -> None:
        """Nothing: its group is the container's, and its log is read yet."""

    def _on_closed(self) -> None:
        remove_log(self._directory)
        self._closed_callback(self)


class Starting:
    """An execution whose program does not run yet."""

    def __init__(self, program: Exec, log: Log, directory: Path, client: socket.socket | None) -> None:
        self.program = program
        self.log = log
        self.directory = directory
        self.client = client  # owned


class Executions:
    """All executions of one supervisor. `reply` and `refuse` answer a request, as the supervisor's own do."""

    def __init__(
        self,
        loop: Loop,
        broadcaster: Broadcaster,
        directory: Path,
        *,
        reply: Callable[[Message, Message], None],
        refuse: Callable[[Message, PyrtError], None],
        on_closed: Callable[[], None],
    ) -> None:
        self.by_log: dict[Log, Execution] = {}
        self._loop = loop
        self._broadcaster = broadcaster
        self._directory = directory
        self._reply = reply
        self._refuse = refuse
        self._closed_callback = on_closed
        self._starting: dict[str, Starting] = {}
        remove_log(directory)  # an earlier supervisor's
        directory.mkdir(mode=0o700)

    def begin(self, request: Message, container: RunningContainer, fds: list[int]) -> None:
        """Begin an execution; the reply follows when the program runs, or does not. Raises PyrtError."""
        spec = make_spec(container.spec, request)
        name = request["exec"]
        directory = self._directory / name
        try:
            log = self._open_log(directory)
        except OSError as error:
            remove_log(directory)
            raise PyrtError(f"no room for its output: {error.strerror}: {directory}") from error
        try:
            program = joining.begin(spec, container.pidfd, container.cgroup)
        except StartError as error:
            log.close()
            remove_log(directory)
            raise _explained(error, container) from error
        client = None if request["detach"] else socket.socket(fileno=fds.pop(0))
        starting = self._starting[name] = Starting(program, log, directory, client)
        self._loop.watch(program.fileno(), READ, lambda: self._advance(request, container, starting))

    def abandon(self, name: str) -> bool:
        """Nobody waits for this start any more; False: it is none of these."""
        if (starting := self._starting.get(name)) is not None:
            starting.program.give_up()
        return starting is not None

    def _open_log(self, directory: Path) -> Log:
        directory.mkdir(mode=0o700)
        dirfd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return self._broadcaster.open_log(dirfd, max_size_bytes=LOG_MAX_BYTES, max_files=LOG_MAX_FILES)
        finally:
            os.close(dirfd)

    def _advance(self, request: Message, container: RunningContainer, starting: Starting) -> None:
        if starting.program.advance():
            self._loop.unwatch(starting.program.fileno())
            # It is about to end; when, is up to the container's group, so that nobody waits for it here.
            self._loop.watch(starting.program.helper_pidfd, READ, lambda: self._settle(request, container, starting))

    def _settle(self, request: Message, container: RunningContainer, starting: Starting) -> None:
        self._loop.unwatch(starting.program.helper_pidfd)
        del self._starting[request["exec"]]
        try:
            starting.program.settle()
        except StartError as error:
            self._fail(request, _explained(error, container), starting)
            return
        execution = Execution(
            self._loop,
            starting.program,
            starting.log,
            directory=starting.directory,
            wants_stdin=request["stdin"],
            on_closed=self._on_closed,
        )
        self.by_log[execution.log] = execution
        self._reply(request, {"pid": execution.pid})
        try:
            if starting.client is not None:
                execution.attach(starting.client, stdin=request["stdin"], raw=request["raw"])
        finally:
            execution.read_output()

    def _fail(self, request: Message, error: PyrtError, starting: Starting) -> None:
        starting.program.give_up()
        starting.log.close()
        remove_log(starting.directory)
        if starting.client is not None:
            starting.client.close()
        self._refuse(request, error)
        if starting.program.pidfd >= 0:
            self._loop.watch(starting.program.pidfd, READ, lambda: self._collect(starting.program))

    def _collect(self, program: Exec) -> None:
        self._loop.unwatch(program.pidfd)
        if program.wait() is None:  # it is traced
            self._loop.call_later(TRACED_S, lambda: self._collect(program))
        else:
            program.close()

    def _on_closed(self, execution: Execution) -> None:
        del self.by_log[execution.log]
        self._closed_callback()


def _explained(error: StartError, container: RunningContainer) -> PyrtError:
    """A start that fails because the container ends meanwhile is not the program's fault."""
    return ConflictError("the container is not running") if container.ending else error


def remove_log(directory: Path) -> None:
    def report(function: Any, path: str, info: Any) -> None:
        if not isinstance(info[1], FileNotFoundError):
            logger.error("the output of an exec cannot be removed: %s: %s", path, info[1])

    shutil.rmtree(directory, onerror=report)
