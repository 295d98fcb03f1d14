# SPDX-License-Identifier: Apache-2.0
"""A classic BPF interpreter, as much of it as seccomp has: what a program decides about a call, without making it."""

from __future__ import annotations

import errno
import functools
import struct

ARCHITECTURES = {"x86_64": 0xC000003E, "i386": 0x40000003, "aarch64": 0xC00000B7, "arm": 0x40000028}
X32_BIT = 0x40000000
ALLOW = "allow"
OTHERS = {0x80000000: "kill process", 0: "kill", 0x00030000: "trap", 0x7FF00000: "trace", 0x7FFC0000: "log"}


def decide(program: bytes, architecture: str, number: int, *arguments: int) -> str:
    """Return what becomes of a call: "allow", the name of an errno, "kill", "trap", "trace", or "log"."""
    action = run(program, ARCHITECTURES[architecture], number, arguments)
    match action & 0xFFFF0000:
        case 0x7FFF0000:
            return ALLOW
        case 0x00050000:
            return errno.errorcode[action & 0xFFFF]
        case other:
            return OTHERS[other]


def run(
    program: bytes, architecture: int, number: int, arguments: tuple[int, ...], loads: set[int] | None = None
) -> int:
    """Return the value the program ends with, and leave in `loads` the offsets of what it looked at.

    Raises for what the kernel would refuse to load or what never ends.
    """
    padded = [argument & (1 << 64) - 1 for argument in (*arguments, *(0,) * (6 - len(arguments)))]
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *padded)
    code = instructions(program)
    accumulator = position = 0
    while True:
        operation, true, false, k = code[position]
        position += 1
        match operation:
            case 0x20:
                if loads is not None:
                    loads.add(k)
                (accumulator,) = struct.unpack_from("=I", data, k)
            case 0x54:
                accumulator &= k
            case 0x05:
                position += k
            case 0x15:
                position += true if accumulator == k else false
            case 0x25:
                position += true if accumulator > k else false
            case 0x35:
                position += true if accumulator >= k else false
            case 0x45:
                position += true if accumulator & k else false
            case 0x06:
                return int(k)
            case _:
                raise ValueError(f"instruction {operation:#x} at {position - 1}")


@functools.lru_cache(maxsize=64)
def instructions(program: bytes) -> tuple[tuple[int, int, int, int], ...]:
    """Return a program's instructions as (code, jt, jf, k)."""
    return tuple(struct.iter_unpack("=HBBI", program))
