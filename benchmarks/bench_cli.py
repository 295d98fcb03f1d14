# SPDX-License-Identifier: Apache-2.0
"""How long does a command take that only shows something? Whole commands, beside docker's, and with many containers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import contenders, host, programs
from benchmarks.host import Dockerd
from benchmarks.interleave import Comparison, Replay, compare, replay
from benchmarks.programs import Command
from benchmarks.setting import instance
from tests.harness import Pyrt
from tests.rootfs import busybox_tar

pytestmark = pytest.mark.root

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "30"))
MANY = 500
NAMES = (
    "true",
    "pyrt version",
    "pyrt ps",
    "pyrt inspect",
    f"pyrt ps -a, {MANY} containers",
    f"pyrt ps -a --format, {MANY} containers",
    f"pyrt inspect, {MANY} containers",
    "docker version",
    "docker ps",
)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory, ratios: list[str]) -> Iterator[Comparison]:
    """Every contender's samples, taken in turn. Its tables go to the end of the output."""
    directory, tar = tmp_path_factory.mktemp("cli"), busybox_tar()
    clients = programs.build_clients(directory)
    with (
        host.leftovers_removed(),
        instance(tar) as few,
        instance(tar) as many,
        host.dockerd(directory) as daemon,
    ):
        if few is None or many is None:
            pytest.skip(contenders.NOT_BUILT)
        for number in range(MANY):
            many.ok("create", "--name", f"c{number}", contenders.IMAGE, *contenders.SLEEP)
        commands = _commands(few, many, daemon)
        samples = {name: clients.whole(command) for name, command in zip(NAMES, commands, strict=True)}
        found = compare("commands that show", samples, rounds=ROUNDS)
    ratios += ["", *found.table("docker version", "pyrt ps")]
    yield found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.benchmark(group="cli", timer=Replay.clock)
def test_cli(benchmark: Any, comparison: Comparison, name: str) -> None:
    replay(benchmark, comparison, name)


def _commands(few: Pyrt, many: Pyrt, daemon: Dockerd) -> list[Command]:
    return [
        contenders.installed("/bin/true"),
        contenders.pyrt(few, "version"),
        contenders.pyrt(few, "ps"),
        contenders.pyrt(few, "inspect", contenders.IMAGE),
        contenders.pyrt(many, "ps", "-a"),
        contenders.pyrt(many, "ps", "-a", "--format", "{{.ID}} {{.Names}}"),
        contenders.pyrt(many, "inspect", "c77"),
        _docker(daemon, "version"),
        _docker(daemon, "ps"),
    ]


def _docker(daemon: Dockerd, verb: str) -> Command:
    return Command(missing=daemon.fault) if daemon.fault else Command(("docker", "-H", daemon.address, verb))
