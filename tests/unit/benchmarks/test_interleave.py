# SPDX-License-Identifier: Apache-2.0
"""Contenders take turns, one that fails is missing, and a table says how they compare."""

from __future__ import annotations

import pytest

from benchmarks import interleave
from benchmarks.interleave import A_SECOND, KILOBYTES, MILLISECONDS, Comparison, Failed, Replay, absent, compare


@pytest.fixture(autouse=True)
def nothing_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleave, "made", [])


def test_contenders_take_turns_and_warm_up_rounds_do_not_count() -> None:
    turns: list[str] = []

    def sample(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    found = compare("race", {"a": lambda: sample("a"), "b": lambda: sample("b")}, rounds=2, warm_up=1)
    assert turns == ["a", "b"] * 3
    assert found.samples == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_of_several_in_a_row_the_first_does_not_count() -> None:
    turns: list[str] = []

    def sample(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    found = compare("race", {"a": lambda: sample("a"), "b": lambda: sample("b")}, rounds=2, warm_up=0, in_a_row=2)
    assert turns == ["a", "a", "a", "b", "b", "b"] * 2
    assert found.samples == {"a": [2.0, 3.0, 8.0, 9.0], "b": [5.0, 6.0, 11.0, 12.0]}


def test_one_that_fails_is_missing_with_its_reason_and_the_others_go_on() -> None:
    rounds = iter([1.0, 1.0])

    def breaks() -> float:
        try:
            return next(rounds)
        except StopIteration:
            raise Failed("out of order") from None

    found = compare("race", {"breaks": breaks, "never": absent("not installed"), "runs": lambda: 2.0}, rounds=3)
    assert found.samples == {"runs": [2.0] * 3}
    assert found.missing == {"never": "not installed", "breaks": "out of order"}


def test_the_best_comes_first() -> None:
    samples = {"slow": [0.002, 0.004, 0.003], "fast": [0.001] * 3}
    assert [row.name for row in Comparison("latency", samples).rows()] == ["fast", "slow"]
    rates = Comparison("rate", samples, unit=A_SECOND).rows()
    assert [(row.name, round(row.median)) for row in rates] == [("fast", 1000), ("slow", 333)]


def test_ratios_are_of_medians_in_the_unit() -> None:
    samples = {"half": [0.001] * 3, "whole": [0.002] * 3}
    latency = Comparison("latency", samples, references=("whole", "absent"))
    rate = Comparison("rate", samples, references=("whole",), unit=A_SECOND)
    assert [(row.name, row.ratios) for row in latency.rows()] == [("half", (0.5,)), ("whole", (1.0,))]
    assert [(row.name, row.ratios) for row in rate.rows()] == [("half", (2.0,)), ("whole", (1.0,))]


def test_percentiles() -> None:
    row = Comparison("latency", {"a": [number / 1e3 for number in range(101)]}).rows()[0]
    assert (row.p10, row.median, row.p90, row.p99) == pytest.approx((10, 50, 90, 99))


def test_one_sample_is_all_its_percentiles() -> None:
    row = Comparison("memory", {"a": [3000.0]}, unit=KILOBYTES).rows()[0]
    assert (row.p10, row.median, row.p90, row.p99) == (3, 3, 3, 3)


def test_what_has_been_made_a_table_of_is_reported_once() -> None:
    found = Comparison("latency", {"a": [0.001], "b": [0.003]}, {"c": "not installed"})
    assert interleave.made == []
    found.table("a")
    lines = found.table("b")
    assert interleave.made == [found]
    assert found.references == ("b",)
    assert lines[0].split() == ["latency", "median", "p10", "p90", "/", "b"]
    assert lines[1].split() == ["a", "1.00", "ms", "1.00", "ms", "1.00", "ms", "0.33x"]
    assert lines[3].split(maxsplit=1) == ["c", "missing: not installed"]


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [(MILLISECONDS, 1.234, "1.23 ms"), (MILLISECONDS, 45.67, "45.7 ms"), (KILOBYTES, 4680.6, "4,681 kB"),
     (A_SECOND, 123.4, "123/s")],
)  # fmt: skip
def test_three_digits(unit: interleave.Unit, value: float, text: str) -> None:
    assert unit.text(value) == text


def test_a_replay_takes_as_long_as_its_samples_did() -> None:
    replay = Replay([0.5, 0.25])
    begin = Replay.clock()
    replay()
    middle = Replay.clock()
    replay()
    assert (middle - begin, Replay.clock() - middle) == (0.5, 0.25)
