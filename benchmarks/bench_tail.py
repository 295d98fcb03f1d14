# SPDX-License-Identifier: Apache-2.0
"""How much longer than usual does a start sometimes take? Whole commands, back to back, 1,000 times each."""

from __future__ import annotations

import os
from typing import Any

import pytest

from benchmarks import contenders, names
from benchmarks.interleave import Comparison, Failed, Replay, replay
from benchmarks.setting import setting

pytestmark = pytest.mark.root

RUNS = int(os.environ.get("BENCH_TAIL_RUNS", "1000"))
BATCH = 50  # runs of one contender before it is the next one's turn
NAMES = (names.RUN, names.CRUN)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory, ratios: list[str]) -> Comparison:
    """Every contender's samples, batches of them taken in turn. Its table goes to the end of the output."""
    found = Comparison(names.TAIL)
    with setting(tmp_path_factory.mktemp("tail")) as scene:
        commands = {names.RUN: contenders.pyrt_run(scene.pyrt), names.CRUN: scene.crun()}
        for batch in range(RUNS // BATCH + 1):
            for name, command in commands.items():
                if name in found.missing:
                    continue
                try:
                    _, *seconds = scene.clients.run(command, total=BATCH)
                except Failed as failed:
                    found.missing[name] = str(failed)
                    found.samples.pop(name, None)
                    continue
                if batch:  # the first is to warm up
                    found.samples.setdefault(name, []).extend(seconds)
    ratios += ["", *found.table(names.CRUN), *_tails(found)]
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.benchmark(group="tail", timer=Replay.clock)
def test_tail(benchmark: Any, comparison: Comparison, name: str) -> None:
    replay(benchmark, comparison, name)


def _tails(comparison: Comparison) -> list[str]:
    lines = [f"{row.name}: p99 {row.p99:.2f} ms, {row.p99 / row.median:.2f} x p50" for row in comparison.rows()]
    return [f"  {line}" for line in lines]
