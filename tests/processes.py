# SPDX-License-Identifier: Apache-2.0
"""Processes as /proc shows them. Everything tolerates a process that ends while it is looked at."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass

PF_KTHREAD = 0x00200000


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc/PID/stat, and what can be asked about the process by its pid."""

    pid: int
    name: str
    state: str
    parent: int
    flags: int
    command: str

    @property
    def kernel_thread(self) -> bool:
        return bool(self.flags & PF_KTHREAD)

    @property
    def foreign_mounts(self) -> bool:
        """Whether it lives in another mount namespace than the test; false where that cannot be seen."""
        return self.namespace("mnt") not in ("", os.readlink("/proc/self/ns/mnt"))

    def namespace(self, kind: str) -> str:
        try:
            return os.readlink(f"/proc/{self.pid}/ns/{kind}")
        except OSError:
            return ""

    @property
    def executable(self) -> str:
        """The file it runs; empty when it has ended."""
        try:
            return os.readlink(f"/proc/{self.pid}/exe")
        except OSError:
            return ""

    def read(self, name: str) -> str:
        return _read(f"/proc/{self.pid}/{name}")


def processes() -> dict[int, Process]:
    """All processes by pid."""
    found = (_process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {process.pid: process for process in found if process}


def open_files(pid: int | str) -> dict[int, str]:
    """What the open descriptors of a process ("self": this one) lead to; none when it has ended."""
    found = {}
    try:
        numbers = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return {}
    for number in numbers:
        try:
            found[int(number)] = os.readlink(f"/proc/{pid}/fd/{number}")
        except OSError:
            continue  # closed while the list was read
    return found


def descendants(table: dict[int, Process], heads: set[int]) -> set[int]:
    """Pids of the children of `heads`, their children, and so on."""
    found: set[int] = set()
    while new := {process.pid for process in table.values() if process.parent in heads | found} - found:
        found |= new
    return found


def is_parked(pid: int) -> bool:
    """Whether the process is an init that waits for its container: only pyrt's own init runs from such a file.

    One that is dying has no file any more, and on recent kernels still the name.
    """
    try:
        return os.readlink(f"/proc/{pid}/exe").startswith("/memfd:pyrt-init")
    except OSError:
        return _read(f"/proc/{pid}/comm").startswith("memfd:pyrt-init")


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    process = _process(pid)
    return process is not None and process.state not in "ZX"


def wait_gone(pid: int, *, seconds: float = 10.0) -> None:
    """Return when the process has ended; TimeoutError after `seconds`. It need not be a child."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not select.select([pidfd], [], [], seconds)[0]:
            raise TimeoutError(f"process {pid} still runs after {seconds:g} s")
    finally:
        os.close(pidfd)


def wait_until(condition: Callable[[], object], *, seconds: float = 10.0, what: str = "the condition") -> None:
    """Poll a callable until it is true; AssertionError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)


def _process(pid: int) -> Process | None:
    stat = _read(f"/proc/{pid}/stat")
    if not stat:
        return None
    name, _, rest = stat.partition("(")[2].rpartition(")")
    fields = rest.split()
    command = _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    return Process(pid, name, fields[0], int(fields[1]), int(fields[6]), command)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
