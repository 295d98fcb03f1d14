# SPDX-License-Identifier: Apache-2.0
"""Limits that bite, and an out-of-memory kill that is shown as what it was."""

from __future__ import annotations

import pytest

from tests.harness import Pyrt

pytestmark = [pytest.mark.root, pytest.mark.both_engines]


def test_within_the_memory_limit(pyrt: Pyrt) -> None:
    assert pyrt.run("-m", "64m", "bb", "probe", "memory", "16").text == "touched 16"


def test_beyond_the_memory_limit(pyrt: Pyrt) -> None:
    result = pyrt("run", "--name", "hog", "-m", "32m", "--memory-swap", "32m", "bb", "probe", "memory", "128")
    assert result.status == 137
    row = next(row for row in pyrt.ok("ps", "-a").lines if "hog" in row or "probe memory" in row)
    assert "memory" in row.replace("probe memory", "").lower() or "oom" in row.lower()
    pyrt.ok("rm", "hog")


def test_a_child_that_runs_out_of_memory_is_not_the_containers_end(pyrt: Pyrt) -> None:
    result = pyrt.run("-m", "32m", "--memory-swap", "32m", "bb", "sh", "-c", "probe memory 128; echo status $?")
    assert result.status in (0, 137)
    if result.status == 0:
        assert result.text == "status 137"


@pytest.mark.parametrize("value", ["33554432", "32m", "32M", "32768k", "32MB"])
def test_spellings_of_a_size(pyrt: Pyrt, value: str) -> None:
    assert pyrt.run("-m", value, "bb", "true").status == 0


def test_pids(pyrt: Pyrt) -> None:
    lines = pyrt.run("--pids-limit", "20", "bb", "probe", "forks", "100").lines
    assert lines[0] == "fork EAGAIN"
    assert int(lines[1].split()[1]) <= 19


def test_cpus(pyrt: Pyrt) -> None:
    """Half a processor for a second of wall time; generous, because the machine may be busy."""
    used = int(pyrt.run("--cpus", "0.25", "bb", "probe", "spin", "2").text.split()[1])
    assert used <= 900


@pytest.mark.parametrize(
    "flags",
    [
        ["-m", "x"],
        ["-m", "-5"],
        ["-m", "1k"],
        ["--cpus", "0"],
        ["--cpus", "-1"],
        ["--cpus", "many"],
        ["--pids-limit", "x"],
        ["--memory-swap", "x"],
    ],
    ids=" ".join,
)
def test_a_limit_that_is_none(pyrt: Pyrt, flags: list[str]) -> None:
    result = pyrt.run(*flags, "bb", "true")
    assert result.status == 125 and result.error


def test_a_container_sees_no_other_cgroup(pyrt: Pyrt) -> None:
    for line in pyrt.run("bb", "cat", "/proc/self/cgroup").lines:
        assert line.endswith(":/"), line
