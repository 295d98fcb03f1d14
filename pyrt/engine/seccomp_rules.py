# SPDX-License-Identifier: Apache-2.0
"""What a seccomp profile says, before it is a program: actions, comparisons of arguments, rules.

Names of actions, comparisons and architectures are libseccomp's own (SCMP_ACT_ALLOW, SCMP_CMP_EQ, SCMP_ARCH_X86_64):
the numbers stay in its header, and nothing here needs the library.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

ARCHITECTURES: dict[str, tuple[str, ...]] = {  # by uname's machine: its own, then the 32-bit one it also runs
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}


@dataclass(frozen=True, slots=True)
class Action:
    """What happens to a system call. `value` is the errno of SCMP_ACT_ERRNO and the message of SCMP_ACT_TRACE."""

    name: str
    value: int = 0


ALLOW = Action("SCMP_ACT_ALLOW")
DENY = Action("SCMP_ACT_ERRNO", errno.EPERM)
ABSENT = Action("SCMP_ACT_ERRNO", errno.ENOSYS)


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition on argument `index`. For SCMP_CMP_MASKED_EQ `value` is the mask and `second` what must remain."""

    index: int
    op: str
    value: int
    second: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """The action for these system calls, if every comparison holds."""

    names: tuple[str, ...]
    action: Action = ALLOW
    compare: tuple[Compare, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """A whole policy.

    `numbers` are system calls newer than the oldest libseccomp that we meet, used for the machine's own architecture.
    `named_only`: system calls above the highest one that the rules or `mentioned` name get ENOSYS; otherwise above the
    highest that libseccomp and `numbers` know, and in the gaps between. `absent`: whether any get ENOSYS at all.
    `socketcall_opens`: whether 32-bit x86 may make a socket through socketcall(2), where its family cannot be seen.
    """

    default: Action
    architectures: tuple[str, ...]
    rules: tuple[Rule, ...]
    numbers: tuple[tuple[str, int], ...] = ()
    absent: bool = True
    named_only: bool = False
    mentioned: tuple[str, ...] = ()
    socketcall_opens: bool = True
