# SPDX-License-Identifier: Apache-2.0
"""One more program in a container that runs, whichever engine started that: by its first process and its cgroup."""

from __future__ import annotations

import contextlib
import os
import signal

from pyrt.core.joining import Joining
from pyrt.core.namespaces import Plan, StepError, collect_ended
from pyrt.engine.cgroups import Cgroup
from pyrt.engine.launch import open_pipes, start_error
from pyrt.engine.plans import add_credentials, add_program, add_streams
from pyrt.engine.spec import ExecSpec
from pyrt.errors import StartError

SMALL_PLAN_BYTES = 64 << 10  # what a socket takes in although nobody reads it


class Exec:
    """A program on its way into a container, and from `settle` on the program.

    `stdin_fd`, `stdout_fd`, `stderr_fd`, `terminal_fd` as a Launch has them. `pid` and `pidfd` count once `settle` has
    returned; what it raised leaves a process to be collected where `pidfd` is not -1.
    """

    def __init__(self, joining: Joining) -> None:
        self.stdin_fd = self.stdout_fd = self.stderr_fd = self.terminal_fd = -1
        self.pid = self.pidfd = -1
        self._joining = joining
        self._given_up = False

    def go(self, container_pidfd: int, plan: Plan, spec: ExecSpec) -> None:
        """Open the program's streams, and send the plan with its ends of them. Raises StepError, OSError."""
        piped = not spec.tty and not spec.detached
        with contextlib.ExitStack() as borrowed:
            theirs = open_pipes(self, borrowed, stdin=spec.stdin) if piped else []
            self._joining.go(container_pidfd, plan, theirs, terminal=spec.tty)

    def fileno(self) -> int:
        """The descriptor that is readable when `advance` has something to do."""
        return self._joining.fileno()

    def advance(self) -> bool:
        """Take in reports. True: no more will come, and `helper_pidfd` becomes readable when it is time to `settle`."""
        return self._joining.advance()

    @property
    def helper_pidfd(self) -> int:
        return self._joining.helper_pidfd

    def settle(self) -> None:
        """Learn what came of it. Raises StartError; what then is left to do is `give_up`."""
        inside = self._joining.settle()
        self.terminal_fd = self._joining.terminal_fd
        if inside is not None:
            self.pid, self.pidfd = inside
        if (error := self._joining.error()) is not None:
            raise start_error(error) from error
        if inside is None or self._given_up:
            raise StartError("join", 0, "it was given up")

    def give_up(self) -> None:
        """Close the streams and kill whatever there is; it is collected by `settle`, and by `wait` after that."""
        self._given_up = True
        for name in ("stdin_fd", "stdout_fd", "stderr_fd", "terminal_fd"):
            if (fd := self.take_fd(name)) >= 0:
                os.close(fd)
        self._joining.end_helper()
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)

    def abort(self) -> None:
        """End one that was not sent on its way, and collect it."""
        self.give_up()
        self._joining.close()

    def take_fd(self, name: str) -> int:
        fd = int(getattr(self, name))
        setattr(self, name, -1)
        return fd

    def signal(self, number: int) -> None:
        signal.pidfd_send_signal(self.pidfd, number)

    def wait(self) -> int | None:
        return collect_ended(self.pidfd)

    def close(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def begin(spec: ExecSpec, container_pidfd: int, cgroup: Cgroup) -> Exec:
    """Send a program on its way into a container. Blocks for the kernel's work only; never for the container's.

    Raises StartError; nothing is left then.
    """
    plan = make_plan(spec)
    born_inside = len(bytes(plan)) <= SMALL_PLAN_BYTES
    try:
        # On v2 the helper is born in the container's group, unless it has to read first what would not fit into its
        # socket: in a frozen group, or one out of its share of the processors, it would have us wait for that.
        group_fd = cgroup.group_fd() if born_inside else None
        try:
            made = Exec(Joining(cgroup_fd=-1 if group_fd is None else group_fd))
        finally:
            if group_fd is not None:
                os.close(group_fd)
        plan.join(cgroup.entrances(born=group_fd is not None))
        try:
            made.go(container_pidfd, plan, spec)
        except BaseException:
            made.abort()
            raise
        return made
    except StepError as error:
        raise start_error(error) from error
    except OSError as error:
        raise StartError("join", error.errno or 0, error.filename or "") from error


def make_plan(spec: ExecSpec) -> Plan:
    """Translate all of an ExecSpec but whom it joins."""
    plan = add_credentials(add_program(Plan(), spec), spec)
    return plan.no_stdio() if spec.detached else add_streams(plan, spec)
