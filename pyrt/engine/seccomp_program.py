# SPDX-License-Identifier: Apache-2.0
"""Turns a seccomp Profile into the BPF program that the kernel runs: the only module that loads libseccomp.

libseccomp makes the rules into a binary tree per architecture. It cannot say "this number is newer than the profile",
so a few instructions of our own go in front, which answer ENOSYS for such numbers and else fall into its program.
The whole, in which every number is asked for by itself, is then put in order by ranges: see seccomp_ranges.py.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from typing import Any

from pyrt.engine._seccomp import ffi, lib
from pyrt.engine.seccomp_code import JUMP, LOAD, RETURN, Instruction, encode
from pyrt.engine.seccomp_graph import ARCHITECTURE, HIGHEST, JEQ, JGE, JGT, NUMBER
from pyrt.engine.seccomp_ranges import by_ranges
from pyrt.engine.seccomp_rules import Action, Profile, Rule
from pyrt.errors import PyrtError

INSTRUCTION_BYTES = 8  # struct sock_filter
MOST_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_NUMBERS = (range(600), range(0xF0000, 0xF0010))  # where Linux has numbers; the second are 32-bit ARM's own
_WORTHWHILE_GAP = 8  # shorter runs of unused numbers are holes that no call will fill any more: they get EPERM
_X32_BIT = 0x40000000
_SKIPPED = 0xFFFFFFFF  # the number a tracer leaves behind when it wants the call not made (strace's fault injection)
_SOCKETCALL, _SYS_SOCKET = 102, 1
_ARGUMENT_0 = 16  # its lower half's offset in struct seccomp_data
_RET_ALLOW, _RET_ENOSYS = 0x7FFF0000, 0x00050000 | errno.ENOSYS
_Context = Any  # scmp_filter_ctx


def library_version() -> str:
    """Return the version of the libseccomp that is loaded."""
    version = lib.seccomp_version()
    return f"{version.major}.{version.minor}.{version.micro}"


def compile_program(profile: Profile) -> bytes:
    """Return the program as an array of struct sock_filter. Raises PyrtError for what libseccomp does not accept."""
    program = by_ranges(plain_program(profile))
    if len(program) > MOST_INSTRUCTIONS * INSTRUCTION_BYTES:
        raise PyrtError(f"the seccomp profile is too long: {len(program) // INSTRUCTION_BYTES} instructions, not 4096")
    return program


def plain_program(profile: Profile) -> bytes:
    """Return the program as libseccomp makes it: the same decisions in several times the instructions."""
    action = _action(profile.default)
    contexts = []
    try:
        for name in profile.architectures:
            architecture = getattr(lib, name)
            context = _context(action, architecture)
            contexts.append(context)
            for rule in profile.rules:
                if rule.action != profile.default:  # libseccomp refuses a rule that says what happens anyway
                    _add(context, architecture, rule, _numbers(profile, architecture))
        while len(contexts) > 1:
            _check(lib.seccomp_merge(contexts[0], contexts[1]), "the rules of two architectures cannot be merged")
            contexts.pop(1)  # merging released it
        program = _export(contexts[0])
    finally:
        for context in contexts:
            lib.seccomp_release(context)
    return encode(_prologue(profile)) + program


def _numbers(profile: Profile, architecture: int) -> dict[str, int]:
    """Return the numbers that libseccomp need not know; for a foreign architecture it insists on its own names."""
    return dict(profile.numbers) if architecture == lib.seccomp_arch_native() else {}


def _context(action: int, architecture: int) -> _Context:
    context = lib.seccomp_init(action)
    if context == ffi.NULL:
        raise PyrtError("libseccomp cannot start a program with this default action")
    if architecture != lib.seccomp_arch_native():
        _check(lib.seccomp_arch_add(context, architecture), "libseccomp does not know an architecture of the profile")
        _check(lib.seccomp_arch_remove(context, lib.seccomp_arch_native()), "libseccomp keeps an architecture")
    _check(lib.seccomp_attr_set(context, lib.SCMP_FLTATR_CTL_NNP, 0), "libseccomp insists on no_new_privs")
    lib.seccomp_attr_set(context, lib.SCMP_FLTATR_CTL_OPTIMIZE, 2)  # a binary tree; before 2.5 a list, so be it
    return context


def _add(context: _Context, architecture: int, rule: Rule, numbers: dict[str, int]) -> None:
    compare = ffi.new("struct scmp_arg_cmp[]", len(rule.compare))
    for slot, comparison in zip(compare, rule.compare, strict=True):
        slot.arg, slot.op = comparison.index, getattr(lib, comparison.op)
        slot.datum_a, slot.datum_b = comparison.value, comparison.second
        if comparison.op == "SCMP_CMP_MASKED_EQ":
            slot.datum_b &= comparison.value  # bits outside the mask could never be equal
    action = _action(rule.action)
    for name in rule.names:
        number = lib.seccomp_syscall_resolve_name(name.encode())
        if number == lib.__NR_SCMP_ERROR:
            if name not in numbers:
                continue  # newer than libseccomp
            number = numbers[name]
        elif lib.seccomp_syscall_resolve_name_arch(architecture, name.encode()) == lib.__NR_SCMP_ERROR:
            continue
        result = lib.seccomp_rule_add_array(context, action, number, len(rule.compare), compare)
        if result == -errno.EEXIST:
            continue  # said before
        _check(result, f"the rule for {name} ({rule.action.name}) cannot be added")


def _action(action: Action) -> int:
    match action.name:
        case "SCMP_ACT_ERRNO":
            return int(lib.act_errno(action.value))
        case "SCMP_ACT_TRACE":
            return int(lib.act_trace(action.value))
        case "SCMP_ACT_KILL":
            return int(lib.SCMP_ACT_KILL_THREAD)
        case name:
            return int(getattr(lib, name))


def _export(context: _Context) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        _check(lib.seccomp_export_bpf(context, fd), "libseccomp cannot write the program")
        size = os.lseek(fd, 0, os.SEEK_CUR)
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)


def _check(result: int, what: str) -> None:
    if result < 0:
        raise PyrtError(f"seccomp profile: {what}: {os.strerror(-result)}")


def known_numbers(architecture: int) -> Iterator[int]:
    """Yield the system call numbers of an architecture that libseccomp has a name for, ascending."""
    for numbers in _NUMBERS:
        for number in numbers:
            name = lib.seccomp_syscall_resolve_num_arch(architecture, number)
            if name != ffi.NULL:
                lib.free(name)
                yield number


def _mentioned(profile: Profile, architecture: int, numbers: dict[str, int]) -> Iterator[int]:
    """Yield the numbers that a profile names, whatever it says about them."""
    for name in {*profile.mentioned, *(name for rule in profile.rules for name in rule.names)}:
        number = lib.seccomp_syscall_resolve_name_arch(architecture, name.encode())
        number = numbers.get(name, -1) if number < 0 else number
        if number >= 0:
            yield number & ~_X32_BIT


def absent_ranges(known: Iterable[int], *, gaps: bool = True) -> list[tuple[int, int]]:
    """Return the ranges (both ends included) of numbers that nobody knows; without `gaps` only the one above all."""
    ranges, following = [], 0
    for number in sorted(known):
        if gaps and number - following >= _WORTHWHILE_GAP:
            ranges.append((following, number - 1))
        following = number + 1
    return [*ranges, (following, HIGHEST)]


def _prologue(profile: Profile) -> list[Instruction]:
    """Return the instructions in front: for each architecture a block that ends in a jump behind them all."""
    if not profile.absent:
        return []
    blocks = []
    for architecture in profile.architectures:
        if architecture == "SCMP_ARCH_X32":
            continue  # the same audit architecture as x86_64, told apart by a bit of the number: it goes through there
        token = getattr(lib, architecture)
        extra = _numbers(profile, token)
        if profile.named_only:
            ranges = absent_ranges(_mentioned(profile, token, extra), gaps=False)
        else:
            ranges = absent_ranges([*known_numbers(token), *extra.values()])
        if "SCMP_ARCH_X32" in profile.architectures and architecture == "SCMP_ARCH_X86_64":
            ranges[-1] = (ranges[-1][0], _X32_BIT - 1)
        blocked = architecture == "SCMP_ARCH_X86" and not profile.socketcall_opens
        blocks.append((token, _block(ranges, blocked)))
    program: list[Instruction] = []
    for token, block in reversed(blocks):
        block = [*block, (JUMP, 0, 0, len(program))]
        program = [(JEQ, 0, len(block), token), *block, *program]
    return [(LOAD, 0, 0, ARCHITECTURE), *program]


def _block(ranges: list[tuple[int, int]], no_socketcall: bool) -> list[Instruction]:
    """Return the checks of one architecture. Jumps to its end go to the instruction after the block."""
    body: list[Instruction] = []
    if no_socketcall:
        body = [
            (JEQ, 0, 3, _SOCKETCALL),
            (LOAD, 0, 0, _ARGUMENT_0),  # its lower half; compat calls have no other
            (JEQ, 0, 1, _SYS_SOCKET),
            (RETURN, 0, 0, _RET_ENOSYS),
        ]
    for low, high in reversed(ranges):
        answer: list[Instruction] = [(RETURN, 0, 0, _RET_ENOSYS)]
        if high == HIGHEST:
            answer = [(JEQ, 0, 1, _SKIPPED), (RETURN, 0, 0, _RET_ALLOW), *answer]
        else:
            answer = [(JGT, len(answer), 0, high), *answer]
        body = [(JGE, 0, len(answer), low), *answer, *body]
    return [(LOAD, 0, 0, NUMBER), *body]
