# SPDX-License-Identifier: Apache-2.0
"""How long is it from the call to the program's first instruction, without any command around it?

pyrt's engine in this process against the C floor in one as warm: with nothing prepared, and with a parked slot, where
only what depends on the image remains. Back to back, and after a rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from benchmarks import engine_start, names
from benchmarks.interleave import Comparison, Replay, Sample, compare, replay
from benchmarks.setting import Setting, setting

pytestmark = pytest.mark.root

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "50"))
RESTS = {names.IN_PROCESS: 0.0, names.IN_PROCESS_COLD: names.REST_SECONDS}
NAMES = (
    names.FLOOR,
    names.PYRT,
    names.FLOOR_VETH,
    names.PYRT_VETH,
    names.FLOOR_PARKED,
    names.PYRT_PARKED,
    names.FLOOR_PARKED_VETH,
    names.PYRT_PARKED_VETH,
    names.FLOOR_BARE,
    names.CORE,
    names.FLOOR_PARKED_BARE,
    names.CORE_PARKED,
    names.PLAIN_PYTHON,
)


@pytest.fixture(scope="module")
def contestants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Sample]]:
    """A way to start each of them, on the same root file system."""
    with setting(tmp_path_factory.mktemp("in_process")) as scene, ExitStack() as stack:
        yield _contestants(scene, stack)


@pytest.fixture(scope="module", params=RESTS)
def comparison(request: pytest.FixtureRequest, contestants: dict[str, Sample], ratios: list[str]) -> Comparison:
    """Every contender's samples, taken in turn. Its table goes to the end of the output."""
    rest_seconds = RESTS[request.param]
    in_a_row = 1 if rest_seconds else names.IN_A_ROW
    found = compare(
        request.param, contestants, rounds=max(1, ROUNDS // in_a_row), rest_seconds=rest_seconds, in_a_row=in_a_row
    )
    ratios += ["", *found.table(names.FLOOR, names.FLOOR_PARKED)]
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.benchmark(group="in process", timer=Replay.clock)
def test_in_process(benchmark: Any, comparison: Comparison, name: str) -> None:
    replay(benchmark, comparison, name)


def _contestants(scene: Setting, stack: ExitStack) -> dict[str, Sample]:
    veth = ("-v", scene.bridge)

    def engine(bridge: str = "", *, parked: bool = False) -> Sample:
        return stack.enter_context(
            engine_start.engine(scene.rootfs, scene.scratch(), scene.seccomp, bridge=bridge, parked=parked)
        )

    def core(*, parked: bool = False) -> Sample:
        return stack.enter_context(engine_start.core(scene.rootfs, scene.scratch(), scene.seccomp, parked=parked))

    samples = (
        scene.floor().to_exec,
        engine(),
        scene.floor(*veth).to_exec,
        engine(scene.bridge),
        scene.floor("-p").to_exec,
        engine(parked=True),
        scene.floor("-p", *veth).to_exec,
        engine(scene.bridge, parked=True),
        scene.floor("-C").to_exec,
        core(),
        scene.floor("-C", "-p").to_exec,
        core(parked=True),
        scene.plain_python().to_exec,
    )
    return dict(zip(NAMES, samples, strict=True))
