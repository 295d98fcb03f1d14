# SPDX-License-Identifier: Apache-2.0
"""Changes as lines: no path can break one, and each line stands for one path only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrt.image.changes import Change, Kind, parse


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (b"/bin/whale", "D /bin/whale"),
        ("/ü".encode(), "D /ü"),
        (b"/a\nA /b", "D /a\\nA /b"),
        (b"/\x1b[1m\t\r\x7f", "D /\\033[1m\\t\\r\\177"),
        (b"/a\\nb", "D /a\\\\nb"),
        (b"/\xff\xc3", "D /\\377\\303"),
        ("/\u2028\x85".encode(), "D /\\342\\200\\250\\302\\205"),
    ],
)
def test_lines(path: bytes, line: str) -> None:
    assert str(Change(Kind.DELETED, path)) == line


@given(st.binary(min_size=1).filter(lambda path: b"\0" not in path))
def test_a_line_is_one_line_and_can_be_undone(path: bytes) -> None:
    """As printf %b does it."""
    line = str(Change(Kind.ADDED, path))
    assert len(line.splitlines()) == 1
    assert line[2:].encode().decode("unicode_escape").encode("latin-1") == path


@given(st.lists(st.binary(min_size=1, max_size=20).filter(lambda path: b"\0" not in path)), st.integers(1, 30))
def test_records_may_be_cut_anywhere(paths: list[bytes], size: int) -> None:
    data = b"".join(b"C/" + path + b"\0" for path in paths)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), size):
            yield data[start : start + size]

    async def collect() -> list[Change]:
        return [change async for batch in parse(chunks()) for change in batch]

    assert asyncio.run(collect()) == [Change(Kind.MODIFIED, b"/" + path) for path in paths]
