# SPDX-License-Identifier: Apache-2.0
"""The seccomp program of a container: compiled once for each profile and set of capabilities, then found in the cache.

Importing this module, and finding a program in the cache, loads neither libseccomp nor the profile's reader: the start
path pays for a digest and a stat.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import tempfile
from pathlib import Path

from pyrt.engine.seccomp_profile import default_profile
from pyrt.engine.seccomp_rules import ARCHITECTURES
from pyrt.errors import PyrtError

VERSION = 2  # of the compiler: to be raised when the same profile makes another program
_FILTER_BYTES = 8  # struct sock_filter


def compile_default(capabilities: frozenset[str], *, machine: str | None = None) -> bytes:
    """Return the default program for a container with these capabilities (full names), as struct sock_filter[]."""
    from pyrt.engine.seccomp_program import compile_program

    return compile_program(default_profile(capabilities, _supported(machine)))


def compile_profile(
    json_text: str,
    *,
    capabilities: frozenset[str] = frozenset(),
    machine: str | None = None,
    kernel: str | None = None,
) -> bytes:
    """Return the program of a docker-format profile. Raises UsageError that says what in it is wrong."""
    from pyrt.engine.seccomp_docker import read_profile
    from pyrt.engine.seccomp_program import compile_program

    kernel = kernel or os.uname().release
    profile = read_profile(json_text, capabilities=capabilities, machine=_supported(machine), kernel=kernel)
    return compile_program(profile)


def _supported(machine: str | None) -> str:
    machine = machine or os.uname().machine
    if machine not in ARCHITECTURES:
        raise PyrtError(
            f"pyrt has no seccomp profile for {machine}, only for {' and '.join(ARCHITECTURES)}; "
            "use --security-opt seccomp=unconfined to do without"
        )
    return machine


@functools.cache
def library_version() -> str:
    """Return libseccomp's version, read off its file's name; only where that fails by loading it."""
    multiarch = getattr(sys.implementation, "_multiarch", "")
    for directory in (f"/usr/lib/{multiarch}", f"/lib/{multiarch}", "/usr/lib64", "/lib64", "/usr/lib", "/lib"):
        name = os.path.basename(os.path.realpath(f"{directory}/libseccomp.so.2"))
        if name.startswith("libseccomp.so.2."):
            return name.removeprefix("libseccomp.so.")
    from pyrt.engine import seccomp_program

    return seccomp_program.library_version()


class ProgramCache:
    """Compiled programs as files named by the digest of all that they are made from.

    Threads and processes may share it. A file is complete or not there. Nothing is ever removed: there are as many as
    combinations in use, of a few KiB at most.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def default(self, capabilities: frozenset[str]) -> tuple[Path, str]:
        """Return (file, digest) of the default program for these capabilities, compiling it if need be."""
        digest = _default_digest(capabilities)
        path = self._directory / f"{digest}.bpf"
        if not _usable(path):
            self._store(path, compile_default(capabilities))
        return path, digest

    def profile(self, json_text: str, *, capabilities: frozenset[str] = frozenset()) -> tuple[Path, str]:
        """Return (file, digest) of a docker-format profile's program. Raises UsageError for a bad profile."""
        digest = _digest("file", json_text, ",".join(sorted(capabilities)), os.uname().release)
        path = self._directory / f"{digest}.bpf"
        if not _usable(path):
            self._store(path, compile_profile(json_text, capabilities=capabilities))
        return path, digest

    def _store(self, path: Path, program: bytes) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd, temporary = tempfile.mkstemp(dir=self._directory, prefix=".", suffix=".tmp")
        try:
            with open(fd, "wb") as file:
                file.write(program)
                file.flush()
                os.fsync(fd)  # a power cut must not leave an empty file of this name: no container would start again
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


@functools.lru_cache(maxsize=64)
def _default_digest(capabilities: frozenset[str]) -> str:
    return _digest("default", repr(default_profile(capabilities, _supported(None))))


def _digest(*parts: str) -> str:
    whole = "\0".join((str(VERSION), _supported(None), library_version(), *parts))
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()


def _usable(path: Path) -> bool:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return False
    return size > 0 and size % _FILTER_BYTES == 0
