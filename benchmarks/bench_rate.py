# SPDX-License-Identifier: Apache-2.0
"""How many containers a second? Whole commands by 1, 4, 16 and 64 clients at once, and what the kernel alone can do.

What the kernel is capable of is shown by the C floor, which starts and removes containers with nothing in between: in
two processes, and in 16, because on cgroup v1 each waits now and then for a grace period, as everyone does who joins.
A sample is a batch: its length divided by the number of its containers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import contenders, names
from benchmarks.interleave import A_SECOND, Comparison, Replay, Sample, compare, replay
from benchmarks.programs import Command
from benchmarks.setting import Setting, setting

pytestmark = pytest.mark.root

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "7"))
BATCH = int(os.environ.get("BENCH_BATCH", "128"))  # containers a sample; of slow runtimes a part
CLIENTS = (1, 4, 16, 64)
SLOW = {"runc run": 4, names.RUN_LXC: 4, "podman run": 8, "docker run": 8}  # by what their batches are smaller
SLOW_CLIENTS = 16
NAMES = (
    names.FLOOR_TWICE,
    names.FLOOR_VETH_TWICE,
    names.FLOOR_VETH_MANY,
    *(names.with_clients(names.RUN, clients) for clients in CLIENTS),
    names.with_clients(names.RUN_NO_NETWORK, 16),
    *(names.with_clients(names.CRUN, clients) for clients in CLIENTS),
    *(names.with_clients(name, SLOW_CLIENTS) for name in SLOW),
)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory, ratios: list[str]) -> Iterator[Comparison]:
    """Every contender's samples, taken in turn. Its table goes to the end of the output."""
    with setting(tmp_path_factory.mktemp("rate")) as scene:
        found = compare(names.RATE, _contestants(scene), rounds=ROUNDS, unit=A_SECOND)
    ratios += ["", *found.table(names.FLOOR_VETH_TWICE, names.with_clients(names.CRUN, 16))]
    yield found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.benchmark(group="rate", timer=Replay.clock)
def test_rate(benchmark: Any, comparison: Comparison, name: str) -> None:
    replay(benchmark, comparison, name)


def _contestants(scene: Setting) -> dict[str, Sample]:
    peers = scene.peers()
    run = contenders.pyrt_run(scene.pyrt)
    slow = {**peers, names.RUN_LXC: contenders.pyrt_run(scene.pyrt, "--engine", "lxc")}

    def rate(command: Command, clients: int, part: int = 1) -> Sample:
        return scene.clients.each(command, clients=clients, total=max(clients, BATCH // part))

    samples = [
        scene.floor_by_many(2, total=BATCH),
        scene.floor_by_many(2, "-v", scene.bridge, total=BATCH),
        scene.floor_by_many(16, "-v", scene.bridge, total=BATCH),
        *(rate(run, clients) for clients in CLIENTS),
        rate(contenders.pyrt_run(scene.pyrt, "--network", "none"), 16),
        *(rate(peers[names.CRUN], clients) for clients in CLIENTS),
        *(rate(slow[name], SLOW_CLIENTS, part) for name, part in SLOW.items()),
    ]
    return dict(zip(NAMES, samples, strict=True))
