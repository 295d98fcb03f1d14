# SPDX-License-Identifier: Apache-2.0
"""The launch path of Docker 0.1.0: a configuration for lxc-start, which executes pyrt-init as the container's SysInit.

    pyrt-init (csrc/init/lxc.c)       mounts the root in a mount namespace of its own, and becomes
      lxc-start -F                    which makes namespaces, eth0, /proc, /sys, /dev, and executes
        pyrt-init                     which parks, gets the same plan as with the native engine, and becomes the program

While the program runs, lxc-start is stopped (SIGSTOP): it would collect the program's end, and lxc-start -F tells
nobody how that was (it ends with 0). When the program has ended, lxc-start is ended too, and the exit status comes to
this process, the next ancestor that takes orphans. Who kills lxc-start kills the container: its parent-death signal.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import signal
import socket
from pathlib import Path

from pyrt.core import namespaces
from pyrt.core._namespaces import lib
from pyrt.core.namespaces import Plan, Report, Slot, StepError
from pyrt.engine import lxc_config
from pyrt.engine.cgroups import Cgroup, Layout
from pyrt.engine.launch import start_error
from pyrt.engine.lxc_groups import LxcCgroup, sweep
from pyrt.engine.native import NativeLaunch
from pyrt.engine.plans import add_credentials, add_mounts, add_program, add_root, add_streams
from pyrt.engine.slots import link_name
from pyrt.engine.spec import LaunchSpec
from pyrt.errors import PyrtError, StartError

PROGRAM = "/usr/bin/lxc-start"
# All that lxc-start ever sees: the container's own environment is its program's alone.
ENVIRONMENT = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8")
CONFIG_FILE = "config.lxc"
LOG_FILE = "lxc.log"

_ERROR = re.compile(r"^lxc-start \S+ \S+ ERROR +\S+ - [^:\n]+:\w+:\d+ - (.*)$", re.MULTILINE)
_ENDED = re.compile(r"^lxc-start .* - Child <\d+> ended on (error|signal) .*\((\d+)\)$", re.MULTILINE)
CLEAN_UP_S = 2.0  # how long lxc-start may take down what it made

logger = logging.getLogger("pyrt.supervisor")


class LxcLaunch(NativeLaunch):
    """A container that lxc-start starts: `slot` is its first process, once that has parked."""

    at_end_only = False  # PARKED is to be acted on

    def __init__(self, monitor: Slot, container_fd: int, cgroup: Cgroup, spec: LaunchSpec, plan: Plan) -> None:
        super().__init__(Slot(0, -1, container_fd), cgroup, link_name(spec.id))
        self._monitor = monitor  # lxc-start
        self._spec = spec
        self._plan = plan

    def start(self, theirs: socket.socket, config: Path, flags: int) -> None:
        """Let the cloned process become lxc-start, which hands `theirs` (borrowed) on to the container."""
        log = config.with_name(LOG_FILE)
        log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            argv = [PROGRAM, "-n", self._spec.id, "-f", str(config), "-F", "-P", lxc_config.STAGE]
            argv += ["-o", str(log), "-l", "INFO", "--", "/proc/self/fd/0", str(flags)]
            plan = Plan().argv(argv).env(ENVIRONMENT).stdio(stdin=True)
            add_root(plan, self._spec.root, mask_path=f"{lxc_config.STAGE}/mask")
            add_mounts(plan, self._spec)
            self._monitor.go(plan, (namespaces.init_program(), theirs.fileno(), log_fd))
        finally:
            os.close(log_fd)

    def let_go(self) -> None:
        """Nothing: lxc-start is on its way."""

    def advance(self) -> bool:
        try:
            return super().advance()
        except StepError as error:
            raise start_error(error) from error
        except OSError as error:
            raise StartError("lxc", error.errno or 0, error.filename or "") from error

    def _on_report(self, report: Report) -> None:
        if report.kind == namespaces.PARKED:
            self._on_parked(report.fd)
        else:
            super()._on_report(report)

    def _on_parked(self, pidfd: int) -> None:
        self.slot.pidfd, self.slot.pid = pidfd, _pid_of(pidfd)
        self._stop_monitor()
        if self._spec.network.mode == "bridge":  # why: csrc/netlink.c, put_hairpin
            Path("/sys/class/net", self.link, "brport/hairpin_mode").write_text("1")
        self.cgroup.join(self.pid)
        self.go(self._plan, self._spec)

    def _silence(self) -> StepError:
        """Nothing came from the container: what came from those that should have made it?"""
        with contextlib.suppress(BlockingIOError):
            while (report := self._monitor.report(wait=False)) is not None:
                if report.kind == namespaces.FAILED:
                    return StepError("lxc", report.errno, report.text) if report.step == "exec" else report.error()
        errors = _ERROR.findall(Path(self._spec.directory, LOG_FILE).read_text("utf-8", "backslashreplace"))
        return StepError("lxc", 0, f"lxc-start: {errors[0]}") if errors else super()._silence()

    def hang_up(self) -> None:
        super().hang_up()
        self._monitor.hang_up()

    def signal(self, number: int) -> None:
        if self.slot.pidfd < 0:  # a start that nobody waits for any more, in lxc-start's hands
            self._monitor.signal(number)
        else:
            super().signal(number)

    def wait(self) -> int | None:
        self._stop_monitor()  # one that goes on may collect the status at any moment, before or after a look
        if not os.path.exists(f"/proc/{self.pid}"):  # somebody let it go on: it has the status, and writes it down
            with contextlib.suppress(ProcessLookupError):
                self._monitor.signal(signal.SIGCONT)
            select.select([self._monitor.pidfd], [], [], CLEAN_UP_S)
        self._end_monitor()
        try:
            return super().wait()
        except ChildProcessError:
            return self._status_told()

    def _status_told(self) -> int:
        """What lxc-start wrote down of an end that it took: nothing at all of status 0."""
        log = Path(self._spec.directory, LOG_FILE).read_text("utf-8", "backslashreplace")
        if (found := _ENDED.search(log)) is None:
            return 0
        return -int(found[2]) if found[1] == "signal" else int(found[2])

    def _stop_monitor(self) -> None:
        """Have lxc-start stand still; one that has ended, or been let go of, does."""
        if self._monitor.pidfd < 0:
            return
        with contextlib.suppress(ProcessLookupError):
            self._monitor.signal(signal.SIGSTOP)
        os.waitid(os.P_PIDFD, self._monitor.pidfd, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def _end_monitor(self) -> None:
        """End lxc-start; the container's first process, alive or not, is this process's child from then on."""
        if self._monitor.pidfd < 0:
            return
        ended = os.waitid(os.P_PIDFD, self._monitor.pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None and self.slot.started:
            logger.warning("container %s: its lxc-start was killed, and so is the container", self._spec.id)
        self._monitor.close()

    def close(self) -> None:
        children = [] if self.slot.pidfd >= 0 else _children(self._monitor)
        self._end_monitor()
        for pid in children:  # they die with lxc-start, before anything was heard of them
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, pid, os.WEXITED)
        if self.slot.pidfd >= 0:
            self.slot.close()
        else:
            self.slot.hang_up()


class LxcEngine:
    """Starts containers with lxc-start. One per supervisor, which becomes the parent of its descendants' orphans."""

    name = "lxc"

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def begin(self, spec: LaunchSpec) -> LxcLaunch:
        """Write the configuration and start lxc-start. Raises StartError, PyrtError; nothing is left then."""
        if not os.access(PROGRAM, os.X_OK):
            raise PyrtError(f"--engine lxc needs {PROGRAM}: install the package lxc")
        try:
            namespaces.adopt_orphans()
            os.makedirs(lxc_config.STAGE, exist_ok=True)
            config = Path(spec.directory, CONFIG_FILE)
            config.write_text(lxc_config.make(spec, self._layout), "ascii")
            if spec.network.mode == "bridge":
                lib.pyrt_link_delete(link_name(spec.id).encode())  # of its last run, if the kernel still has it
            with contextlib.ExitStack() as undo:
                cgroup = LxcCgroup.create(self._layout, spec.id, spec.limits, confine_devices=not spec.privileged)
                undo.callback(cgroup.remove)
                mine, theirs = socket.socketpair()
                with theirs:
                    launch = LxcLaunch(namespaces.prepare_lxc(), mine.detach(), cgroup, spec, _container_plan(spec))
                    undo.pop_all()
                    undo.callback(launch.abort)
                    launch.start(theirs, config, init_flags(spec, self._layout))
                undo.pop_all()
                return launch
        except StepError as error:
            raise start_error(error) from error
        except OSError as error:
            raise StartError("lxc", error.errno or 0, error.filename or "") from error

    def sweep(self) -> None:
        sweep(self._layout)

    def close(self) -> None:
        """It keeps nothing."""


