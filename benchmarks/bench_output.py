# SPDX-License-Identifier: Apache-2.0
"""How fast does a container's output move? 64 KiB writes, a log, one reader."""

from __future__ import annotations

import os
from typing import Any

import pytest

from benchmarks.carriers import Carriers, Load
from benchmarks.interleave import Comparison, Replay, compare

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "15"))
MEGABYTES = int(os.environ.get("BENCH_MEGABYTES", "512"))
LOAD = Load(MEGABYTES * 1_000_000)
NAMES = ("C floor", "pyrt", "pyrt, 3 readers more that do not read", "tee", "pure Python")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory, ratios: list[str]) -> Comparison:
    """Every contender's samples, taken in turn. Its table goes to the end of the output."""
    carriers = Carriers(tmp_path_factory.mktemp("output"))
    samples = (
        carriers.floor(LOAD),
        carriers.pyrt(LOAD),
        carriers.pyrt(LOAD, stuck=3),
        carriers.tee(LOAD),
        carriers.newcomer(LOAD),
    )
    found = compare(f"{MEGABYTES} MB of output", dict(zip(NAMES, samples, strict=True)), rounds=ROUNDS)
    ratios += ["", *found.table("C floor", "tee")]
    return found


@pytest.mark.benchmark(group="output", timer=Replay.clock)
@pytest.mark.parametrize("name", NAMES)
def test_output(benchmark: Any, comparison: Comparison, name: str) -> None:
    samples = comparison.samples[name]
    benchmark.pedantic(Replay(samples), rounds=len(samples), iterations=1)
