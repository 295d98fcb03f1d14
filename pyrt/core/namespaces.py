# SPDX-License-Identifier: Apache-2.0
"""Containers from the inside of the kernel: prepare and go, and the single system calls they are made of.

    with prepare() as slot:                      # clone3 into pyrt-init, which parks in its new namespaces
        slot.start(Plan().rootfs("/srv/root").argv(["/bin/true"]).env([]).stdio(stdin=False), fds=(1, 2))
        status = slot.wait()

Functions marked *thread* change the calling thread only, those marked *process* more than that: neither belongs into a
thread that runs other people's code afterwards. All of them release the GIL while the kernel works.
"""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType

from pyrt.core import descriptors
from pyrt.core._namespaces import ffi, lib
from pyrt.core.plan import MASK_PATH, Plan

__all__ = [
    "ALL",
    "EXECUTING",
    "FAILED",
    "HOST_NETWORK",
    "MASK_PATH",
    "NEWIPC",
    "NEWNET",
    "NEWNS",
    "NEWPID",
    "NEWUTS",
    "PARKED",
    "Plan",
    "Report",
    "Slot",
    "StepError",
    "TERMINAL",
    "adopt_orphans",
    "collect",
    "collect_ended",
    "init_program",
    "mount",
    "pivot_root",
    "prepare",
    "prepare_join",
    "prepare_lxc",
    "setns",
    "umount",
    "unshare",
]

NEWNS = 0x00020000
NEWUTS = 0x04000000
NEWIPC = 0x08000000
NEWPID = 0x20000000
NEWNET = 0x40000000
HOST_NETWORK = NEWNS | NEWUTS | NEWIPC | NEWPID
"""The namespaces of a container that uses the host's network (its cgroup namespace is made by the init)."""
ALL = HOST_NETWORK | NEWNET

PARKED: int = lib.PYRT_REPORT_PARKED
TERMINAL: int = lib.PYRT_REPORT_TERMINAL
EXECUTING: int = lib.PYRT_REPORT_EXECUTING
FAILED: int = lib.PYRT_REPORT_FAILED


class StepError(OSError):
    """A step of a start that failed. `step` names it; `errno` may be 0 where the text says it all."""

    def __init__(self, step: str, errno: int, text: str = "") -> None:
        super().__init__(errno, os.strerror(errno) if errno else "")
        self.step = step
        self.text = text

    def __str__(self) -> str:
        return ": ".join(part for part in (self.step, self.text, self.strerror) if part)


def _check(ret: int, step: str, text: str = "") -> int:
    if ret < 0:
        raise StepError(step, -ret, text)
    return ret


def _path(path: str | bytes | os.PathLike[str] | None) -> object:
    if path is None:
        return ffi.NULL
    data = os.fsencode(path)
    if b"\0" in data:  # C would act on what is in front of it
        raise ValueError(f"a NUL byte in {path!r}")
    return data


@cache
def init_program() -> int:
    """Return pyrt-init as a sealed memfd, made once a process: no container ever sees a host file as /proc/self/exe.

    `prepare` calls this; calling it early takes half a millisecond off the first start.
    """
    path = Path(__file__).with_name("_libexec") / "pyrt-init"
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _check(lib.pyrt_seal_program(fd, b"pyrt-init"), "seal", str(path))
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Report:
    """What an init said: PARKED, TERMINAL, EXECUTING, FAILED.

    `fd` came with it and is the receiver's: with TERMINAL the master, with PARKED the init's own pidfd, if it was
    started by lxc-start; else there should be none (-1).
    """

    kind: int
    step: str = ""
    errno: int = 0
    text: str = ""
    fd: int = -1

    def error(self) -> StepError:
        """Return the exception that a FAILED report stands for."""
        return StepError(self.step, self.errno, self.text)


def collect(pidfd: int) -> int:
    """Wait for the end of a child and collect it. Returns the exit code, or -n when signal n ended it."""
    status = collect_ended(pidfd, os.WEXITED)
    assert status is not None
    return status


def collect_ended(pidfd: int, flags: int = os.WEXITED | os.WNOHANG) -> int | None:
    """Collect a child that has ended, without waiting; None when it has not, or is another's to collect first.

    It is, readable as its pidfd may be, while a process traces it: its parent's turn comes when that one is done.
    """
    result = os.waitid(os.P_PIDFD, pidfd, flags)
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


