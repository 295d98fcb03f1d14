# SPDX-License-Identifier: Apache-2.0
"""Linux capabilities: their names and numbers, the set a container gets by default, and what --cap-add and --cap-drop
make of it. An allow-list: what is not named here, or is newer than this file, a container never has."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

from pyrt.errors import UsageError

# In the order of linux/capability.h: the position is the number, and the numbers are the kernel's ABI.
NAMES: tuple[str, ...] = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
    "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip
NUMBERS: dict[str, int] = {name: number for number, name in enumerate(NAMES)}

# podman's eleven: docker's fourteen without MKNOD, NET_RAW and AUDIT_WRITE, which ordinary programs do not miss.
DEFAULT: frozenset[str] = frozenset({
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETFCAP",
    "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
})  # fmt: skip


def resolve(
    add: Iterable[str] = (),
    drop: Iterable[str] = (),
    *,
    privileged: bool = False,
    available: frozenset[str] | None = None,
) -> frozenset[str]:
    """Return the capabilities a container gets.

    `add` and `drop` take names in any case, with or without CAP_, and ALL. As in docker: what is both added and dropped
    is there, except that `--cap-add ALL --cap-drop X` is everything but X. `privileged` is everything to begin with.
    `available` bounds the result (default: what this process has). Raises UsageError for an unknown name, and for one
    asked for by name that cannot be given.
    """
    if available is None:
        available = process_capabilities()
    added, dropped = _names(add, "--cap-add"), _names(drop, "--cap-drop")
    if "ALL" in added and "ALL" in dropped:
        raise UsageError("--cap-add ALL and --cap-drop ALL contradict each other: leave one of them out")
    everything = privileged or "ALL" in added
    for name in sorted(added - {"ALL"} - available):
        raise UsageError(f"--cap-add {name}: neither this kernel nor pyrt's own process has this capability to give")
    if "ALL" in dropped:
        return added
    if everything:
        return available - dropped
    return (DEFAULT - dropped | added) & available


def _names(values: Iterable[str], flag: str) -> frozenset[str]:
    names = set()
    for value in values:
        name = value.strip().upper()
        if name != "ALL":
            name = name if name.startswith("CAP_") else f"CAP_{name}"
            if name not in NUMBERS:
                raise UsageError(f"{flag}: unknown capability {value!r}; see capabilities(7) for the names")
        names.add(name)
    return frozenset(names)


def mask(capabilities: Iterable[str]) -> int:
    """Return the 64-bit set of full names, as capset(2) and /proc/PID/status have it (bit n = capability n)."""
    return sum(1 << NUMBERS[name] for name in set(capabilities))


def from_mask(bits: int) -> frozenset[str]:
    """Return the names in a 64-bit set. Bits newer than this file are left out: nobody can have meant them."""
    return frozenset(name for number, name in enumerate(NAMES) if bits >> number & 1)


@functools.cache
def process_capabilities() -> frozenset[str]:
    """Return what this process could hand on: permitted, and still in its bounding set. Read once."""
    return from_status(Path("/proc/self/status").read_text(encoding="utf-8", errors="replace"))


def from_status(text: str) -> frozenset[str]:
    """Return permitted ∩ bounding of a /proc/PID/status. The kernel shows no bit that it does not know."""
    sets = dict(line.split(":", 1) for line in text.splitlines() if line.startswith("Cap"))
    return from_mask(int(sets["CapPrm"], 16) & int(sets["CapBnd"], 16))
