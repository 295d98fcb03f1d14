# SPDX-License-Identifier: Apache-2.0
"""A container's cgroup: made with its limits, joined, frozen, killed, measured, removed; the same on v1, hybrid and v2.

The start path is `Cgroup.create` and `join`: a look-up, a bytes.replace and one call into C each.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from dataclasses import dataclass
from types import TracebackType

from pyrt.core._namespaces import ffi, lib
from pyrt.engine import cgroup_plan
from pyrt.engine.cgroup_plan import check
from pyrt.engine.hierarchies import CONFINED, NAME, Layout
from pyrt.engine.limits import Limits
from pyrt.errors import PyrtError, StartError, UsageError

__all__ = ["Cgroup", "Layout", "Limits", "Usage", "check"]

_DEADLINE_S = 5.0  # how long freezing and killing may take before that is an error
_NO_LIMITS = Limits()
_READ_BYTES = 4096  # most files of a group are shorter
_NO_FREEZER = "this machine cannot freeze containers: there is no freezer cgroup controller"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a container has used so far; None where the kernel does not tell (peak on v2 before 5.19)."""

    memory_peak_bytes: int | None
    cpu_time_ns: int | None


class Cgroup:
    """The groups of one container, in every hierarchy of use. As a context it is killed and removed at the end.

    Made by `create`, or by `adopt` for one that an earlier process left. Methods may be called from any thread and
    block for as long as they say; what has gone already is no error anywhere.
    """

    __slots__ = ("_layout", "id", "_groups", "_join", "_confined", "warnings")

    def __init__(
        self,
        layout: Layout,
        id: str,
        groups: bytes,
        join: bytes,
        warnings: tuple[str, ...] = (),
        *,
        confined: bool = True,
    ) -> None:
        self._layout = layout
        self.id = id
        self._groups = groups
        self._join = join
        self._confined = confined
        self.warnings = warnings  # what the limits asked for and the kernel enforces only in part

    @classmethod
    def create(
        cls,
        layout: Layout,
        id: str,
        limits: Limits = _NO_LIMITS,
        *,
        confine_devices: bool = True,
        spare: bool = False,
    ) -> Cgroup:
        """Make the groups of container `id` and write its limits. A failure leaves nothing behind.

        `confine_devices` restricts opening and making devices to hierarchies.DEVICES. `spare` makes also the groups
        that only limits need, which may then come later, by `limit`. Raises PyrtError for a limit that this machine
        cannot enforce, StartError when the kernel refuses.
        """
        if not NAME.match(id) or id == CONFINED:
            raise UsageError(f"{id!r} cannot be the name of a cgroup")
        plan = cgroup_plan.make(layout, limits, confine_devices, spare)
        mark = id.encode()
        create = plan.create.replace(cgroup_plan.ID, mark)
        failed = ffi.new("int *")
        result = lib.cgroup_apply(create, len(create), 0, failed)
        if result == -errno.ENOENT:  # somebody removed our parent groups: they are empty between containers
            layout.establish()
            cgroup_plan.make.cache_clear()
            result = lib.cgroup_apply(create, len(create), 0, failed)
        if result < 0:
            raise cgroup_plan.failure(create, failed[0], -result)
        join = plan.join.replace(cgroup_plan.ID, mark)
        cgroup = cls(layout, id, create, join, plan.warnings, confined=confine_devices)
        if plan.bpf:
            cgroup._attach_device_program()
        return cgroup

    @classmethod
    def adopt(cls, layout: Layout, id: str) -> Cgroup:
        """Return the groups of a container that an earlier process made; whether they still exist is not looked at."""
        if not NAME.match(id) or id == CONFINED:
            raise UsageError(f"{id!r} cannot be the name of a cgroup")
        groups = dict.fromkeys([*([layout.v2] if layout.v2 else []), *layout.groups.values()])
        records = [f"d{group}/{id}" for group in groups]
        joins = [f"j{group}/{id}/cgroup.procs" for group in groups if os.path.isdir(f"{group}/{id}")]
        return cls(layout, id, cgroup_plan.encode(records), cgroup_plan.encode(joins))

    def _attach_device_program(self) -> None:
        try:
            program_fd = self._layout.device_program()
            fd = os.open(f"{self._layout.v2}/{self.id}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                result = lib.cgroup_device_attach(program_fd, fd)
            finally:
                os.close(fd)
            if result < 0:
                raise OSError(-result, os.strerror(-result))
        except OSError as error:
            self.remove()
            raise StartError("cgroup", error.errno or 0, "the list of allowed devices cannot be attached") from error

    def join(self, pid: int) -> None:
        """Move process `pid` into every group. Raises StartError: then kill the process and remove the groups."""
        failed = ffi.new("int *")
        result = lib.cgroup_apply(self._join, len(self._join), pid, failed)
        if result < 0:
            raise cgroup_plan.failure(self._join, failed[0], -result)

    def entrances(self, *, born: bool) -> list[str]:
        """The files that a process of one thread writes 0 into to join; `born`: it was, in the group of `group_fd`.

        On v1 they are called tasks. A thread that moves itself alone needs no lock for that; who writes to cgroup.procs
        waits for one, and when nobody has lately, for 5 to 30 ms (the kernel's cgroup_procs_write_start).
        """
        paths = [os.fsdecode(record[1:]) for record in self._join.split(b"\0") if record]
        on_v2 = f"{self._layout.v2}/{self.id}/cgroup.procs"
        return [
            path if path == on_v2 else f"{os.path.dirname(path)}/tasks"
            for path in paths
            if not (born and path == on_v2)
        ]

    def group_fd(self) -> int | None:
        """Return a new descriptor of the v2 group, to be born in (CLONE_INTO_CGROUP), or None where there is no v2."""
        if self._layout.v2 is None:
            return None
        return os.open(f"{self._layout.v2}/{self.id}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def limit(self, limits: Limits) -> None:
        """Write limits into groups made with `spare`. Raises as `create` does; the groups stay."""
        self.warnings = cgroup_plan.check(self._layout, limits, confine_devices=self._confined)
        plan = cgroup_plan.limiting(self._layout, limits).replace(cgroup_plan.ID, self.id.encode())
        failed = ffi.new("int *")
        result = lib.cgroup_apply(plan, len(plan), 0, failed)
        if result < 0:
            raise cgroup_plan.failure(plan, failed[0], -result)

    def kill(self) -> None:
        """Send SIGKILL to every process of the container, frozen or not, also to those forked meanwhile.

        With cgroup.kill they may still be dying on return; without, waits for at most 5 s until they are gone.
        """
        if self._layout.kill:
            self._write(f"{self._layout.v2}/{self.id}/cgroup.kill", "1")
            return
        deadline = time.monotonic() + _DEADLINE_S
        while not self.empty() and time.monotonic() < deadline:
            self._freeze_briefly()  # so that no pid is reused, and nothing forks, between reading and signalling
            for pid in (self._read(f"{self._home()}/cgroup.procs") or "").split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self.thaw()
            time.sleep(0.001)

    def _freeze_briefly(self) -> None:
        try:
            self.freeze(timeout_s=0.1)
        except PyrtError:
            return  # no freezer, or a process in uninterruptible sleep: signal what can be seen, and look again

    def freeze(self, *, timeout_s: float = _DEADLINE_S) -> None:
        """Stop every process of the container where it is. If that takes over `timeout_s`, thaw and raise PyrtError."""
        try:
            if self._layout.freeze:
                frozen = self._freeze_v2(timeout_s)
            elif "freezer" in self._layout.groups:
                frozen = self._freeze_v1(timeout_s)
            else:
                raise PyrtError(_NO_FREEZER)
        except BaseException:
            self.thaw()
            raise
        if not frozen:
            self.thaw()  # a half-frozen container is worse than a running one
            raise PyrtError(f"container {self.id[:16]} could not be frozen within {timeout_s:g} s")

    def try_freeze(self) -> bool:
        """Ask the kernel to stop every process of the container; True when it has. To be called again until then.

        Does not wait. Raises PyrtError where nothing can be frozen. `thaw` undoes it, half done or done.
        """
        if self._layout.freeze:
            self._write(f"{self._layout.v2}/{self.id}/cgroup.freeze", "1")
            return _field(self._read(f"{self._layout.v2}/{self.id}/cgroup.events"), "frozen") == 1
        if "freezer" not in self._layout.groups:
            raise PyrtError(_NO_FREEZER)
        state = f"{self._layout.groups['freezer']}/{self.id}/freezer.state"
        # Written again each time: a process that forked while the first write ran may have slipped through.
        self._write(state, "FROZEN")
        return (self._read(state) or "").strip() == "FROZEN"

    def _freeze_v2(self, timeout_s: float) -> bool:
        group = f"{self._layout.v2}/{self.id}"
        self._write(f"{group}/cgroup.freeze", "1")
        deadline = time.monotonic() + timeout_s
        with open(f"{group}/cgroup.events", "rb", buffering=0) as events:
            poll = select.poll()
            poll.register(events, select.POLLPRI)
            while b"frozen 1" not in events.read(256):
                left_ms = (deadline - time.monotonic()) * 1000
                if left_ms <= 0:
                    return False
                poll.poll(left_ms)
                events.seek(0)
        return True

    def _freeze_v1(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not self.try_freeze():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.001)
        return True

    def thaw(self) -> None:
        """Let a frozen container go on. Does nothing to one that is not frozen, or gone."""
        if self._layout.freeze:
            self._write(f"{self._layout.v2}/{self.id}/cgroup.freeze", "0")
        elif "freezer" in self._layout.groups:
            self._write(f"{self._layout.groups['freezer']}/{self.id}/freezer.state", "THAWED")

    def oom_kills(self) -> int:
        """Return how many processes of the container the kernel killed for want of memory."""
        group = self._layout.groups.get("memory")
        if group is None:
            return 0
        name = "memory.events" if "memory" in self._layout.on_v2 else "memory.oom_control"
        return _field(self._read(f"{group}/{self.id}/{name}"), "oom_kill") or 0

    def usage(self) -> Usage:
        """Return what the container has used; call it before `remove`."""
        memory, peak = self._layout.groups.get("memory"), None
        if memory is not None:
            name = "memory.peak" if "memory" in self._layout.on_v2 else "memory.max_usage_in_bytes"
            text = self._read(f"{memory}/{self.id}/{name}")
            peak = int(text) if text else None
        if self._layout.v2 is not None:
            time_us = _field(self._read(f"{self._layout.v2}/{self.id}/cpu.stat"), "usage_usec")
            return Usage(peak, None if time_us is None else time_us * 1000)
        text = self._read(f"{self._layout.groups.get('cpuacct', '')}/{self.id}/cpuacct.usage")
        return Usage(peak, int(text) if text else None)

    def empty(self) -> bool:
        """Tell whether no process is left in the container's groups."""
        if self._layout.v2 is not None:
            return not _field(self._read(f"{self._layout.v2}/{self.id}/cgroup.events"), "populated")
        return not self._read(f"{self._home()}/cgroup.procs")

    def remove(self, *, timeout_ms: int = 2000) -> None:
        """Remove the groups. Waits for at most `timeout_ms` for the last process to leave, then raises PyrtError.

        Groups that the container made inside its own go too. To remove what is gone does nothing.
        """
        failed = ffi.new("int *")
        if lib.cgroup_remove(self._groups, len(self._groups), 0, failed) == 0:
            return
        for group in self._directories():
            _remove_below(group)
        result = lib.cgroup_remove(self._groups, len(self._groups), timeout_ms, failed)
        if result < 0:
            path = cgroup_plan.record_at(self._groups, failed[0])[1:]
            reason = "it still holds processes" if result == -errno.EBUSY else os.strerror(-result)
            raise PyrtError(f"cgroup {path} cannot be removed: {reason}")

    def _directories(self) -> list[str]:
        return [os.fsdecode(record[1:]) for record in self._groups.split(b"\0") if record.startswith(b"d")]

    def _home(self) -> str:
        """Return a group that every process of the container is in: of v2, or the freezer's, or any."""
        parent = self._layout.v2 or self._layout.groups.get("freezer")
        return f"{parent}/{self.id}" if parent else next(iter(self._directories()), "")

    @staticmethod
    def _read(path: str) -> str | None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a file object would take as long again
            try:
                return b"".join(iter(lambda: os.read(fd, _READ_BYTES), b"")).decode("ascii")
            finally:
                os.close(fd)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ENODEV:  # removed between open and read
                return None
            raise

    @staticmethod
    def _write(path: str, text: str) -> None:
        try:
            with open(path, "wb", buffering=0) as file:
                file.write(text.encode())
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def __enter__(self) -> Cgroup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.remove()


def _field(text: str | None, name: str) -> int | None:
    """Return the number after `name` in a file of "name number" lines."""
    for line in (text or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None


def _remove_below(group: str) -> None:
    """Remove the groups under `group`, deepest first; what is still busy is left for the caller to find."""
    for path, _, _ in os.walk(group, topdown=False):
        if path != group:
            try:
                os.rmdir(path)
            except OSError:
                continue
