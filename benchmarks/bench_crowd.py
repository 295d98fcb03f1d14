# SPDX-License-Identifier: Apache-2.0
"""Does it matter how many containers live already? Starts and `ps` beside 0, 100 and 1,000 of them, on one bridge.

The numbers are reached one after the other, so each is measured beside the C floor and crun at the same time: what the
kernel itself takes longer for shows there. At the end all containers are removed, and none are measured once more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import contenders, names
from benchmarks.interleave import Comparison, Replay, Sample, compare, replay
from benchmarks.setting import Setting, setting
from tests.harness import Pyrt

pytestmark = pytest.mark.root

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "30"))
LIVE = tuple(sorted(int(count) for count in os.environ.get("BENCH_LIVE", "0,100,1000").split(",")))
AFTER = f"{names.beside(names.RUN, 0)} again"
WHAT = (names.RUN, names.PS, names.FLOOR, names.CRUN)
NAMES = (*(names.beside(name, live) for live in LIVE for name in WHAT), AFTER)
REMOVED_AT_ONCE = 100


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory, ratios: list[str]) -> Iterator[Comparison]:
    """The samples of all numbers of live containers. Its table goes to the end of the output."""
    found = Comparison(names.CROWD)
    with setting(tmp_path_factory.mktemp("crowd")) as scene:
        if scene.pyrt is None:
            pytest.skip(contenders.NOT_BUILT)
        contestants = _contestants(scene)
        for live in LIVE:
            _fill(scene.pyrt, live)
            _add(found, live, contestants)
        _empty(scene.pyrt)
        again = _compare({AFTER: contestants[names.RUN]})
        found.samples |= again.samples
    ratios += ["", *found.table(*(names.beside(name, LIVE[0]) for name in (names.RUN, names.FLOOR)))]
    yield found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.benchmark(group="crowd", timer=Replay.clock)
def test_crowd(benchmark: Any, comparison: Comparison, name: str) -> None:
    replay(benchmark, comparison, name)


def _contestants(scene: Setting) -> dict[str, Sample]:
    whole = scene.clients.whole
    samples = (
        whole(contenders.pyrt_run(scene.pyrt)),
        whole(contenders.pyrt(scene.pyrt, "ps")),
        scene.floor("-v", scene.bridge).to_exec,
        whole(scene.crun()),
    )
    return dict(zip(WHAT, samples, strict=True))


def _fill(pyrt: Pyrt, live: int) -> None:
    """Start containers until there are so many."""
    there = len(pyrt.ok("ps", "-q").lines)
    for _ in range(live - there):
        pyrt.detached(contenders.IMAGE, "/bin/sleep", "99999")


def _empty(pyrt: Pyrt) -> None:
    ids = pyrt.ok("ps", "-q", "--no-trunc").lines
    for first in range(0, len(ids), REMOVED_AT_ONCE):
        pyrt.ok("rm", "-f", *ids[first : first + REMOVED_AT_ONCE], timeout=300)


def _add(found: Comparison, live: int, contestants: dict[str, Sample]) -> None:
    at = _compare(contestants)
    found.samples |= {names.beside(name, live): samples for name, samples in at.samples.items()}
    found.missing |= {names.beside(name, live): reason for name, reason in at.missing.items()}


def _compare(contestants: dict[str, Sample]) -> Comparison:
    return compare("", contestants, rounds=max(1, ROUNDS // names.IN_A_ROW), in_a_row=names.IN_A_ROW)
