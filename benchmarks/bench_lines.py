# SPDX-License-Identifier: Apache-2.0
"""How fast do single lines move? 100 bytes a write, as an unbuffered writer makes them, a log, one reader."""

from __future__ import annotations

import os
from typing import Any

import pytest

from benchmarks.carriers import Carriers, Load
from benchmarks.interleave import Comparison, Replay, compare

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "15"))
MEGABYTES = int(os.environ.get("BENCH_LINES_MEGABYTES", "40"))
LOAD = Load(MEGABYTES * 1_000_000, step_bytes=100)
NAMES = ("C floor", "pyrt", "tee", "pure Python")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory, ratios: list[str]) -> Comparison:
    """Every contender's samples, taken in turn. Its table goes to the end of the output."""
    carriers = Carriers(tmp_path_factory.mktemp("lines"))
    samples = (
        carriers.floor(LOAD),
        carriers.pyrt(LOAD),
        carriers.tee(LOAD),
        carriers.newcomer(LOAD),
    )
    found = compare(f"{MEGABYTES} MB in lines of 100 bytes", dict(zip(NAMES, samples, strict=True)), rounds=ROUNDS)
    ratios += ["", *found.table("C floor", "tee")]
    return found


@pytest.mark.benchmark(group="lines", timer=Replay.clock)
@pytest.mark.parametrize("name", NAMES)
def test_lines(benchmark: Any, comparison: Comparison, name: str) -> None:
    samples = comparison.samples[name]
    benchmark.pedantic(Replay(samples), rounds=len(samples), iterations=1)
