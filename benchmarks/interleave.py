# SPDX-License-Identifier: Apache-2.0
"""Compares programs fairly on a busy machine: one run of each in turn, round after round, then medians and ratios.

pytest-benchmark runs one benchmark after the other, so a burst of load hits one of them only. Here the samples are
taken interleaved first; `Replay` then feeds them to pytest-benchmark, whose tables, JSON and comparisons work as ever.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Sample = Callable[[], float]  # does the work once and returns the seconds it took


class Failed(Exception):
    """A contender that cannot run here; the text says why."""


@dataclass(slots=True)
class Comparison:
    """Samples in seconds by name, and why a contender is missing."""

    title: str
    samples: dict[str, list[float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def table(self, *references: str) -> list[str]:
        """A line for each contender: median, the middle 80 %, ratio of medians to each reference."""
        present = [name for name in references if name in self.samples]
        width = max(map(len, [*self.samples, *self.missing, self.title]))
        header = f"{self.title:{width}}  {'median':>9} {'p10':>9} {'p90':>9}"
        lines = [header + "".join(f"  {'/ ' + name:>16}" for name in present)]
        for name, values in sorted(self.samples.items(), key=lambda item: statistics.median(item[1])):
            tenths = statistics.quantiles(values, n=10, method="inclusive") if len(values) > 1 else values * 9
            median = statistics.median(values)
            ratios = "".join(f"  {median / statistics.median(self.samples[ref]):>15.2f}x" for ref in present)
            lines.append(f"{name:{width}}  {_ms(median)} {_ms(tenths[0])} {_ms(tenths[-1])}{ratios}")
        lines += [f"{name:{width}}  missing: {reason}" for name, reason in self.missing.items()]
        return lines


def compare(title: str, contenders: Mapping[str, Sample], *, rounds: int, rest_seconds: float = 0) -> Comparison:
    """Run every contender once a round, after one round that is not counted. A contender that fails is missing."""
    comparison = Comparison(title)
    for number in range(rounds + 1):
        for name, sample in contenders.items():
            if name in comparison.missing:
                continue
            time.sleep(rest_seconds)
            try:
                seconds = sample()
            except Failed as failed:
                comparison.missing[name] = str(failed)
                comparison.samples.pop(name, None)
                continue
            if number:
                comparison.samples.setdefault(name, []).append(seconds)
    return comparison


class Replay:
    """Samples as a function and a clock for `benchmark.pedantic`: each call takes as long as its sample took."""

    now = 0.0

    def __init__(self, samples: list[float]) -> None:
        self.rest = iter(samples)

    def __call__(self) -> None:
        Replay.now += next(self.rest)

    @staticmethod
    def clock() -> float:
        return Replay.now


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:6.2f} ms"
