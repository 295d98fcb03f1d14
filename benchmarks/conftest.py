# SPDX-License-Identifier: Apache-2.0
"""The machine at the top of every benchmark run, tables at its end; and with BENCH_RUN a report in that directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks import goals, interleave
from benchmarks.machine import doubts, facts
from benchmarks.report import Report

RATIOS: pytest.StashKey[list[str]] = pytest.StashKey()
FOUND: pytest.StashKey[tuple[list[str], list[str]]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RATIOS] = []
    config.stash[FOUND] = (facts(), doubts())  # before the benchmarks are a load themselves


def pytest_report_header(config: pytest.Config) -> list[str]:
    found, doubtful = config.stash[FOUND]
    return [*found, *(f"DOUBTFUL    {doubt}" for doubt in doubtful)]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(scope="session")
def ratios(pytestconfig: pytest.Config) -> list[str]:
    """Lines that are printed at the end of the run. The comparisons they are tables of go into the report."""
    return pytestconfig.stash[RATIOS]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[RATIOS]:
        terminalreporter.write_line(line)
    outcomes = goals.outcomes(interleave.made)
    for line in ["", *goals.table(outcomes)] if outcomes else []:
        terminalreporter.write_line(line)
    directory = os.environ.get("BENCH_RUN")
    if directory and interleave.made:
        for path in _report(config).write(Path(directory)):
            terminalreporter.write_line(f"written: {path}")


def _report(config: pytest.Config) -> Report:
    found, doubtful = config.stash[FOUND]
    asked = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("BENCH_")]
    settings = [f"run         {' '.join(config.invocation_params.args)}", f"settings    {' '.join(asked)}"]
    return Report(interleave.made, found, doubtful, settings)
