# SPDX-License-Identifier: Apache-2.0
"""A goal is met or missed by what was measured, and says nothing of what was not."""

from __future__ import annotations

from benchmarks import names
from benchmarks.goals import GOALS, outcomes, table
from benchmarks.interleave import A_SECOND, KILOBYTES, Comparison


def found(comparison: Comparison) -> dict[str, tuple[float, bool]]:
    return {outcome.goal.measure: (round(outcome.measured, 3), outcome.met) for outcome in outcomes([comparison])}


def test_what_was_not_measured_has_no_outcome() -> None:
    assert outcomes([]) == []
    assert outcomes([Comparison("something else", {"a": [1.0]})]) == []
    assert outcomes([Comparison(names.WHOLE, {names.RUN: [0.004]}, {names.CRUN: "not installed"})]) == []


def test_a_ratio_and_an_absolute_time() -> None:
    in_process = Comparison(names.IN_PROCESS, {names.PYRT_PARKED: [0.0012], names.FLOOR_PARKED: [0.0011]})
    assert found(in_process) == {
        "in process, slot parked: go to exec": (1.2, False),
        "the same ÷ the parked C floor": (1.091, True),
    }


def test_of_a_rate_more_is_better() -> None:
    run = names.with_clients(names.RUN, 16)
    fast = Comparison(names.RATE, {run: [0.010], names.FLOOR_VETH_TWICE: [0.008]}, unit=A_SECOND)
    slow = Comparison(names.RATE, {run: [0.020], names.FLOOR_VETH_TWICE: [0.008]}, unit=A_SECOND)
    assert list(found(fast).values()) == [(0.8, True)]
    assert list(found(slow).values()) == [(0.4, False)]


def test_the_tail_is_of_all_samples() -> None:
    steady = Comparison(names.TAIL, {names.RUN: [0.002] * 100})
    wild = Comparison(names.TAIL, {names.RUN: [0.002] * 90 + [0.05] * 10})
    assert list(found(steady).values()) == [(1.0, True)]
    assert list(found(wild).values()) == [(25.0, False)]


def test_a_crowd_is_compared_with_none() -> None:
    samples = {names.beside(names.RUN, 0): [0.005], names.beside(names.RUN, 1000): [0.006]}
    samples |= {names.beside(names.PS, 1000): [0.020]}
    assert found(Comparison(names.CROWD, samples)) == {
        "whole command beside 1,000 live containers ÷ beside none": (1.2, True),
        "`pyrt ps` with 1,000 live containers": (20, True),
    }


def test_the_table_has_limit_and_measure_in_their_units() -> None:
    memory = Comparison(names.MEMORY, {"pyrt": [41_000.0]}, unit=KILOBYTES)
    lines = table(outcomes([memory]))
    assert lines[2:] == ["| daemon and supervisor, for each live container | ≤ 40 kB | 41.00 kB | missed |"]


def test_goals_have_names_of_their_own() -> None:
    assert len({goal.measure for goal in GOALS}) == len(GOALS)
