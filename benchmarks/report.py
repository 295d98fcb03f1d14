# SPDX-License-Identifier: Apache-2.0
"""What a run of the benchmarks leaves behind: its comparisons as JSON to keep, and as Markdown to read.

    python -m benchmarks.report build/bench/*/report.json    # several runs as one, in Markdown
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import goals, plot
from benchmarks.interleave import Comparison, Row, Unit

MANY = 200  # samples from which on a 99th percentile means something


@dataclass(frozen=True, slots=True)
class Report:
    """`facts` are of the machine, `doubts` what about it may spoil figures, `settings` what the run was asked for."""

    comparisons: Sequence[Comparison]
    facts: Sequence[str] = ()
    doubts: Sequence[str] = ()
    settings: Sequence[str] = ()

    def write(self, directory: Path) -> list[Path]:
        """Write report.json, report.md and report.svg into a directory, made if it is not there."""
        directory.mkdir(parents=True, exist_ok=True)
        texts = {"json": as_json(self), "md": markdown(self), "svg": plot.svg(self.comparisons)}
        paths = [directory / f"report.{suffix}" for suffix in texts]
        for path, text in zip(paths, texts.values(), strict=True):
            path.write_text(text)
        return paths


def as_json(report: Report) -> str:
    """Everything, every sample included: `from_json` makes the same report of it."""
    return json.dumps(
        {
            "facts": list(report.facts),
            "doubts": list(report.doubts),
            "settings": list(report.settings),
            "comparisons": [
                {
                    "title": comparison.title,
                    "unit": [comparison.unit.name, comparison.unit.scale, comparison.unit.rate],
                    "references": list(comparison.references),
                    "missing": comparison.missing,
                    "samples": comparison.samples,
                }
                for comparison in report.comparisons
            ],
        },
        indent=1,
    )


def from_json(text: str) -> Report:
    data: dict[str, Any] = json.loads(text)
    comparisons = [
        Comparison(
            entry["title"], entry["samples"], entry["missing"], Unit(*entry["unit"]), tuple(entry["references"])
        )
        for entry in data["comparisons"]
    ]
    return Report(comparisons, data["facts"], data["doubts"], data["settings"])


def merged(reports: Sequence[Report]) -> Report:
    """Several runs as one; of a comparison that more than one has made, the last."""
    comparisons = {comparison.title: comparison for report in reports for comparison in report.comparisons}
    lines = [[line for report in reports for line in getattr(report, kind)] for kind in ("facts", "doubts", "settings")]
    return Report(list(comparisons.values()), *(list(dict.fromkeys(kind)) for kind in lines))


def markdown(report: Report) -> str:
    """The machine, the goals, and a table for each comparison."""
    lines = ["# What the benchmarks found", "", *(f"    {line}" for line in [*report.facts, *report.settings]), ""]
    lines += [f"**Doubtful:** {doubt}" for doubt in report.doubts] + ([""] if report.doubts else [])
    if outcomes := goals.outcomes(report.comparisons):
        lines += ["## Goals", "", *goals.table(outcomes), ""]
    for comparison in report.comparisons:
        lines += [f"## {comparison.title}", "", *table(comparison), ""]
    return "\n".join(lines)


def table(comparison: Comparison) -> list[str]:
    """A comparison as lines of Markdown; the 99th percentile where there are samples enough for one."""
    many = any(len(samples) >= MANY for samples in comparison.samples.values())
    columns = ["", "median", "p10", "p90", *(["p99", "p99 ÷ p50"] if many else [])]
    columns += [f"÷ {name}" for name in comparison.present()]
    rows = [columns, ["---"] * len(columns)]
    rows += [_cells(comparison, row, many) for row in comparison.rows()]
    rows += [
        [name, f"missing: {reason}", *[""] * (len(columns) - 2)] for name, reason in sorted(comparison.missing.items())
    ]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]


def _cells(comparison: Comparison, row: Row, many: bool) -> list[str]:
    unit = comparison.unit
    cells = [row.name, *(unit.text(value) for value in (row.median, row.p10, row.p90))]
    if many and len(comparison.samples[row.name]) >= MANY:
        cells += [unit.text(row.p99), f"{row.p99 / row.median:.2f}"]
    elif many:
        cells += ["", ""]
    return cells + [f"{ratio:.2f}" for ratio in row.ratios]


if __name__ == "__main__":
    print(markdown(merged([from_json(Path(path).read_text()) for path in sys.argv[1:]])))
