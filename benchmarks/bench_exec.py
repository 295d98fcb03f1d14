# SPDX-License-Identifier: Apache-2.0
"""How long does one more program in a running container take? `exec` of /bin/true, whole, warm and after a rest."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from benchmarks import bundle, contenders, host, names
from benchmarks.interleave import Comparison, Replay, Sample, compare, replay
from benchmarks.programs import Command
from benchmarks.setting import Setting, setting

pytestmark = pytest.mark.root

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "50"))
RESTS = {"exec of /bin/true, back to back": 0.0, "exec of /bin/true, 150 ms apart": names.REST_SECONDS}
NAMES = ("pyrt exec", "pyrt exec -t", "crun exec", "runc exec", "docker exec")
CONTAINER = contenders.CONTAINER


@pytest.fixture(scope="module")
def contestants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Sample]]:
    """Each with a container of its own that sleeps."""
    with setting(tmp_path_factory.mktemp("exec")) as scene, ExitStack() as stack:
        stack.enter_context(host.hugetlb_hierarchy())
        if scene.pyrt is not None:
            scene.pyrt.detached("--name", CONTAINER, *contenders.LIMITS, contenders.IMAGE, *contenders.SLEEP)
        commands = [
            contenders.pyrt(scene.pyrt, "exec", CONTAINER, *contenders.TRUE),
            contenders.pyrt(scene.pyrt, "exec", "-t", CONTAINER, *contenders.TRUE),
            stack.enter_context(_oci(scene, "crun")),
            stack.enter_context(_oci(scene, "runc")),
            _docker(scene),
        ]
        yield {name: scene.clients.whole(command) for name, command in zip(NAMES, commands, strict=True)}


@pytest.fixture(scope="module", params=RESTS)
def comparison(request: pytest.FixtureRequest, contestants: dict[str, Sample], ratios: list[str]) -> Comparison:
    """Every contender's samples, taken in turn. Its table goes to the end of the output."""
    rest_seconds = RESTS[request.param]
    in_a_row = 1 if rest_seconds else names.IN_A_ROW
    found = compare(
        request.param, contestants, rounds=max(1, ROUNDS // in_a_row), rest_seconds=rest_seconds, in_a_row=in_a_row
    )
    ratios += ["", *found.table("crun exec", "runc exec")]
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.benchmark(group="exec", timer=Replay.clock)
def test_exec(benchmark: Any, comparison: Comparison, name: str) -> None:
    replay(benchmark, comparison, name)


@contextmanager
def _oci(scene: Setting, runtime: str) -> Iterator[Command]:
    """A container of crun's or runc's that sleeps, and the command that is an `exec` into it."""
    made = bundle.write(scene.directory / f"{runtime}-exec", scene.rootfs, contenders.SLEEP)
    state = scene.run / f"{runtime}-exec-state"
    run = contenders.installed(runtime, "--root", state, "run", "--detach", "--bundle", made, CONTAINER)
    if run.missing:
        yield run
        return
    fault = _run(run)
    try:
        yield Command((runtime, "--root", state, "exec", CONTAINER, *contenders.TRUE), missing=fault)
    finally:
        _run(Command((runtime, "--root", state, "delete", "--force", CONTAINER)))


def _docker(scene: Setting) -> Command:
    daemon = scene.dockerd()
    base = ("docker", "-H", daemon.address)
    run = contenders.docker(daemon, live=True)
    if fault := run.missing or _run(Command((*base, "run", "--name", CONTAINER, *run.argv[4:]))):
        return Command(missing=fault)
    return Command((*base, "exec", CONTAINER, *contenders.TRUE))


def _run(command: Command) -> str:
    """What it said when it failed. A file takes its errors: a container that goes on would keep a pipe open."""
    null = subprocess.DEVNULL
    done = subprocess.run(command.argv, stdin=null, stdout=null, stderr=null)
    return f"{command.argv[0]}: status {done.returncode}" if done.returncode else ""
