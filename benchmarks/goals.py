# SPDX-License-Identifier: Apache-2.0
"""What pyrt's speed is meant to be, and whether a run has shown it: ratios of medians taken in one run, mostly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import names
from benchmarks.interleave import Comparison

Place = tuple[str, str]  # a comparison's title, a contender's name


@dataclass(frozen=True, slots=True)
class Goal:
    """A median, over another if there is one, or with `tail` over itself as the 99th percentile, against a limit."""

    measure: str
    figure: Place
    limit: float
    over: Place | None = None
    unit: str = ""
    at_least: bool = False
    tail: bool = False

    @property
    def wanted(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}{' ' if self.unit else ''}{self.unit}"


@dataclass(frozen=True, slots=True)
class Outcome:
    goal: Goal
    measured: float

    @property
    def met(self) -> bool:
        return self.measured >= self.goal.limit if self.goal.at_least else self.measured <= self.goal.limit


PARKED = (names.IN_PROCESS, names.PYRT_PARKED)
WHOLE = (names.WHOLE, names.RUN)
RATE = (names.RATE, names.with_clients(names.RUN, 16))
NONE, CROWD = 0, 1000

GOALS = (
    Goal("in process, slot parked: go to exec", PARKED, 1.0, unit="ms"),
    Goal("the same ÷ the parked C floor", PARKED, 1.15, over=(names.IN_PROCESS, names.FLOOR_PARKED)),
    Goal(
        "in process, nothing parked ÷ the C floor",
        (names.IN_PROCESS, names.PYRT),
        1.2,
        over=(names.IN_PROCESS, names.FLOOR),
    ),
    Goal("whole command ÷ `crun run`", WHOLE, 0.5, over=(names.WHOLE, names.CRUN)),
    Goal("whole command ÷ `docker run --rm`", WHOLE, 0.02, over=(names.WHOLE, names.DOCKER)),
    Goal(
        "whole command ÷ `crun run`, 150 ms apart",
        (names.WHOLE_COLD, names.RUN),
        0.5,
        over=(names.WHOLE_COLD, names.CRUN),
    ),
    Goal(
        "containers a second, 16 clients ÷ the C floor with a veth by 2 processes",
        RATE,
        0.7,
        over=(names.RATE, names.FLOOR_VETH_TWICE),
        at_least=True,
    ),
    Goal(
        "whole command beside 1,000 live containers ÷ beside none",
        (names.CROWD, names.beside(names.RUN, CROWD)),
        1.3,
        over=(names.CROWD, names.beside(names.RUN, NONE)),
    ),
    Goal("`pyrt ps` with 1,000 live containers", (names.CROWD, names.beside(names.PS, CROWD)), 30, unit="ms"),
    Goal("whole command, p99 ÷ p50 of 1,000", (names.TAIL, names.RUN), 4, tail=True),
    Goal("daemon and supervisor, for each live container", (names.MEMORY, "pyrt"), 40, unit="kB"),
)


def outcomes(comparisons: Sequence[Comparison]) -> list[Outcome]:
    """What this run has to say about the goals; nothing of those it has not measured."""
    by_title = {comparison.title: comparison for comparison in comparisons}
    found = []
    for goal in GOALS:
        measured = _measured(goal, by_title)
        if measured is not None:
            found.append(Outcome(goal, measured))
    return found


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Lines of Markdown."""
    lines = ["| measure | goal | measured | |", "| --- | --- | --- | --- |"]
    for outcome in outcomes:
        goal = outcome.goal
        digits = 3 if outcome.measured < 0.1 else 2
        measured = f"{outcome.measured:.{digits}f}{' ' if goal.unit else ''}{goal.unit}"
        lines.append(f"| {goal.measure} | {goal.wanted} | {measured} | {'met' if outcome.met else 'missed'} |")
    return lines


def _measured(goal: Goal, by_title: dict[str, Comparison]) -> float | None:
    title, name = goal.figure
    comparison = by_title.get(title)
    if comparison is None or (median := comparison.median(name)) is None:
        return None
    if goal.tail:
        row = next(row for row in comparison.rows() if row.name == name)
        return row.p99 / row.median
    if goal.over is None:
        return median
    other = by_title.get(goal.over[0])
    reference = other.median(goal.over[1]) if other else None
    return median / reference if reference else None
