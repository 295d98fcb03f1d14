# SPDX-License-Identifier: Apache-2.0
"""Unpacking archives that are not trusted: decompressed here, taken apart by the program `pyrt-untar`.

The program is shut into the target directory and follows no link there; see csrc/untar. Nothing of an archive is
interpreted in this process but its compression.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyrt.core
from pyrt.errors import ImageError
from pyrt.image.compression import decompress

MAX_BYTES = 256 << 30
MAX_ENTRIES = 4_000_000
_PROGRAM = Path(pyrt.core.__file__).parent / "_libexec" / "pyrt-untar"
_PIPE_BYTES = 1 << 20
_REPORT_BYTES = 8192
_CLEANING_S = 5.0


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came out of an archive. `diff_id` is the sha256 of the uncompressed archive, in hex."""

    diff_id: str
    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Report:
    """The program's answer; see csrc/untar/run.h. `name` is the entry at fault, "" where it is none."""

    errno: int
    entries: int
    bytes: int
    name: str
    text: str


def unpack(
    chunks: Iterable[bytes],
    target: Path,
    *,
    max_bytes: int = MAX_BYTES,
    max_entries: int = MAX_ENTRIES,
    sync: bool = False,
) -> Unpacked:
    """Unpack a tar, plain or compressed, into the directory `target`; whiteouts become overlayfs' own. Needs root.

    Blocks, in the caller's thread, until all is written; with `sync`, until it is on the disk. At most `max_bytes` of
    content and `max_entries` entries are taken. Raises ImageError; `target` then holds some part of the archive and is
    the caller's to remove. What `chunks` raises is passed on.
    """
    digest = hashlib.sha256()

    def blocks() -> Iterator[bytes]:
        for block in decompress(chunks):
            yield block
            digest.update(block)

    target_fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        words = ["--target", str(target_fd), "--max-bytes", str(max_bytes), "--max-entries", str(max_entries)]
        answer = extract([*words, *(["--sync"] if sync else [])], [target_fd], blocks())
    finally:
        os.close(target_fd)
    if answer.errno:
        raise ImageError(_explain(answer, max_bytes, max_entries))
    return Unpacked(digest.hexdigest(), answer.entries, answer.bytes)


def extract(words: Sequence[str], fds: Sequence[int], blocks: Iterable[bytes]) -> Report:
    """Run the program with these words, without --report, on an uncompressed archive; `fds` it inherits.

    Blocks until it has ended, and takes no more of the archive than it reads. Raises ImageError where it died; what
    `blocks` raises is passed on, after the program was told by the archive's end and has cleaned up.
    """
    report_fd, their_report_fd = os.pipe()
    try:
        process = subprocess.Popen(
            [str(_PROGRAM), "--report", str(their_report_fd), *words],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(*fds, their_report_fd),
            cwd="/",
            env={},
        )
    except BaseException:
        os.close(report_fd)
        raise
    finally:
        os.close(their_report_fd)
    with os.fdopen(report_fd, "rb") as report, process:
        try:
            _feed(blocks, process)
            return _parse(report.read(_REPORT_BYTES), process)
        except BaseException:
            _end(process)
            raise


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the program find the archive's end, and give it a moment to remove what is half written."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_CLEANING_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _feed(blocks: Iterable[bytes], process: subprocess.Popen[bytes]) -> None:
    """Send the archive to the program until it ends or the program does."""
    assert process.stdin is not None
    fd = process.stdin.fileno()
    with contextlib.suppress(OSError):  # the user's total may be used up; it only costs speed
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    try:
        for block in blocks:
            view = memoryview(block)
            while view:
                view = view[os.write(fd, view) :]
    except BrokenPipeError:
        pass  # it has found a fault, and says so in its report
    process.stdin.close()


def _parse(report: bytes, process: subprocess.Popen[bytes]) -> Report:
    fields = report.split(b"\0")
    if len(fields) != 7:
        status = process.wait()
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        raise ImageError(f"the extractor {how} before the archive was unpacked")
    code, entries, size = (int(field) for field in fields[:3])
    return Report(code, entries, size, printable(fields[4], 200), printable(fields[5], 400))


def printable(text: bytes, limit: int) -> str:
    """Return what an archive says in a form that cannot move the cursor of whoever reads the message."""
    decoded = text.decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in decoded)
    return shown if len(shown) <= limit else shown[:limit] + "..."


def _explain(report: Report, max_bytes: int, max_entries: int) -> str:
    where = f"entry '{report.name}' " if report.name else ""
    if report.errno == errno.ENOSPC:
        return f"no space left on the disk after {report.bytes} bytes{f', at {where}' if where else ''}".rstrip()
    if report.errno == errno.EPERM and not report.entries and not report.name:
        return f"unpacking an archive needs root: {report.text}"
    if report.errno == errno.EDQUOT and report.text.endswith("limit"):
        return f"{where}{report.text} of {max_bytes} bytes in {max_entries} entries"
    return f"{where}{report.text}"
