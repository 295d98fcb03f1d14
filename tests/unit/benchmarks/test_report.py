# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind: Markdown that is a table, JSON that is the whole run."""

from __future__ import annotations

from pathlib import Path

from benchmarks import names
from benchmarks.interleave import A_SECOND, Comparison
from benchmarks.report import Report, as_json, from_json, markdown, merged, table


def latency() -> Comparison:
    return Comparison(
        "start",
        {"pyrt": [0.001, 0.002, 0.003], "crun": [0.010, 0.020, 0.030]},
        {"runc": "runc is not installed"},
        references=("crun",),
    )


def test_a_comparison_is_a_table() -> None:
    assert table(latency()) == [
        "|  | median | p10 | p90 | ÷ crun |",
        "| --- | --- | --- | --- | --- |",
        "| pyrt | 2.00 ms | 1.20 ms | 2.80 ms | 0.10 |",
        "| crun | 20.0 ms | 12.0 ms | 28.0 ms | 1.00 |",
        "| runc | missing: runc is not installed |  |  |  |",
    ]


def test_enough_samples_have_a_tail() -> None:
    comparison = Comparison("tail", {"many": [0.001] * 990 + [0.005] * 10, "few": [0.004]})
    lines = table(comparison)
    assert lines[0] == "|  | median | p10 | p90 | p99 | p99 ÷ p50 |"
    assert lines[2].startswith("| many | 1.00 ms | 1.00 ms | 1.00 ms | 1.0")
    assert lines[3] == "| few | 4.00 ms | 4.00 ms | 4.00 ms |  |  |"


def test_every_row_has_as_many_cells_as_the_head() -> None:
    odd = Comparison("odd | title", {"a | b": [0.001]}, {"c": "no | way"}, references=("a | b",))
    assert {line.replace("\\|", "").count("|") for line in table(odd)} == {6}


def test_a_report_says_what_the_machine_was_like_and_what_is_doubtful() -> None:
    text = markdown(Report([latency()], ["kernel 6.18"], ["the load is 7"], ["run -q"]))
    assert text.index("kernel 6.18") < text.index("run -q") < text.index("the load is 7") < text.index("## start")
    assert "## Goals" not in text


def test_goals_that_were_measured_come_first() -> None:
    whole = Comparison(names.WHOLE, {names.RUN: [0.004], names.CRUN: [0.010]})
    text = markdown(Report([whole]))
    assert "| whole command ÷ `crun run` | ≤ 0.5 | 0.40 | met |" in text
    assert text.index("## Goals") < text.index(f"## {names.WHOLE}")


def test_json_is_the_whole_report() -> None:
    rate = Comparison("rate", {"pyrt": [0.01]}, unit=A_SECOND)
    report = Report([latency(), rate], ["kernel"], ["doubt"], ["BENCH_ROUNDS=3"])
    again = from_json(as_json(report))
    assert markdown(again) == markdown(report)
    assert [comparison.samples for comparison in again.comparisons] == [latency().samples, rate.samples]


def test_a_run_is_written_down(tmp_path: Path) -> None:
    paths = Report([latency()]).write(tmp_path)
    assert [path.name for path in paths] == ["report.json", "report.md", "report.svg"]
    assert (tmp_path / "report.svg").read_text().startswith("<svg ")


def test_several_runs_are_one_report_and_the_last_counts() -> None:
    first = Report([Comparison("start", {"pyrt": [0.009]}), latency()], ["kernel", "load 1"], [], ["run a"])
    again = [Comparison("start", {"pyrt": [0.001]}), Comparison("rate")]
    second = Report(again, ["kernel", "load 2"], ["busy"], ["run b"])
    both = merged([first, second])
    assert [comparison.title for comparison in both.comparisons] == ["start", "rate"]
    assert both.comparisons[0].samples == {"pyrt": [0.001]}
    assert (both.facts, both.doubts, both.settings) == (["kernel", "load 1", "load 2"], ["busy"], ["run a", "run b"])
