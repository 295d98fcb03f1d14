# SPDX-License-Identifier: Apache-2.0
"""The native launch path: a container from a LaunchSpec by pyrt's own init, in two halves, prepare and go.

    launch = NativeEngine(layout).begin(spec)    # prepare: clone, cgroup, veth; go: plan and descriptors
    while not launch.advance(): ...              # the init's reports, as they come in on launch.fileno()

Every step of `begin` has its undo on a stack; a launch that fails leaves no process, group, link or descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import os

from pyrt.core import namespaces
from pyrt.core._namespaces import lib
from pyrt.core.namespaces import Plan, Report, Slot, StepError
from pyrt.engine.cgroups import Cgroup, Layout
from pyrt.engine.launch import Launch, open_pipes, start_error
from pyrt.engine.plans import make_plan
from pyrt.engine.spec import LaunchSpec
from pyrt.errors import StartError


class NativeLaunch(Launch):
    """A container on its way from clone to exec, and what of it the parent holds: its process is the parent's child."""

    def __init__(self, slot: Slot, cgroup: Cgroup) -> None:
        self.slot = slot
        self.cgroup = cgroup
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

    def take_fd(self, name: str) -> int:
        fd = int(getattr(self, name))
        setattr(self, name, -1)
        return fd

    def abort(self) -> None:
        for name in ("stdin_fd", "stdout_fd", "stderr_fd", "terminal_fd"):
            if (fd := self.take_fd(name)) >= 0:
                os.close(fd)
        self.slot.started = False
        self.close()
        self.cgroup.remove()

    def signal(self, number: int) -> None:
        self.slot.signal(number)

    def wait(self) -> int:
        return self.slot.wait()

    def close(self) -> None:
        self.slot.close()


class NativeEngine:
    """Starts containers with pyrt-init. One per supervisor; `begin` blocks for the kernel's work only."""

    name = "native"

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        namespaces.init_program()

    def begin(self, spec: LaunchSpec) -> NativeLaunch:
        """Prepare a container and send it on its way. Raises StartError; nothing is left then."""
        try:
            with contextlib.ExitStack() as undo:
                cgroup = Cgroup.create(self._layout, spec.id, spec.limits, confine_devices=not spec.privileged)
                undo.callback(cgroup.remove)
                launch = NativeLaunch(self._prepare(spec, cgroup), cgroup)
                undo.pop_all()
                undo.callback(launch.abort)
                if spec.network.mode == "bridge":
                    _plumb(spec, launch.pid)
                launch.go(make_plan(spec), spec)
                undo.pop_all()
                return launch
        except StepError as error:
            raise start_error(error) from error
        except OSError as error:
            raise StartError("start", error.errno or 0, error.filename or "") from error

    def _prepare(self, spec: LaunchSpec, cgroup: Cgroup) -> Slot:
        """Clone the init into its group (v2), or move it there: on v1 nothing can be born in a group."""
        wanted = namespaces.HOST_NETWORK if spec.network.mode == "host" else namespaces.ALL
        group_fd = cgroup.clone_fd()
        try:
            slot = namespaces.prepare(
                wanted,
                privileged=spec.privileged,
                show_cgroup=bool(self._layout.on_v2),
                cgroup_fd=-1 if group_fd is None else group_fd,
            )
        finally:
            if group_fd is not None:
                os.close(group_fd)
        if group_fd is None:
            try:
                cgroup.join(slot.pid)
            except BaseException:
                slot.close()
                raise
        return slot

    def sweep(self) -> None:
        """Nothing of this engine's is ever left."""


def _plumb(spec: LaunchSpec, pid: int) -> None:
    """Make the veth pair, its far end born inside the container. It goes by itself with the container's namespace."""
    netns_fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        name = link_name(spec)
        arguments = (name.encode(), spec.network.bridge_index, netns_fd, b"eth0", spec.network.mtu)
        ret = lib.pyrt_veth_create(*arguments)
        if ret == -errno.EEXIST:
            # Of the container's last run: the kernel takes down a namespace, and the links in it, when it finds time.
            lib.pyrt_link_delete(name.encode())
            ret = lib.pyrt_veth_create(*arguments)
    finally:
        os.close(netns_fd)
    if ret < 0:
        raise StepError("network", -ret, f"make the link {name}")


def link_name(spec: LaunchSpec) -> str:
    """The host's end of a container's veth pair."""
    return f"pyrt{spec.id[:11]}"
