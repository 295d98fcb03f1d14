# SPDX-License-Identifier: Apache-2.0
"""How long does a whole `run` of /bin/true take, from the command's start to its end? Back to back, and after a rest.

In a loop a kernel answers from warm caches and finds its locks taken; people start containers one by one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import contenders, names, programs
from benchmarks.interleave import Comparison, Replay, Sample, compare, replay
from benchmarks.setting import Setting, setting

pytestmark = pytest.mark.root

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "30"))
RESTS = {names.WHOLE: 0.0, names.WHOLE_COLD: names.REST_SECONDS}
PEERS = ("lxc-start", "crun run", "runc run", "bwrap", "unshare", "systemd-nspawn", "podman run", "docker run")
NAMES = (
    "subprocess.Popen, no container",
    names.FLOOR_WHOLE,
    names.RUN,
    names.RUN_NO_NETWORK,
    names.RUN_LXC,
    names.PLAIN_PYTHON,
    *PEERS,
)


@pytest.fixture(scope="module")
def contestants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Sample]]:
    """A way to start each of them, on the same root file system."""
    with setting(tmp_path_factory.mktemp("start")) as scene:
        yield _contestants(scene)


@pytest.fixture(scope="module", params=RESTS)
def comparison(request: pytest.FixtureRequest, contestants: dict[str, Sample], ratios: list[str]) -> Comparison:
    """Every contender's samples, taken in turn. Its table goes to the end of the output."""
    rest_seconds = RESTS[request.param]
    in_a_row = 1 if rest_seconds else names.IN_A_ROW
    found = compare(
        request.param, contestants, rounds=max(1, ROUNDS // in_a_row), rest_seconds=rest_seconds, in_a_row=in_a_row
    )
    ratios += ["", *found.table(names.CRUN, names.DOCKER)]
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.benchmark(group="start", timer=Replay.clock)
def test_start(benchmark: Any, comparison: Comparison, name: str) -> None:
    replay(benchmark, comparison, name)


def _contestants(scene: Setting) -> dict[str, Sample]:
    peers = scene.peers()
    whole = scene.clients.whole
    samples = [
        programs.popen(scene.rootfs),
        scene.floor("-v", scene.bridge).whole,
        whole(contenders.pyrt_run(scene.pyrt)),
        whole(contenders.pyrt_run(scene.pyrt, "--network", "none")),
        whole(contenders.pyrt_run(scene.pyrt, "--engine", "lxc")),
        scene.plain_python().whole,
        *(whole(peers[name]) for name in PEERS),
    ]
    return dict(zip(NAMES, samples, strict=True))
