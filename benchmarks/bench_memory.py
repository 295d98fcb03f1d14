# SPDX-License-Identifier: Apache-2.0
"""What does a live container cost in the runtime's own processes? Their memory before and after, divided by the number.

Counted is PSS, pages shared with others by their share, of what runs outside the containers: daemons, supervisors,
monitors, shims. What the kernel needs for namespaces, mounts and cgroups is the same for all, and not counted.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks import contenders, names
from benchmarks.interleave import KILOBYTES, Comparison, Failed
from benchmarks.programs import Command
from benchmarks.setting import Setting, setting
from tests.harness import Pyrt
from tests.processes import processes, wait_until

pytestmark = pytest.mark.root

LIVE = int(os.environ.get("BENCH_MEMORY_LIVE", "200"))
LIVE_OF_PEERS = 10
# Whose memory it is: processes of these names that were not there before.
OURS = {"podman": r"^conmon", "docker": r"^(dockerd|containerd)", "lxc-start": r"^lxc-start"}


def test_memory(tmp_path_factory: pytest.TempPathFactory, ratios: list[str]) -> None:
    found = Comparison(names.MEMORY, unit=KILOBYTES)
    with setting(tmp_path_factory.mktemp("memory")) as scene:
        if scene.pyrt is None:
            pytest.skip(contenders.NOT_BUILT)
        _measure_pyrt(found, scene.pyrt)
        for name, pattern in OURS.items():
            before = set(processes())
            try:
                with _live(scene, name) as command:
                    found.samples[name] = [_growth(scene, command, pattern, before)]
            except Failed as failed:
                found.missing[name] = str(failed)
    ratios += ["", *found.table("pyrt")]
    assert found.samples["pyrt"]


def _measure_pyrt(found: Comparison, pyrt: Pyrt) -> None:
    """Daemon and supervisor, each with as many containers behind it as it takes for their tables to have grown."""
    _start(pyrt, 10)
    before = {kind: _memory(pyrt, kind) for kind in ("Pss", "Rss")}
    _start(pyrt, LIVE)
    for kind, name in (("Pss", "pyrt"), ("Rss", "pyrt, RSS")):
        found.samples[name] = [(_memory(pyrt, kind) - before[kind]) / LIVE]
    pyrt.remove_containers()


def _start(pyrt: Pyrt, count: int) -> None:
    for _ in range(count):
        pyrt.detached(contenders.IMAGE, *contenders.SLEEP)


def _memory(pyrt: Pyrt, kind: str) -> float:
    return _bytes_of(pyrt.daemon_pid, kind) + _bytes_of(pyrt.supervisor_pid, kind)


def _bytes_of(pid: int, kind: str) -> float:
    """PSS or RSS of a process in bytes; 0 for one that has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = re.search(rf"^{kind}: +(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


@contextmanager
def _live(scene: Setting, name: str) -> Iterator[Command]:
    """A command that starts a container which goes on; at the end all that it started are removed."""
    if name == "podman":
        yield contenders.podman(scene.podman_store(), live=True)  # the store's end removes them
    elif name == "docker":
        yield contenders.docker(scene.dockerd(), live=True)  # and so does the daemon's
    else:
        try:
            yield contenders.lxc(scene.rootfs, scene.directory, live=True)
        finally:
            for number in range(2 * LIVE_OF_PEERS):
                name = f"{contenders.CONTAINER}-{number}"
                argv: list[str | Path] = ["lxc-stop", "-k", "-P", scene.directory, "-n", name]
                subprocess.run(argv, capture_output=True, check=False)


def _growth(scene: Setting, command: Command, pattern: str, before: set[int]) -> float:
    """Bytes for each container, by which the processes have grown, or which new ones take."""

    def total() -> float:
        mine = [process.pid for process in processes().values() if re.search(pattern, process.name)]
        return sum(_bytes_of(pid, "Pss") for pid in mine if pid not in before)

    empty = total()
    scene.clients.run(command, total=LIVE_OF_PEERS)
    wait_until(lambda: _sleeping(scene) >= LIVE_OF_PEERS, what="the containers' running")
    return (total() - empty) / LIVE_OF_PEERS


def _sleeping(scene: Setting) -> int:
    return sum(process.command == " ".join(contenders.SLEEP) for process in processes().values())
