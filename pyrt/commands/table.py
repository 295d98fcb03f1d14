# SPDX-License-Identifier: Apache-2.0
"""Tables in the layout of Docker 0.1.0: every column but the last padded to its widest cell plus three spaces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_PADDING = 3


def table(rows: Iterable[Sequence[str]], minimum: int = 20) -> str:
    """Return the rows, all of the same number of cells, one a line; no column but the last is narrower than `minimum`.

    Characters that would break a line or move the cursor are shown escaped.
    """
    lines = [tuple(row) for row in rows]
    if not "".join(map("".join, lines)).isprintable():
        lines = [tuple(map(_printable, row)) for row in lines]
    columns = list(zip(*lines, strict=True))
    widths = [max(minimum, len(max(column, key=len)) + _PADDING) for column in columns[:-1]]
    form = "".join(f"%-{width}s" for width in widths) + "%s\n"
    return "".join([form % row for row in lines])


def _printable(cell: str) -> str:
    return cell if cell.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cell)
