# SPDX-License-Identifier: Apache-2.0
"""One more program in a container that runs.

    with Joining() as joining:                   # clone3 into pyrt-init, still outside
        joining.go(container_pidfd, Plan().join().argv(["/bin/true"]).env([]).no_stdio())
        pid, pidfd = joining.start()             # a child of this process, in the container's namespaces
    status = collect(pidfd)

The container is hostile by now. What happens between here and the program's first instruction is in csrc/init/join.c.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import TracebackType

from pyrt.core.namespaces import EXECUTING, FAILED, TERMINAL, Plan, StepError, collect, prepare_join

_NOTE_BYTES = 4


class Joining:
    """A helper that enters a container's namespaces, and then a process born inside, which becomes the program.

    Reports come from both, and those of the process inside are no better than the container's own word. Not
    thread-safe. `terminal_fd` is the master of the terminal that the plan asked for, -1 while there is none; the
    caller's to close.
    """

    def __init__(self, *, cgroup_fd: int = -1) -> None:
        """Clone the helper, into the v2 group `cgroup_fd` (borrowed) if there is one. Raises StepError."""
        self.terminal_fd = -1
        self.failure: StepError | None = None
        self._heard = 0
        self._executing = False
        self._expects_terminal = False
        self._note_fd = os.memfd_create("pyrt-note", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self._note_fd, _NOTE_BYTES)
            self._slot = prepare_join(cgroup_fd)
        except BaseException:
            os.close(self._note_fd)
            raise

    def __enter__(self) -> Joining:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """The descriptor that is readable when `advance` has something to do."""
        return self._slot.socket_fd

    @property
    def helper_pidfd(self) -> int:
        """Readable once `settle` can be called without waiting; -1 after it."""
        return self._slot.pidfd

    def go(self, container_pidfd: int, plan: Plan, fds: Sequence[int] = (), *, terminal: bool = False) -> None:
        """Send the plan, with the first process of the container and the descriptors of the streams (all borrowed).

        `terminal`: the plan asks for one. Waits while the helper has not read what does not fit into its socket.
        """
        self._expects_terminal = terminal
        self._slot.go(plan, [container_pidfd, self._note_fd, *fds])

    def advance(self, *, wait: bool = False) -> bool:
        """Take in reports. True: nothing more will be said, and `settle` is next, when the helper has ended."""
        while True:
            try:
                report = self._slot.report(wait=wait)
            except BlockingIOError:
                return False
            except StepError as error:  # not what an init says: somebody inside has the socket
                self.failure = error
                self.end_helper()
                return True
            if report is None:
                return True
            self._heard += 1
            # Only the first report is the helper's for certain: nothing was born inside yet.
            if report.kind == TERMINAL and self._heard == 1 and self._expects_terminal:
                self.terminal_fd = report.fd
                continue
            if report.fd >= 0:
                os.close(report.fd)
            if report.kind == EXECUTING:
                self._executing = True
            elif report.kind == FAILED:
                self.failure = report.error()

    def end_helper(self) -> None:
        """Kill the helper: what was born inside by then is found by `settle`."""
        if self.helper_pidfd >= 0:
            try:
                self._slot.signal(signal.SIGKILL)
            except ProcessLookupError:
                pass

    def settle(self) -> tuple[int, int] | None:
        """Collect the helper, waiting for its end, and return the pid and the pidfd of the process inside.

        None: there is none. Otherwise it is a child of this process, and the caller's to collect, also where `error`
        then says that it is not the program.
        """
        collect(self._slot.pidfd)
        child = int.from_bytes(os.pread(self._note_fd, _NOTE_BYTES, 0), sys.byteorder)
        self._give_back()
        return (child, os.pidfd_open(child)) if child else None

    def error(self) -> StepError | None:
        """Why the program does not run, or None when it does. To be asked after `settle`."""
        if self.failure is None and not self._executing:
            return StepError("join", 0, "the process ended before it could start the program")
        return self.failure

    def start(self) -> tuple[int, int]:
        """After `go`, wait until the program runs. Returns its pid, and its pidfd, which is the caller's.

        Raises StepError; nothing of it is left then.
        """
        while not self.advance(wait=True):
            pass
        inside = self.settle()
        error = self.error()
        if inside is not None and error is None:
            return inside
        if inside is not None:
            signal.pidfd_send_signal(inside[1], signal.SIGKILL)
            collect(inside[1])
            os.close(inside[1])
        raise error or StepError("join", 0, "nothing was started")

    def close(self) -> None:
        """End what was not started, and collect it. A second call, or one after `settle`, does nothing."""
        if self.helper_pidfd < 0:
            return
        self.end_helper()
        if (inside := self.settle()) is not None:
            signal.pidfd_send_signal(inside[1], signal.SIGKILL)
            collect(inside[1])
            os.close(inside[1])

    def _give_back(self) -> None:
        self._slot.started = True  # it has been collected
        self._slot.close()
        os.close(self._note_fd)
