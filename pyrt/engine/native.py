# SPDX-License-Identifier: Apache-2.0
"""The native launch path: a container from a LaunchSpec by pyrt's own init, in two halves, prepare and go.

    launch = NativeEngine(layout).begin(spec)    # a parked slot, or one prepared now; go: plan and descriptors
    launch.let_go()                              # the init has been at work meanwhile, and waits here if it is faster
    while not launch.advance(): ...              # the init's reports, as they come in on launch.fileno()

Every step of `begin` has its undo on a stack; a launch that fails leaves no process, group, link or descriptor.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from pyrt.core import namespaces
from pyrt.core.namespaces import Plan, Report, Slot, StepError
from pyrt.engine.cgroups import Cgroup, Layout
from pyrt.engine.launch import Launch, open_pipes, start_error
from pyrt.engine.plans import make_plan
from pyrt.engine.slots import Kind, Parked, SlotPool, link_name, park, slot_name
from pyrt.engine.spec import LaunchSpec
from pyrt.errors import StartError


class NativeLaunch(Launch):
    """A container on its way from clone to exec, and what of it the parent holds: its process is the parent's child."""

    at_end_only = True

    def __init__(
        self,
        slot: Slot,
        cgroup: Cgroup,
        link: str,
        *,
        mounts_fd: int = -1,
        on_closed: Callable[[], object] | None = None,
    ) -> None:
        self._on_closed = on_closed
        self.mounts_fd = mounts_fd
        self.slot = slot
        self.cgroup = cgroup
        self.link = link
        self.stdin_fd = self.stdout_fd = self.stderr_fd = self.terminal_fd = -1
        self._executing = False
        self._error: StepError | None = None

    @property
    def pid(self) -> int:
        return self.slot.pid

    @property
    def pidfd(self) -> int:
        return self.slot.pidfd

    def fileno(self) -> int:
        return self.slot.socket_fd

    def go(self, plan: Plan, spec: LaunchSpec) -> None:
        """Open the container's streams, and send the plan with its ends of them. Raises StepError, OSError."""
        with contextlib.ExitStack() as borrowed:
            self.slot.go(plan, [] if spec.tty else open_pipes(self, borrowed, stdin=spec.stdin))

    def let_go(self) -> None:
        try:
            self.slot.open_gate()
        except StepError as error:
            raise start_error(error) from error

    def advance(self) -> bool:
        while True:
            try:
                report = self.slot.report(wait=False)
            except BlockingIOError:
                return False
            except StepError as error:
                raise start_error(error) from error
            if report is None:
                break
            self._on_report(report)
        if self._error is None and self._executing:
            self.slot.started = True
            return True
        raise start_error(self._error or self._silence())

    def _on_report(self, report: Report) -> None:
        if report.kind == namespaces.TERMINAL:
            self.terminal_fd = report.fd
        elif report.kind == namespaces.EXECUTING:
            self._executing = True
        elif report.kind == namespaces.FAILED:
            self._error = report.error()

    def _silence(self) -> StepError:
        """Why the init has ended without a word."""
        return StepError("init", 0, "the container's init died before it could start the program")

    def let_mounts_go(self) -> None:
        """Have the mounts taken down with the last process: a volume's file system is free when the end is known."""
        self._give_back("mounts_fd")

    def hang_up(self) -> None:
        self.slot.hang_up()

    def take_fd(self, name: str) -> int:
        fd = int(getattr(self, name))
        setattr(self, name, -1)
        return fd

    def abort(self) -> None:
        for name in ("stdin_fd", "stdout_fd", "stderr_fd", "terminal_fd"):
            self._give_back(name)
        self.slot.started = False
        self.close()
        self.cgroup.remove()

    def signal(self, number: int) -> None:
        self.slot.signal(number)

    def wait(self) -> int | None:
        return namespaces.collect_ended(self.slot.pidfd)

    def _give_back(self, name: str) -> None:
        if (fd := self.take_fd(name)) >= 0:
            os.close(fd)

    def close(self) -> None:
        self.slot.close()
        self._give_back("mounts_fd")
        if self._on_closed is not None:
            self._on_closed()


class NativeEngine:
    """Starts containers with pyrt-init. One per supervisor; `begin` blocks for the kernel's work only.

    With a pool a start takes what is parked there, and prepares only what is not.
    """

    name = "native"

    def __init__(self, layout: Layout, *, pool: SlotPool | None = None) -> None:
        self._layout = layout
        self._pool = pool
        namespaces.init_program()

    def begin(self, spec: LaunchSpec) -> NativeLaunch:
        """Send a container on its way. Raises StartError; nothing is left then."""
        try:
            parked = self._prepare(spec)
            go_on = self._pool.go_on if self._pool is not None else None
            launch = NativeLaunch(
                parked.use(), parked.cgroup, link_name(parked.name), mounts_fd=parked.mounts_fd, on_closed=go_on
            )
            try:
                if spec.volumes:
                    launch.let_mounts_go()
                launch.go(make_plan(spec).gate(), spec)
                if parked.spare:
                    launch.cgroup.limit(spec.limits)
            except BaseException:
                launch.abort()
                raise
            return launch
        except StepError as error:
            raise start_error(error) from error
        except OSError as error:
            raise StartError("start", error.errno or 0, error.filename or "") from error

    def _prepare(self, spec: LaunchSpec) -> Parked:
        kind = Kind.of(spec)
        parked = self._pool.take(kind) if self._pool is not None else None
        return parked or park(self._layout, kind, slot_name(), spec.limits)

    def sweep(self) -> None:
        """Nothing of this engine's is ever left."""

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
