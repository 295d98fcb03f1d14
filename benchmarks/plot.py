# SPDX-License-Identifier: Apache-2.0
"""Comparisons as one SVG: a panel for each, a line for each contender, on a logarithmic axis.

A dot is the median, the bar through it the middle 80 % of the samples. Written by hand: it takes no library.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from benchmarks.interleave import Comparison

WIDTH, LABELS, VALUES, MARGIN = 960, 330, 110, 16  # of the picture; of the columns left and right of the axis
TITLE, LINE, AXIS, GAP = 30, 22, 26, 20  # heights
OURS = "pyrt"  # what begins with this is set apart
COLOURS = {True: "#0b6e4f", False: "#5b6770"}


def svg(comparisons: Sequence[Comparison]) -> str:
    """The picture as text. A comparison of which nothing could be measured has no panel."""
    parts: list[str] = []
    top = MARGIN
    for comparison in comparisons:
        if comparison.samples:
            parts += _panel(comparison, top)
            top += TITLE + LINE * len(comparison.samples) + AXIS + GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}"'
    style = 'font-family="system-ui, sans-serif" font-size="13">'
    return "\n".join([f"{head} {style}", f'<rect width="{WIDTH}" height="{top}" fill="#fff"/>', *parts, "</svg>", ""])


def _panel(comparison: Comparison, top: float) -> list[str]:
    rows = comparison.rows()
    ticks = axis_ticks(min(row.p10 for row in rows), max(row.p90 for row in rows))
    bottom = top + TITLE + LINE * len(rows)
    parts = [_text(MARGIN, top + 16, f"{comparison.title} ({comparison.unit.name})", weight="bold")]
    for tick in ticks:
        x = _x(tick, ticks)
        parts.append(f'<path d="M{x:.1f} {top + TITLE - 4}V{bottom + 4}" stroke="#dde1e4"/>')
        parts.append(_text(x, bottom + 18, f"{tick:,g}", anchor="middle", colour="#5b6770"))
    for number, row in enumerate(rows):
        y = top + TITLE + LINE * number + LINE / 2
        colour = COLOURS[row.name.startswith(OURS)]
        left, right, middle = (_x(value, ticks) for value in (row.p10, row.p90, row.median))
        weight = "bold" if row.name.startswith(OURS) else "normal"
        parts.append(_text(LABELS - 12, y + 4, row.name, anchor="end", colour=colour, weight=weight))
        parts.append(f'<path d="M{left:.1f} {y}H{right:.1f}" stroke="{colour}" stroke-width="3" stroke-opacity=".45"/>')
        parts.append(f'<circle cx="{middle:.1f}" cy="{y}" r="5" fill="{colour}"/>')
        parts.append(_text(WIDTH - VALUES + 12, y + 4, comparison.unit.text(row.median), colour=colour))
    return parts


def axis_ticks(lowest: float, highest: float) -> list[float]:
    """Round numbers, 1, 2 and 5 times powers of ten, the first not above `lowest`, the last not below `highest`."""
    lowest = max(lowest, 1e-6)
    highest = max(highest, lowest)
    exponents = range(math.floor(math.log10(lowest)) - 1, math.ceil(math.log10(highest)) + 2)
    numbers = [float(f"{digit}e{exponent}") for exponent in exponents for digit in (1, 2, 5)]
    first = max(number for number in numbers if number <= lowest)
    last = min(number for number in numbers if number >= highest and number > first)
    return [number for number in numbers if first <= number <= last]


def _x(value: float, ticks: Sequence[float]) -> float:
    """Where a value is on the axis, from the first tick to the last."""
    place = math.log(max(value, ticks[0]) / ticks[0]) / math.log(ticks[-1] / ticks[0])
    return LABELS + place * (WIDTH - LABELS - VALUES)


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", colour: str = "#1d2429", weight: str = "normal"
) -> str:
    attributes = f'text-anchor="{anchor}" fill="{colour}" font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(text)}</text>'
