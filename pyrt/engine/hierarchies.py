# SPDX-License-Identifier: Apache-2.0
"""Which cgroup hierarchies this machine has (v1, v2, or both at once), what each can do, and pyrt's parent group there.

Detection happens once, when the supervisor starts, and makes the parent groups; a container's start only looks up what
is known here. On v2 a group may hold either processes or controllers for its children, so the parent holds no process.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from dataclasses import dataclass, field
from types import TracebackType

from pyrt.core._namespaces import ffi, lib
from pyrt.errors import PyrtError, UsageError

V1_CONTROLLERS = ("memory", "cpu", "cpuacct", "pids", "freezer", "devices")
V2_CONTROLLERS = ("memory", "cpu", "pids")
CONFINED = "confined"  # the one v1 `devices` group that all containers with the allow-list share
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")  # no "/", no "..": names become paths

# What a container may open or make: null zero full random urandom, tty console ptmx, every pts. No tun, no fuse.
DEVICES: tuple[tuple[str, int, int], ...] = (
    ("c", 1, 3), ("c", 1, 5), ("c", 1, 7), ("c", 1, 8), ("c", 1, 9),
    ("c", 5, 0), ("c", 5, 1), ("c", 5, 2), ("c", 136, -1),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mounts:
    """Where the hierarchies are mounted: v1 by controller, and the v2 tree if there is one."""

    v1: dict[str, str]
    v2: str | None


def read_mounts(mountinfo: str) -> Mounts:
    """Find the cgroup mounts in the text of a /proc/PID/mountinfo; of several mounts of one hierarchy, the first."""
    v1: dict[str, str] = {}
    v2 = None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.partition(" ")
        if kind == "cgroup2" and v2 is None:
            v2 = _unescape(left.split()[4])
        elif kind == "cgroup":
            for name in set(options.split()[-1].split(",")).intersection(V1_CONTROLLERS):
                v1.setdefault(name, _unescape(left.split()[4]))
    return Mounts(v1, v2)


def all_mounts(mountinfo: str) -> list[str]:
    """Where any hierarchy is mounted, also one of controllers that pyrt does not use, or of none."""
    lines = (line.partition(" - ") for line in mountinfo.splitlines())
    return [_unescape(left.split()[4]) for left, _, right in lines if right.startswith("cgroup")]


def _unescape(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


@dataclass(slots=True, eq=False)
class Layout:
    """pyrt's parent group in every hierarchy, and what those can enforce. Made by `detect`; owns one BPF descriptor.

    `groups` maps a controller to the parent group that has it, `v2` is the parent in the v2 tree, `missing` says why a
    controller cannot be used. Threads may share a Layout.
    """

    parent: str
    groups: dict[str, str] = field(default_factory=dict)
    v2: str | None = None
    on_v2: frozenset[str] = frozenset()
    missing: dict[str, str] = field(default_factory=dict)
    swap: bool = False  # is swap accounted for
    kill: bool = False  # has the v2 tree cgroup.kill (5.14)
    freeze: bool = False  # and cgroup.freeze (5.2)
    _mounts: Mounts = Mounts({}, None)
    _own: str = "/"
    _program_fd: int = -1
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def detect(
        cls, parent: str = "pyrt", *, mountinfo: str = "/proc/self/mountinfo", own: str = "/proc/self/cgroup"
    ) -> Layout:
        """Look at this machine and make the group `parent` in each hierarchy of use.

        Where no hierarchy is mounted or writable the result can enforce nothing, and says so when asked to.
        """
        if not NAME.match(parent):
            raise UsageError(f"cgroup parent {parent!r}: use letters, digits, and _ . - after the first")
        layout = cls(parent)
        layout._mounts = read_mounts(_read(mountinfo))
        v2_lines = [line for line in _read(own).splitlines() if line.startswith("0::")]
        layout._own = v2_lines[0][3:] if v2_lines else "/"
        layout.establish()
        return layout

    def establish(self) -> None:
        """Make the parent groups and find what they can do; again, when somebody has removed them while empty."""
        for controller, mount in self._mounts.v1.items():
            group = f"{mount}/{self.parent}"
            try:
                _make(group)
                if controller == "devices":
                    _confine(f"{group}/{CONFINED}")
                self.groups[controller] = group
            except OSError as error:
                self.missing[controller] = f"{group}: {error.strerror}"
        if self._mounts.v2 is not None:
            self._establish_v2(self._mounts.v2)
        for controller in V1_CONTROLLERS:
            if controller not in self.groups:
                self.missing.setdefault(controller, "it is not mounted, or the kernel was started without it")
        memory = self.groups.get("memory")
        swap_file = "memory.swap.max" if "memory" in self.on_v2 else "memory.memsw.limit_in_bytes"
        self.swap = memory is not None and os.path.exists(f"{memory}/{swap_file}")

    def _establish_v2(self, mount: str) -> None:
        """Take the root of the tree, as other runtimes do; where that is not ours to write, the group we run in."""
        for base in dict.fromkeys((mount, (mount + self._own).rstrip("/"))):
            try:
                _make(f"{base}/{self.parent}")
            except OSError as error:
                self.missing.update(dict.fromkeys(V2_CONTROLLERS, f"{base}/{self.parent}: {error.strerror}"))
                continue
            self.v2 = f"{base}/{self.parent}"
            wanted = [name for name in V2_CONTROLLERS if name not in self._mounts.v1]
            for group in (base, self.v2):  # from the top down: a child can only have what its parent hands on
                self._enable(group, wanted)
            enabled = set(_read(f"{self.v2}/cgroup.subtree_control").split()).intersection(wanted)
            self.on_v2 = frozenset(enabled)
            self.groups.update(dict.fromkeys(enabled, self.v2))
            self.kill = os.path.exists(f"{self.v2}/cgroup.kill")
            self.freeze = os.path.exists(f"{self.v2}/cgroup.freeze")
            return

    def _enable(self, group: str, wanted: list[str]) -> None:
        """Let the children of `group` have the controllers `wanted`; what cannot be had is noted in `missing`."""
        offered = _read(f"{group}/cgroup.controllers").split()
        enabled = _read(f"{group}/cgroup.subtree_control").split()
        for name in wanted:
            if name in enabled or name not in offered:
                continue
            try:
                try:
                    _write(f"{group}/cgroup.subtree_control", f"+{name}")
                except OSError as error:
                    if error.errno != errno.EBUSY:
                        raise
                    self._vacate(group)
                    _write(f"{group}/cgroup.subtree_control", f"+{name}")
            except OSError as error:
                self.missing[name] = f"{group}/cgroup.subtree_control: {error.strerror}"

    def _vacate(self, group: str) -> None:
        """Move the processes of `group` to a leaf of it.

        EBUSY came because `group` holds processes and is not the real root: it was delegated to us (a container, a
        service with Delegate=), we and what started us are those processes, and the kernel wants them in a leaf.
        """
        leaf = f"{group}/{self.parent}.self"
        _make(leaf)
        for pid in _read(f"{group}/cgroup.procs").split():
            try:
                _write(f"{leaf}/cgroup.procs", pid)
            except ProcessLookupError:
                continue

    def device_program(self) -> int:
        """Return the BPF program with the device allow-list, loaded on first use. The Layout owns the descriptor."""
        with self._lock:
            if self._program_fd < 0:
                self._program_fd = _load_device_program()
        return self._program_fd

    def leftovers(self) -> set[str]:
        """Return the ids of the container groups that exist in whatever hierarchy, for the sweep at start."""
        found: set[str] = set()
        for group in {*self.groups.values(), self.v2} - {None}:
            try:
                with os.scandir(str(group)) as entries:
                    found.update(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
            except FileNotFoundError:
                continue
        return found - {CONFINED}

    def close(self) -> None:
        """Close what the Layout holds; the groups stay."""
        if self._program_fd >= 0:
            os.close(self._program_fd)
            self._program_fd = -1

    def remove(self) -> None:
        """Remove the parent groups (no ordinary path does: they cost nothing). Raises PyrtError while one is in use."""
        self.close()
        groups = {*self.groups.values(), *([self.v2] if self.v2 else [])}
        for group in sorted(groups | {f"{group}/{CONFINED}" for group in groups}, reverse=True):
            try:
                os.rmdir(group)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise PyrtError(f"cgroup {group} cannot be removed: {error.strerror}; is it in use?") from error

    def __enter__(self) -> Layout:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _load_device_program() -> int:
    devices = ffi.new("struct cgroup_device[]", [(kind.encode(), *numbers) for kind, *numbers in DEVICES])
    result: int = lib.cgroup_device_load(devices, len(DEVICES))
    if result < 0:
        raise OSError(-result, os.strerror(-result), "BPF device program")
    return result


def _confine(group: str) -> None:
    """Make the shared v1 `devices` group: nothing but DEVICES."""
    _make(group)
    rules = {f"{kind} {major}:{'*' if minor < 0 else minor} rwm" for kind, major, minor in DEVICES}
    if set(_read(f"{group}/devices.list").splitlines()) == rules:
        return  # containers may live in it: between the deny and the last allow they would have no /dev/null
    _write(f"{group}/devices.deny", "a")
    for rule in rules:
        try:
            _write(f"{group}/devices.allow", rule)
        except PermissionError:
            continue  # we are confined ourselves, and more tightly


def _make(path: str) -> None:
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        pass


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
