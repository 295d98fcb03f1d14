# SPDX-License-Identifier: Apache-2.0
"""Change: what became of one path in a container. Told by `pyrt-tar --changes`; see csrc/tar/changes.c."""

from __future__ import annotations

import enum
import re
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass

_PLAIN = re.compile(r"[^\x00-\x1f\x7f-\x9f\\\u2028\u2029\udc80-\udcff]*")


class Kind(enum.Enum):
    """As Docker writes it."""

    MODIFIED = "C"
    ADDED = "A"
    DELETED = "D"


@dataclass(frozen=True, slots=True)
class Change:
    """`path` starts at the container's root, any bytes but NUL. A directory that is gone stands for all in it."""

    kind: Kind
    path: bytes

    def __str__(self) -> str:
        """One line: a backslash, and whatever would break a line or move the cursor, is written as in a C string."""
        path = self.path.decode("utf-8", "surrogateescape")
        return f"{self.kind.value} {path if _PLAIN.fullmatch(path) else ''.join(map(_escaped, path))}"


def _escaped(character: str) -> str:
    if _PLAIN.fullmatch(character):
        return character
    if (short := {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}.get(character)) is not None:
        return short
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))


async def parse(chunks: AsyncIterable[bytes]) -> AsyncIterator[list[Change]]:
    """Yield what the program tells, a batch for each piece of it; each record ends with a NUL."""
    rest = b""
    async for chunk in chunks:
        *records, rest = (rest + chunk).split(b"\0")
        yield [Change(Kind(chr(record[0])), record[1:]) for record in records]
