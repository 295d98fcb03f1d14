# SPDX-License-Identifier: Apache-2.0
"""One container as the supervisor has it: from the moment its program runs until its last reader has everything."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyrt.container.freezer import Freezer
from pyrt.container.loop import Loop
from pyrt.container.process import ExitRecord, Process
from pyrt.container.signals import ends_by_default
from pyrt.container.worker import Worker
from pyrt.core.broadcast import Log
from pyrt.engine.launch import Launch
from pyrt.engine.spec import LaunchSpec
from pyrt.errors import PyrtError

logger = logging.getLogger("pyrt.supervisor")

REMOVE_RETRY_S = 0.02
REMOVE_ATTEMPTS = 100
PF_EXITING = 0x4  # include/linux/sched.h; in field 9 of proc_pid_stat(5)


class RunningContainer(Process):
    """A container's first process, its cgroup, its ports and its limit of time.

    on_exit(container, record) is called when the process has ended and its output is complete; the caller records the
    exit and then calls `conclude`. on_closed(container) when nothing of it is left.
    """

    subject = "container"

    def __init__(
        self,
        loop: Loop,
        launch: Launch,
        log: Log,
        *,
        spec: LaunchSpec,
        run: str,
        reservations: list[int],
        remover: Worker,
        on_exit: Callable[[RunningContainer, ExitRecord], None],
        on_closed: Callable[[RunningContainer], None],
        on_paused: Callable[[RunningContainer, bool], None],
    ) -> None:
        super().__init__(loop, launch, log, label=f"container {spec.id}", wants_stdin=spec.stdin)
        self.id = spec.id
        self.run = run
        self.spec = spec
        self.cgroup = launch.cgroup
        self.link = launch.link
        self.freezer = Freezer(loop, launch.cgroup, lambda paused: on_paused(self, paused))
        self._mounts_fd = launch.take_fd("mounts_fd")
        self._reservations = reservations  # owned: bound sockets that keep the container's public ports
        self._remover = remover
        self._exit_callback = on_exit
        self._closed_callback = on_closed
        self._timed_out = False
        self._gone = False
        self._when_gone: list[Callable[[], object]] = []
        for warning in launch.cgroup.warnings:
            log.notice(f"{warning}\n".encode())

    def _signal_for(self, number: int) -> int:
        """See `ends_by_default` for what the first process of a container has no handler for."""
        names = ("syscall", "status", "syscall")
        before, status, after = (Path(f"/proc/{self.pid}/{name}").read_text("latin-1") for name in names)
        return signal.SIGKILL if ends_by_default(number, status, before, after) else number

    def _send(self, number: int) -> None:
        super()._send(number)
        if number == signal.SIGKILL:
            self.freezer.thaw()  # the freezer of cgroup v1 keeps a process even from that
        elif number == signal.SIGTERM and self.freezer.paused:
            self.freezer.unpause()  # what is to end must be able to act on it

    def describe(self) -> dict[str, Any]:
        """What a daemon that finds it needs to know."""
        return {
            "run": self.run,
            "pid": self.pid,
            "started_at": self.started_at,
            "paused": self.freezer.paused,
            "group": self.cgroup.id,
            "link": self.link,
        }

    @property
    def ending(self) -> bool:
        """It has ended, or is past saving: its first process is on its way out, and takes every other along."""
        if self._record is not None:
            return True
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text("latin-1").rpartition(")")[2].split()
        except OSError:
            return True
        return bool(int(fields[6]) & PF_EXITING)

    def limit_time(self, timeout_s: float) -> None:
        self._timers.append(self._loop.call_later(timeout_s, self._on_timeout))

    def _on_timeout(self) -> None:
        if self._record is None:
            self._timed_out = True
            self.deliver(signal.SIGKILL)

    def _describe_end(self, status: int) -> ExitRecord:
        self.freezer.end()
        oom = self._ran_out_of_memory()
        if oom:
            self.log.notice(f"out of memory: the limit is {self.spec.limits.memory_bytes} bytes\n".encode())
        if self._timed_out:
            self.log.notice(b"stopped: its time (--timeout) was up\n")
        record = super()._describe_end(status)
        return {
            "run": self.run,
            "started_at": self.started_at,
            **record,
            "oom": oom,
            "timed_out": self._timed_out,
            "finished_at": time.time(),
        }

    def _ran_out_of_memory(self) -> bool:
        try:
            return self.cgroup.oom_kills() > 0
        except (OSError, PyrtError) as error:  # somebody removed the group: the end is recorded all the same
            logger.error("%s: %s", self.label, error)
            return False

    def _on_complete(self, record: ExitRecord) -> None:
        for fd in self._reservations:  # before the end is told: whoever hears of it may want the ports
            os.close(fd)
        self._reservations = []
        self._exit_callback(self, record)

    def _release(self) -> None:
        self._take_down(attempts=REMOVE_ATTEMPTS)

    def _take_down(self, attempts: int) -> None:
        """Give its mounts and its group back, by the worker.

        The kernel waits for grace periods with the ones, and has one lock for all of the others, which others may hold
        for milliseconds.
        """
        failure: PyrtError | None = None
        mounts_fd, self._mounts_fd = self._mounts_fd, -1

        def remove() -> None:
            nonlocal failure
            if mounts_fd >= 0:
                os.close(mounts_fd)
            try:
                self.cgroup.remove(timeout_ms=0)
            except PyrtError as error:
                failure = error

        def removed() -> None:
            if failure is None:
                self._on_removed()
            elif attempts > 0:  # the kernel is still burying the last process
                self._loop.call_later(REMOVE_RETRY_S, lambda: self._take_down(attempts - 1))
            else:
                logger.error("%s: %s", self.label, failure)
                self._on_removed()

        self._remover.do(remove, removed)

    def _on_removed(self) -> None:
        self._gone = True
        for call in self._when_gone:
            call()

    def when_gone(self, call: Callable[[], object]) -> None:
        """Have `call` made when nothing of the container is left in the kernel; at once if that is so."""
        if self._gone:
            call()
        else:
            self._when_gone.append(call)

    def _on_closed(self) -> None:
        self._closed_callback(self)