def init_flags(spec: LaunchSpec, layout: Layout) -> int:
    """What pyrt-init is told on its command line inside: enum pyrt_init_flag."""
    flags: int = lib.PYRT_INIT_AFTER_LXC
    if spec.privileged:
        flags |= lib.PYRT_INIT_PRIVILEGED
    if spec.network.mode == "host":
        flags |= lib.PYRT_INIT_HOST_NETWORK
    if layout.on_v2:
        flags |= lib.PYRT_INIT_CGROUP2
    return flags


def _container_plan(spec: LaunchSpec) -> Plan:
    """What is left to do inside: lxc has done the rest."""
    plan = add_program(Plan().rootfs("/"), spec)
    if spec.root.readonly:
        plan.readonly()
    return add_streams(add_credentials(add_mounts(plan, spec), spec), spec)


def _pid_of(pidfd: int) -> int:
    """The process of a pidfd, by its number here."""
    for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == "Pid" and int(value) > 0:
            return int(value)
    raise ProcessLookupError("the container's first process has ended")


def _children(monitor: Slot) -> list[int]:
    if monitor.pidfd < 0:
        return []
    with contextlib.suppress(ProcessLookupError):
        monitor.signal(signal.SIGSTOP)
    try:
        return [int(pid) for pid in Path(f"/proc/{monitor.pid}/task/{monitor.pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
