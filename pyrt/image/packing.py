# SPDX-License-Identifier: Apache-2.0
"""Making archives of directory trees that are not trusted, by the program `pyrt-tar`; see csrc/tar.

The program walks the tree by descriptor and can reach nothing else. What it writes goes to a descriptor, so that of a
large tree nothing passes through this process unless somebody here wants to see it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyrt.core
from pyrt.errors import ImageError
from pyrt.image.archive import printable

_PROGRAM = Path(pyrt.core.__file__).parent / "_libexec" / "pyrt-tar"
_REPORT_BYTES = 65536
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Packed:
    """What went into an archive. `warnings` are lines for its owner, `warning_count` counts those left out too."""

    entries: int
    bytes: int
    warnings: tuple[str, ...]
    warning_count: int

    def notices(self) -> list[str]:
        """The warnings, and how many were left out."""
        more = self.warning_count - len(self.warnings)
        return [*self.warnings, *([f"and {more} more like these"] if more else [])]


class UnreadableError(ImageError):
    """Something could not be read. `errno` is the kernel's reason, `name` the entry at fault, "" for the whole."""

    def __init__(self, errno: int, name: str, text: str) -> None:
        super().__init__(f"'/{name}' {text}" if name else text)
        self.errno, self.name, self.text = errno, name, text


class ReaderGoneError(ImageError):
    """Nobody reads the archive any more."""


class Packing:
    """A run of pyrt-tar; as a context it is ended at the end, whatever it has done by then.

    Its words are those of csrc/tar/main.c, without --output and --report.
    """

    def __init__(self, words: Sequence[str], fds: Sequence[int], *, output_fd: int) -> None:
        """Start it; all descriptors stay the caller's. Raises OSError."""
        report_fd, their_report_fd = os.pipe()
        try:
            self._process = subprocess.Popen(
                [str(_PROGRAM), "--output", str(output_fd), "--report", str(their_report_fd), *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(*fds, output_fd, their_report_fd),
                cwd="/",
                env={},
            )
        except BaseException:
            os.close(report_fd)
            raise
        finally:
            os.close(their_report_fd)
        self._report = os.fdopen(report_fd, "rb")

    def __enter__(self) -> Packing:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._report.close()

    def kill(self) -> None:
        """Make it end; `result` then says so. From any thread."""
        self._process.kill()

    async def ended(self) -> Packed:
        """As `result`, without holding up the event loop, nor a thread: whoever reads the archive may be slow."""
        loop = asyncio.get_running_loop()
        reported = asyncio.Event()
        loop.add_reader(self._report, reported.set)
        try:
            await reported.wait()
        finally:
            loop.remove_reader(self._report)
        return self.result()  # its last words have come: it has no more to do

    def result(self) -> Packed:
        """Wait until it has ended. Raises ImageError for what it could not do, ReaderGoneError as one kind of it."""
        fields = self._report.read(_REPORT_BYTES).split(b"\0")
        status = self._process.wait()
        if len(fields) < 8:
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            raise BrokenOffError(f"the packer {how} before it was done")
        code, entries, size = (int(field) for field in fields[:3])
        if code in (errno.EPIPE, errno.ECONNRESET):
            raise ReaderGoneError("nobody reads the archive any more")
        if code:
            raise UnreadableError(code, printable(fields[4], 200), printable(fields[5], 400))
        pairs = zip(fields[7:-1:2], fields[8::2], strict=False)
        warnings = tuple(f"/{printable(path, 200)} {printable(text, 200)}" for path, text in pairs)
        return Packed(entries, size, warnings, int(fields[6]))


class BrokenOffError(ImageError):
    """The program died: what it wrote may end anywhere, even within a frame."""


class Stream:
    """What the program writes, piece by piece. When it has been read to its end, `packed` is the report."""

    def __init__(self, words: Sequence[str], fds: Sequence[int]) -> None:
        self.packed: Packed | None = None
        read_fd, write_fd = os.pipe()
        try:
            self._packing = Packing(words, fds, output_fd=write_fd)
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        self._file = os.fdopen(read_fd, "rb", buffering=0)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._packing.__exit__()

    def kill(self) -> None:
        """Make it break off; from any thread."""
        self._packing.kill()

    def __iter__(self) -> Iterator[bytes]:
        """Raises ImageError at the end of an archive that is not whole."""
        while chunk := self._file.read(_CHUNK_BYTES):
            yield chunk
        self.packed = self._packing.result()