class Slot:
    """A process parked in new namespaces, until `start` makes a container of it. Owns its pidfd and socket.

    Closing a slot that was not started ends its process and collects it; closing a started one only closes the
    descriptors: the container goes on, and its status is the caller's to collect. Not thread-safe.
    """

    __slots__ = ("pid", "pidfd", "socket_fd", "started")

    def __init__(self, pid: int, pidfd: int, socket_fd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.socket_fd = socket_fd
        self.started = False

    def __enter__(self) -> Slot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def go(self, plan: Plan | bytes, fds: Sequence[int] = ()) -> None:
        """Send the plan and the descriptors it speaks of (borrowed, at most five). `report` tells how it went.

        Waits only while the init has not read what does not fit into its socket. Raises StepError("plan", ...).
        """
        data = bytes(plan)
        ret = lib.pyrt_launch_go(self.socket_fd, data, len(data), list(fds), len(fds))
        if ret not in (-errno.EPIPE, -errno.ECONNRESET):  # an init that has ended: its last report says why
            _check(ret, "plan")

    def open_gate(self) -> None:
        """Let the program of a plan with a gate run. Raises StepError("gate", ...)."""
        ret = lib.pyrt_launch_open_gate(self.socket_fd)
        if ret not in (-errno.EPIPE, -errno.ECONNRESET):  # see go
            _check(ret, "gate")

    def report(self, *, wait: bool = True) -> Report | None:
        """Receive the init's next report; None at the end of the socket.

        Raises BlockingIOError when `wait` is false and nothing has arrived.
        """
        report = ffi.new("struct pyrt_report *")
        fd = ffi.new("int *")
        ret = lib.pyrt_launch_report(self.socket_fd, wait, report, fd)
        if ret == -errno.EAGAIN:
            raise BlockingIOError(errno.EAGAIN, "no report yet")
        if ret <= 0:
            _check(ret, "report")
            return None
        text = ffi.string(report.text).decode(errors="replace")
        return Report(report.kind, ffi.string(report.step).decode(), report.error, text, fd[0])

    def start(self, plan: Plan | bytes, fds: Sequence[int] = ()) -> int | None:
        """Send the plan, which has no gate, and wait until the container's program runs.

        Returns the terminal's master (the caller's to close) when the plan asks for a terminal. Raises StepError; the
        process is collected then.
        """
        terminal_fd: int | None = None
        executing = False
        error: StepError | None = None
        try:
            self.go(plan, fds)
            self._await_end()
            while (report := self.report()) is not None:
                if report.kind == TERMINAL:
                    terminal_fd = report.fd
                elif report.kind == FAILED:
                    error = report.error()
                elif report.kind == EXECUTING:
                    executing = True
            if error is None and not executing:
                error = StepError("init", 0, "the container's init died before it could start the program")
        except OSError as failure:
            error = failure if isinstance(failure, StepError) else StepError("init", failure.errno or 0)
        if error is not None:
            if terminal_fd is not None:
                os.close(terminal_fd)
            self.close()
            raise error
        self.started = True
        return terminal_fd

    def _await_end(self) -> None:
        """Wait until the init has become the program, or has ended. What it reports wakes nobody before."""
        poll = select.poll()
        poll.register(self.socket_fd, 0)
        poll.poll()

    def signal(self, number: int) -> None:
        """Signal the container's first process. Raises ProcessLookupError when it has ended."""
        signal.pidfd_send_signal(self.pidfd, number)

    def wait(self) -> int:
        """Wait for the end and collect it. Returns the exit code, or -n when signal n ended it."""
        return collect(self.pidfd)

    def hang_up(self) -> None:
        """Close the socket: the program runs, and the init, which has become it, has no more to say."""
        if self.socket_fd >= 0:
            os.close(self.socket_fd)
            self.socket_fd = -1

    def close(self) -> None:
        """End what was not started; give the descriptors back. A second call does nothing."""
        if self.pidfd < 0:
            return
        if not self.started:
            try:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended by itself, and is still to be collected
            try:
                self.wait()
            except ChildProcessError:
                pass  # collected already by a caller's `wait`
        self.hang_up()
        os.close(self.pidfd)
        self.pidfd = -1


def prepare(
    namespaces: int = ALL,
    *,
    privileged: bool = False,
    cgroup_fd: int = -1,
    netns_fd: int = -1,
    groups: Sequence[str] = (),
    show_cgroup: bool = False,
) -> Slot:
    """Clone a process into new namespaces, where it makes /proc, /sys and /dev and parks.

    namespaces: NEWNS and NEWPID at least; without NEWUTS a plan's host name would be the host's, without NEWIPC its
    System V IPC and message queues are.
    cgroup_fd: a cgroup v2 directory it is born in. groups: files, such as v1's `tasks`, that it writes 0 into to enter
    other groups; what fails there is its first report. netns_fd: a network namespace it joins (leave NEWNET out then).
    privileged: nothing in /proc and /sys is masked or read-only. show_cgroup: mount the group's v2 view.

    The process dies with the thread that prepared it. Returns when it runs, 0.15 ms later, not when it is parked.
    Raises StepError("clone", ...); ValueError for namespaces in which the init would work on the host itself.
    """
    if ~namespaces & (NEWNS | NEWPID):
        raise ValueError("prepare: a container needs a mount and a PID namespace of its own (NEWNS, NEWPID)")
    flags = 0
    if privileged:
        flags |= lib.PYRT_INIT_PRIVILEGED
    if not namespaces & NEWNET and netns_fd < 0:
        flags |= lib.PYRT_INIT_HOST_NETWORK
    if show_cgroup:
        flags |= lib.PYRT_INIT_CGROUP2
    return _launch(namespaces, flags, cgroup_fd, netns_fd, groups)


def prepare_lxc() -> Slot:
    """Clone a process into a mount namespace of its own and no other: its plan makes lxc-start of it (csrc/init/lxc.c).

    It dies with the thread that prepared it. Raises StepError("clone", ...).
    """
    return _launch(NEWNS, lib.PYRT_INIT_BEFORE_LXC)


def prepare_join(cgroup_fd: int = -1) -> Slot:
    """Clone a process into no new namespace: its plan says which container it enters (pyrt.core.joining).

    cgroup_fd: the v2 group it is born in. It dies with the thread that prepared it. Raises StepError("clone", ...).
    """
    return _launch(0, lib.PYRT_INIT_JOIN, cgroup_fd)


def _launch(
    namespaces: int, flags: int, cgroup_fd: int = -1, netns_fd: int = -1, groups: Sequence[str] = ()
) -> Slot:
    slot = ffi.new("struct pyrt_slot *")
    paths = [ffi.new("char[]", os.fsencode(path)) for path in groups]
    files = ffi.new("char *[]", [*paths, ffi.NULL])
    _check(lib.pyrt_launch(init_program(), namespaces, flags, cgroup_fd, netns_fd, files, slot), "clone")
    descriptors.hand_down(slot.pid)
    return Slot(slot.pid, slot.pidfd, slot.socket)


def adopt_orphans() -> None:
    """Become the parent of what one's descendants leave behind when they end, and so the one to collect it (*process*).

    An exit status is then never lost to the host's init.
    """
    _check(lib.pyrt_adopt_orphans(), "adopt orphans")


def unshare(namespaces: int) -> None:
    """Move into new namespaces (*thread*; *process* for NEWNS with a shared working directory)."""
    _check(lib.pyrt_unshare(namespaces), "unshare")


def setns(fd: int, namespaces: int = 0) -> None:
    """Join the namespace or the process (pidfd) that fd refers to (*thread*)."""
    _check(lib.pyrt_setns(fd, namespaces), "setns")


def mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    """mount(2) in the calling thread's mount namespace (*process*, and everyone who shares the namespace)."""
    ret = lib.pyrt_mount(_path(source), _path(target), _path(kind), flags, _path(options))
    _check(ret, "mount", str(target))


def umount(target: str, flags: int = 0) -> None:
    """umount2(2) (*process*)."""
    _check(lib.pyrt_umount(_path(target), flags), "umount", str(target))


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2): changes the root of every process of the mount namespace (*process*)."""
    _check(lib.pyrt_pivot_root(_path(new_root), _path(put_old)), "pivot_root", str(new_root))
