# SPDX-License-Identifier: Apache-2.0
"""What every engine has in common: how a container is started, and what its parent holds of it while it runs.

An engine differs from another in how the kernel is asked for a container. What asks is the same for all of them: the
spec, the reports of pyrt-init, the descriptors, the exit status.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Protocol

from pyrt.core.namespaces import StepError
from pyrt.engine.cgroups import Cgroup
from pyrt.engine.spec import LaunchSpec
from pyrt.errors import NotExecutableError, ProgramNotFoundError, StartError, UsageError

ENGINES = ("native", "lxc")
DEFAULT = "native"


class Launch(Protocol):
    """A container from the moment its start has begun until its exit status has been collected.

    `stdin_fd`, `stdout_fd`, `stderr_fd` are the parent's ends of its pipes, `terminal_fd` the terminal's master; -1
    where there is none. They and the cgroup belong to whoever began the launch, until `abort`. `mounts_fd` is the
    container's mount namespace, or -1: as long as it is open the mounts stay, and taking them down (0.3 ms, most of it
    waiting for RCU grace periods) does not hold up the news of the container's end. `link` names the host's side of its
    veth. `pid` and `pidfd` are those of the container's first process, whose namespaces are the
    container's; they count once `advance` has returned true, `pidfd` until `close` (then it is -1). `at_end_only`: the
    reports can wait until the other side has hung up, so that the last one, just before the program, wakes nobody who
    would be in its way.
    """

    cgroup: Cgroup
    link: str
    stdin_fd: int
    stdout_fd: int
    stderr_fd: int
    terminal_fd: int
    mounts_fd: int
    at_end_only: bool

    @property
    def pid(self) -> int: ...

    @property
    def pidfd(self) -> int: ...

    def let_go(self) -> None:
        """Let the program run, when everything else is there that it needs: not before has it been begun in earnest.
        Raises PyrtError; what then is left to do is `abort`."""

    def fileno(self) -> int:
        """The descriptor that is readable when `advance` has something to do."""

    def advance(self) -> bool:
        """Take in the reports that have arrived. True: the program runs. Raises StartError; what then is left to do is
        `abort`."""

    def hang_up(self) -> None:
        """Close what the start was watched by: the program runs. `fileno` has no meaning any more."""

    def take_fd(self, name: str) -> int:
        """Hand one of the descriptors to the caller, who closes it from now on."""

    def abort(self) -> None:
        """End what there is of it and give everything back."""

    def signal(self, number: int) -> None:
        """Signal the first process. Raises ProcessLookupError when it has ended."""

    def wait(self) -> int | None:
        """Collect the end of a process whose pidfd is readable. Returns the exit code, or -n when signal n ended it.

        None: it is traced, and its tracer's to collect first. Never waits.
        """

    def close(self) -> None:
        """Give back what is left once its end has been collected; the cgroup is the caller's to remove."""


class Engine(Protocol):
    """Starts containers. One of each kind per supervisor."""

    name: str

    def begin(self, spec: LaunchSpec) -> Launch:
        """Begin a start, which comes to its program after `let_go`; blocks for the kernel's work only.

        Raises PyrtError; nothing is left then.
        """

    def sweep(self) -> None:
        """Remove what is left between containers, or by an earlier supervisor. Raises PyrtError for what is in use."""

    def close(self) -> None:
        """Give back what it keeps between starts. Its containers must have ended."""


class HasStreams(Protocol):
    stdin_fd: int
    stdout_fd: int
    stderr_fd: int


def open_pipes(streams: HasStreams, borrowed: contextlib.ExitStack, *, stdin: bool) -> list[int]:
    """Make pipes: the parent's ends become fields of `streams`, which owns them; the others, in a plan's order, are
    returned, and closed with `borrowed`."""
    theirs = []
    for name in ("stdin_fd", "stdout_fd", "stderr_fd") if stdin else ("stdout_fd", "stderr_fd"):
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        mine, other = (write_fd, read_fd) if name == "stdin_fd" else (read_fd, write_fd)
        borrowed.callback(os.close, other)
        setattr(streams, name, mine)
        theirs.append(other)
    return theirs


def engine_name(text: str) -> str:
    """Check the name of an engine. Raises UsageError."""
    if text not in ENGINES:
        raise UsageError(f"no such engine: use one of {', '.join(ENGINES)}")
    return text


def start_error(error: StepError) -> StartError:
    """The exception that carries the exit status a failed step means to the user."""
    reason = error.errno or 0
    if error.step == "exec":
        if reason in (errno.ENOENT, errno.ENOTDIR):
            return ProgramNotFoundError(error.step, reason, error.text)
        return NotExecutableError(error.step, reason, error.text)
    return StartError(error.step, reason, error.text)
