# SPDX-License-Identifier: Apache-2.0
"""What a container is made of, in the form that pyrt-init reads (csrc/plan.h)."""

from __future__ import annotations

import ipaddress
import os
import struct
from collections.abc import Iterable

from pyrt.core._namespaces import lib

_RECORD = struct.Struct("=HHI")


def _string(text: str | bytes) -> bytes:
    data = os.fsencode(text)
    if b"\0" in data:
        raise ValueError(f"a NUL byte in {text!r}")
    return data + b"\0"


class Plan:
    """A container's plan, built record by record; each method returns the plan itself.

    A plan needs a root (`overlay` or `rootfs`), `argv` and `env`; the order of the calls does not matter, except that
    volumes are mounted in the order they were added. Texts are passed on as the file system's encoding has them.
    """

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def __bytes__(self) -> bytes:
        return bytes(self._data)

    def _add(self, op: int, payload: bytes = b"", flags: int = 0) -> Plan:
        self._data += _RECORD.pack(op, flags, len(payload))
        self._data += payload
        return self

    def hostname(self, name: str) -> Plan:
        return self._add(lib.PYRT_PLAN_HOSTNAME, _string(name))

    def address(self, address: str, prefix_length: int, gateway: str) -> Plan:
        """Give eth0 this IPv4 address, and the default route through gateway."""
        octets = ipaddress.IPv4Address(address).packed + ipaddress.IPv4Address(gateway).packed
        return self._add(lib.PYRT_PLAN_ADDRESS, octets + struct.pack("=I", prefix_length))

    def overlay(self, directory: str, options: str) -> Plan:
        """Mount an overlay as the root. `options` as mount(8) -o has them; relative paths start at `directory`."""
        return self._add(lib.PYRT_PLAN_OVERLAY, _string(directory) + _string(options))

    def mask(self, path: str, *, mode: int = 0, uid: int = 0, gid: int = 0) -> Plan:
        """Add a directory (mode other than 0) or a whiteout to a layer that the options can name as `MASK_PATH`."""
        return self._add(lib.PYRT_PLAN_MASK, struct.pack("=III", mode, uid, gid) + _string(path))

    def rootfs(self, path: str) -> Plan:
        """Use a directory of the host as the root, as it is: what the container writes stays there."""
        return self._add(lib.PYRT_PLAN_ROOTFS, _string(path))

    def readonly(self) -> Plan:
        return self._add(lib.PYRT_PLAN_READONLY)

    def volume(self, source: str, target: str, *, readonly: bool = False) -> Plan:
        return self._add(lib.PYRT_PLAN_VOLUME, _string(source) + _string(target), 1 if readonly else 0)

    def file(self, target: str, content: bytes, *, mode: int = 0o644) -> Plan:
        """Mount a small file with this content over the root's own, which it is made beside if there is none."""
        return self._add(lib.PYRT_PLAN_FILE, _string(target) + content, mode)

    def stdio(self, *, stdin: bool) -> Plan:
        """Expect stdin, stdout and stderr as descriptors; without `stdin` only the last two, and /dev/null as stdin."""
        return self._add(lib.PYRT_PLAN_STDIO, flags=1 if stdin else 0)

    def terminal(self, rows: int, columns: int) -> Plan:
        """Make a terminal of the container's own for all three; no descriptors are expected then."""
        return self._add(lib.PYRT_PLAN_TERMINAL, struct.pack("=HH", rows, columns))

    def user(self, spec: str) -> Plan:
        return self._add(lib.PYRT_PLAN_USER, _string(spec))

    def cwd(self, path: str) -> Plan:
        return self._add(lib.PYRT_PLAN_CWD, _string(path))

    def capabilities(self, mask: int) -> Plan:
        """Bound, permit and give effect to exactly these capabilities (bit n is capability n)."""
        return self._add(lib.PYRT_PLAN_CAPS, struct.pack("=Q", mask))

    def no_new_privileges(self) -> Plan:
        return self._add(lib.PYRT_PLAN_NO_NEW_PRIVS)

    def seccomp(self, program: bytes) -> Plan:
        """Install an array of struct sock_filter just before the program starts."""
        return self._add(lib.PYRT_PLAN_SECCOMP, program)

    def env(self, variables: Iterable[str]) -> Plan:
        return self._add(lib.PYRT_PLAN_ENV, b"".join(map(_string, variables)))

    def argv(self, arguments: Iterable[str]) -> Plan:
        return self._add(lib.PYRT_PLAN_ARGV, b"".join(map(_string, arguments)))


MASK_PATH = "/proc/mask"
