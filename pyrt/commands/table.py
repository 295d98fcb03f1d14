# SPDX-License-Identifier: Apache-2.0
"""Tables in the layout of Docker 0.1.0: every column but the last padded to its widest cell plus three spaces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_PADDING = 3


def table(rows: Iterable[Sequence[str]], minimum: int = 20) -> str:
    """Return the rows, all of the same number of cells, one a line; no column but the last is narrower than `minimum`.

    Characters that would break a line or move the cursor are shown escaped.
    """
    cells = [[_printable(cell) for cell in row] for row in rows]
    widths = [max(minimum, max(map(len, column)) + _PADDING) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        lines.append("".join([*padded, row[-1]]) + "\n")
    return "".join(lines)


def _printable(cell: str) -> str:
    return cell if cell.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cell)
