# SPDX-License-Identifier: Apache-2.0
"""Logs written by hand, and a plain reading of them: what their lines are, by the definition in csrc/log_lines.h."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from pyrt.core import broadcast, frames, lines
from pyrt.core.broadcast import Broadcaster

MS = 1_000_000
OUTPUT = (frames.STDOUT, frames.STDERR)


@dataclass(frozen=True)
class Frame:
    kind: int
    payload: bytes
    time_ns: int
    rolls: bool = False  # it is the first of a segment


@dataclass(frozen=True)
class Line:
    kind: int
    start: int  # places are numbers of bytes of output, both streams counted together
    end: int
    text: bytes
    time_ns: int


def write_log(path: Path, written: list[Frame], *, index: bool = True) -> None:
    """Write segments and indexes as the log does, with a record a millisecond."""
    offset, name, tick = 0, "", -1
    for frame in written:
        if frame.rolls or not name:
            name, tick = f"{offset:016x}", -1
        with open(path / f"{name}.log", "ab") as log:
            log.write(frames.encode(frame.kind, frame.payload))
        if index and frame.time_ns // MS != tick:
            with open(path / f"{name}.idx", "ab") as records:
                records.write(struct.pack(">QQ", offset, frame.time_ns))
            tick = frame.time_ns // MS
        offset += frames.HEADER_BYTES + len(frame.payload)


def known_times(written: list[Frame]) -> list[Frame]:
    """The frames with the times that the index knows of them."""
    found: list[Frame] = []
    known = 0
    for number, frame in enumerate(written):
        if frame.rolls or number == 0 or frame.time_ns // MS != known // MS:
            known = frame.time_ns
        found.append(Frame(frame.kind, frame.payload, known, frame.rolls))
    return found


def read_lines(written: list[Frame]) -> list[Line]:
    """Every line, in the order of their ends; what has no newline yet is one."""
    place = 0
    found: list[Line] = []
    begun: dict[int, list[tuple[int, int, int]]] = {kind: [] for kind in OUTPUT}  # place, byte, time
    for frame in written:
        if frame.kind not in OUTPUT:
            continue
        for byte in frame.payload:
            begun[frame.kind].append((place, byte, frame.time_ns))
            place += 1
            if byte == 10:
                found.append(_line(frame.kind, begun[frame.kind]))
                begun[frame.kind] = []
    found += [_line(kind, rest) for kind, rest in begun.items() if rest]
    return sorted(found, key=lambda line: line.end)


def _line(kind: int, parts: list[tuple[int, int, int]]) -> Line:
    return Line(kind, parts[0][0], parts[-1][0], bytes(byte for _, byte, _ in parts), parts[-1][2])


def select(
    written: list[Frame], *, tail: int | None = None, since_ns: int | None = None, until_ns: int | None = None
) -> list[Line]:
    """The lines that are wanted, in the order of their ends."""
    seen = [frame for frame in written if until_ns is None or frame.time_ns <= until_ns]
    found = read_lines(seen)
    if tail is not None:
        found = found[len(found) - tail :] if tail < len(found) else found
    return [line for line in found if since_ns is None or line.time_ns >= since_ns]


def as_written(written: list[Frame], wanted: list[Line]) -> list[tuple[int, int]]:
    """The bytes of these lines, with their streams, in the order in which they were written."""
    of_line = {(line.kind, line.start): line for line in wanted}
    place, inside = 0, dict.fromkeys(OUTPUT, -1)
    found: list[tuple[int, int]] = []
    for frame in written:
        if frame.kind not in OUTPUT:
            continue
        for byte in frame.payload:
            line = of_line.get((frame.kind, place))
            if line is not None:
                inside[frame.kind] = line.end
            if place <= inside[frame.kind]:
                found.append((frame.kind, byte))
            place += 1
    return found


def show(broadcaster: Broadcaster, path: Path, cut: lines.Cut, *, until: bool = False, **options: object) -> bytes:
    """What a reader of this part of the files gets."""
    dirfd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        log = broadcaster.open_view(dirfd, str(path))
    finally:
        os.close(dirfd)
    ours, theirs = socket.socketpair()
    with log, theirs:
        with ours:
            log.add_reader(
                ours.fileno(),
                offset=cut.offset,
                starts=cut.starts,
                follow=False,
                until=cut.end if until else None,
                **options,  # type: ignore[arg-type]
            )
        theirs.settimeout(30)
        parts = []
        while part := theirs.recv(1 << 20):
            parts.append(part)
    return b"".join(parts)


def find(path: Path, **wanted: int | None) -> lines.Cut:
    dirfd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return lines.find(dirfd, **wanted)
    finally:
        os.close(dirfd)


def whole(path: Path) -> lines.Cut:
    return lines.Cut(broadcast.START, (), 0)


def split(data: bytes) -> list[tuple[int, bytes]]:
    reader = frames.FrameReader()
    found: list[tuple[int, bytes]] = []
    for at in range(0, len(data), 65536):
        reader.feed(data[at : at + 65536])
        found += list(reader)
    reader.finish()
    return found


def one_by_one(found: list[tuple[int, bytes]]) -> list[tuple[int, int]]:
    return [(kind, byte) for kind, payload in found if kind in OUTPUT for byte in payload]
