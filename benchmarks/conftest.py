# SPDX-License-Identifier: Apache-2.0
"""Machine facts at the top of every benchmark run, ratio tables at its end."""

from __future__ import annotations

import os

import pytest

from benchmarks.machine import facts

RATIOS: pytest.StashKey[list[str]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RATIOS] = []


def pytest_report_header() -> list[str]:
    return facts()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(scope="session")
def ratios(pytestconfig: pytest.Config) -> list[str]:
    """Lines that are printed at the end of the run."""
    return pytestconfig.stash[RATIOS]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[RATIOS]:
        terminalreporter.write_line(line)
