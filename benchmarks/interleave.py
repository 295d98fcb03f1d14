# SPDX-License-Identifier: Apache-2.0
"""Compares programs fairly on a busy machine: each in its turn, round after round, then medians and ratios.

pytest-benchmark runs one benchmark after the other, so a burst of load hits one of them only. Here the samples are
taken interleaved first; `Replay` then feeds them to pytest-benchmark, whose tables, JSON and comparisons work as ever.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

Sample = Callable[[], float]  # does the work once and returns the seconds it took


class Failed(Exception):
    """A contender that cannot run here; the text says why."""


@dataclass(frozen=True, slots=True)
class Unit:
    """How samples are shown: times `scale`, or with `rate` their inverse, of which more is better."""

    name: str
    scale: float = 1
    rate: bool = False

    def shown(self, sample: float) -> float:
        return self.scale / sample if self.rate else self.scale * sample

    def text(self, value: float) -> str:
        """A shown value with the unit; three digits are all that a benchmark knows."""
        digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
        return f"{value:,.{digits}f}{'' if self.rate else ' '}{self.name}"


MILLISECONDS = Unit("ms", 1e3)
A_SECOND = Unit("/s", rate=True)
KILOBYTES = Unit("kB", 1e-3)


@dataclass(frozen=True, slots=True)
class Row:
    """A contender in figures, in the unit of its comparison; `ratios` of medians, one for each reference."""

    name: str
    median: float
    p10: float
    p90: float
    p99: float
    ratios: tuple[float, ...] = ()


@dataclass(slots=True, eq=False)
class Comparison:
    """Samples by name, and why a contender is missing. They are seconds, unless `unit` makes something else of them."""

    title: str
    samples: dict[str, list[float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    unit: Unit = MILLISECONDS
    references: tuple[str, ...] = ()

    def rows(self) -> list[Row]:
        """The contenders, the best first."""
        rows = [self._row(name) for name in self.samples]
        return sorted(rows, key=lambda row: row.median, reverse=self.unit.rate)

    def present(self) -> list[str]:
        """The references that there are samples of: the columns of ratios."""
        return [name for name in self.references if name in self.samples]

    def median(self, name: str) -> float | None:
        """In the unit; None for one that is missing."""
        return self._row(name).median if name in self.samples else None

    def table(self, *references: str) -> list[str]:
        """A line for each contender: median, the middle 80 %, ratio of medians to each reference.

        What has been made a table of is also in the report of the run, see `made`.
        """
        self.references = references
        if self not in made:
            made.append(self)
        width = max(map(len, [*self.samples, *self.missing, self.title]))
        header = f"{self.title:{width}}  {'median':>9} {'p10':>9} {'p90':>9}"
        lines = [header + "".join(f"  {'/ ' + name:>16}" for name in self.present())]
        for row in self.rows():
            figures = " ".join(f"{value:6.2f} {self.unit.name}" for value in (row.median, row.p10, row.p90))
            lines.append(f"{row.name:{width}}  {figures}" + "".join(f"  {ratio:>15.2f}x" for ratio in row.ratios))
        lines += [f"{name:{width}}  missing: {reason}" for name, reason in self.missing.items()]
        return lines

    def _row(self, name: str) -> Row:
        values = [self.unit.shown(sample) for sample in self.samples[name]]
        percent = statistics.quantiles(values, n=100, method="inclusive") if len(values) > 1 else values * 99
        median = statistics.median(values)
        others = [statistics.median(map(self.unit.shown, self.samples[other])) for other in self.present()]
        ratios = tuple(median / other if other else float("nan") for other in others)
        return Row(name, median, percent[9], percent[89], percent[98], ratios)


made: list[Comparison] = []
"""Every comparison that a table was made of, in that order: what this process has to report."""


def compare(
    title: str,
    contenders: Mapping[str, Sample],
    *,
    rounds: int,
    rest_seconds: float = 0,
    unit: Unit = MILLISECONDS,
    warm_up: int = 1,
    in_a_row: int = 1,
) -> Comparison:
    """Give every contender a turn a round, after `warm_up` rounds that are not counted. One that fails is missing.

    A turn is one sample, or `in_a_row`, with one more in front that is not counted: what a contender leaves to the
    kernel to clear away, and what a daemon does afterwards, is in the way of the next one's first sample.
    """
    comparison = Comparison(title, unit=unit)
    uncounted = 1 if in_a_row > 1 else 0
    for number in range(rounds + warm_up):
        for name, sample in contenders.items():
            if name in comparison.missing:
                continue
            try:
                seconds = [_rested(sample, rest_seconds) for _ in range(uncounted + in_a_row)]
            except Failed as failed:
                comparison.missing[name] = str(failed)
                comparison.samples.pop(name, None)
                continue
            if number >= warm_up:
                comparison.samples.setdefault(name, []).extend(seconds[uncounted:])
    return comparison


def _rested(sample: Sample, rest_seconds: float) -> float:
    time.sleep(rest_seconds)
    return sample()


class Replay:
    """Samples as a function and a clock for `benchmark.pedantic`: each call takes as long as its sample took."""

    now = 0.0

    def __init__(self, samples: Sequence[float]) -> None:
        self.rest = iter(samples)

    def __call__(self) -> None:
        Replay.now += next(self.rest)

    @staticmethod
    def clock() -> float:
        return Replay.now


def replay(benchmark: Any, comparison: Comparison, name: str) -> None:
    """Feed a contender's samples to pytest-benchmark; skips the test of one that is missing."""
    if name in comparison.missing:
        pytest.skip(f"{name}: {comparison.missing[name]}")
    samples = comparison.samples[name]
    benchmark.pedantic(Replay(samples), rounds=len(samples), iterations=1)


def absent(reason: str) -> Sample:
    """A contender that cannot run here."""

    def sample() -> float:
        raise Failed(reason)

    return sample
