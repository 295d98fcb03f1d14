# SPDX-License-Identifier: Apache-2.0
"""Signals for a container's first process, which the kernel treats unlike any other."""

from __future__ import annotations

import platform
import signal

# signal(7): the default action of these is not to end the process.
HARMLESS = frozenset(
    {
        signal.SIGCHLD,
        signal.SIGCONT,
        signal.SIGSTOP,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGURG,
        signal.SIGWINCH,
    }
)


# The system call a process is in while it waits for signals: what it waits for is then missing from SigBlk.
RT_SIGTIMEDWAIT = {"x86_64": "128", "aarch64": "137"}.get(platform.machine(), "")


def ends_by_default(number: int, status: str, *syscalls: str) -> bool:
    """Tell whether a signal would end an ordinary process, but not the first of a namespace.

    `status` is its /proc/PID/status, `syscalls` its /proc/PID/syscall from before that and after it: it may have gone
    on in between.

    The kernel discards signals without a handler for the first process of a PID namespace (pid_namespaces(7)), so that
    Ctrl-C on a plain `sleep` would do nothing. pyrt makes up for it: such a signal ends the container. One that the
    process ignores on purpose, blocks or waits for is left to it.
    """
    if number in HARMLESS or number in (signal.SIGKILL, 0):
        return False
    if any(syscall.split(" ", 1)[0] == RT_SIGTIMEDWAIT for syscall in syscalls):
        return False
    bit = 1 << (number - 1)
    handled = pending = 0
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name in ("SigBlk", "SigIgn", "SigCgt"):
            handled |= int(value, 16)
        elif name in ("SigPnd", "ShdPnd"):
            pending |= int(value, 16)
    # A signal that nobody handles would have been discarded. One that is pending all the same is waited for, by a
    # process that has been woken by it and not had a processor since: it is in no system call then that one could see.
    return not handled & bit and not pending & ~handled
