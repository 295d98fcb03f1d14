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

    A plan needs `argv`, `env`, and a root (`overlay` or `rootfs`) or a container to `join`; the order of the calls does
    not matter, except that volumes are mounted in the order they were added. Texts are passed on as the file system's
    encoding has them.
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
        """Set the host name of the UTS namespace, which must be a new one: else it is the host's."""
        return self._add(lib.PYRT_PLAN_HOSTNAME, _string(name))

    def address(self, address: str, prefix_length: int, gateway: str) -> Plan:
        """Give eth0 this IPv4 address, and the default route through gateway.

        The interface has to be there when the plan is sent. ValueError for what is no address.
        """
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
        """Make the root's own mount read-only, once /proc, /sys, /dev, files and volumes are in place."""
        return self._add(lib.PYRT_PLAN_READONLY)

    def volume(self, source: str, target: str, *, readonly: bool = False) -> Plan:
        """Mount a file or directory of the host, and what is mounted below it; at most 64 of them.

        `target`, absolute, is resolved inside the root and made if it is missing. `source` is looked up as root.
        """
        return self._add(lib.PYRT_PLAN_VOLUME, _string(source) + _string(target), 1 if readonly else 0)

    def file(self, target: str, content: bytes, *, mode: int = 0o644) -> Plan:
        """Mount a small file with this content over the root's own, made if there is none; at most 8."""
        return self._add(lib.PYRT_PLAN_FILE, _string(target) + content, mode)

    def stdio(self, *, stdin: bool) -> Plan:
        """Expect stdin, stdout and stderr as descriptors; without `stdin` only the last two, and /dev/null."""
        return self._add(lib.PYRT_PLAN_STDIO, flags=1 if stdin else 0)

    def no_stdio(self) -> Plan:
        """Give the program the container's null device three times; no descriptors are expected then."""
        return self._add(lib.PYRT_PLAN_STDIO, flags=2)

    def terminal(self, rows: int, columns: int) -> Plan:
        """Make a terminal of the container's own for all three; no descriptors are expected then."""
        return self._add(lib.PYRT_PLAN_TERMINAL, struct.pack("=HH", rows, columns))

    def user(self, spec: str) -> Plan:
        """Run as `user` or `user:group`: numbers, or names in the root's own passwd and group. The default is root."""
        return self._add(lib.PYRT_PLAN_USER, _string(spec))

    def cwd(self, path: str) -> Plan:
        """Start in this directory of the root; the default is /. One that is not there fails the start."""
        return self._add(lib.PYRT_PLAN_CWD, _string(path))

    def capabilities(self, mask: int) -> Plan:
        """Bound, permit and give effect to exactly these capabilities (bit n: capability n); default: the caller's."""
        return self._add(lib.PYRT_PLAN_CAPS, struct.pack("=Q", mask))

    def no_new_privileges(self) -> Plan:
        """Let no execve raise privileges: setuid programs and file capabilities count for nothing."""
        return self._add(lib.PYRT_PLAN_NO_NEW_PRIVS)

    def gate(self) -> Plan:
        """Have the init wait, with everything in place, for `Slot.open_gate` before it becomes the program."""
        return self._add(lib.PYRT_PLAN_GATE)

    def seccomp(self, program: bytes) -> Plan:
        """Install an array of struct sock_filter just before the program starts."""
        return self._add(lib.PYRT_PLAN_SECCOMP, program)

    def env(self, variables: Iterable[str]) -> Plan:
        """Set the whole environment, NAME=VALUE each; nothing is inherited."""
        return self._add(lib.PYRT_PLAN_ENV, b"".join(map(_string, variables)))

    def argv(self, arguments: Iterable[str]) -> Plan:
        """Execute this; a program without a slash is looked for in the PATH of `env`."""
        return self._add(lib.PYRT_PLAN_ARGV, b"".join(map(_string, arguments)))

    def join(self, groups: Iterable[str] = ()) -> Plan:
        """Enter a container that runs (pyrt.core.joining). `groups`: files to write 0 to, as cgroup.procs."""
        return self._add(lib.PYRT_PLAN_JOIN, b"".join(map(_string, groups)))


MASK_PATH = "/proc/mask"
"""What an overlay's options call the layer that `Plan.mask` makes."""
