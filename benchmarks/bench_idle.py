# SPDX-License-Identifier: Apache-2.0
"""What do a hundred attached clients cost while nothing happens? Processor time of daemon and supervisor."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Pyrt, start_instance
from tests.processes import wait_until
from tests.rootfs import busybox_tar

pytestmark = pytest.mark.root

CLIENTS = int(os.environ.get("BENCH_CLIENTS", "100"))
SECONDS = float(os.environ.get("BENCH_IDLE_SECONDS", "20"))


@pytest.fixture
def pyrt() -> Iterator[Pyrt]:
    instance = start_instance(pytest.skip)
    try:
        instance.ok("import", "-", "bb", input=busybox_tar())
        yield instance
    finally:
        instance.close()


def test_idle(pyrt: Pyrt, benchmark: Any, ratios: list[str]) -> None:
    identifier = pyrt.detached("-i", "bb", "sh", "-c", "head -c 1 >/dev/null; echo here; exec sleep 9999")
    clients = [pyrt.start("attach", identifier, stdin=subprocess.PIPE) for _ in range(CLIENTS)]
    supervisor = Path("/proc", str(pyrt.supervisor_pid), "fd")
    wait_until(lambda: len(list(supervisor.iterdir())) > 2 * CLIENTS, what="everyone being attached")
    assert clients[0].stdin
    clients[0].stdin.write(b"x")
    clients[0].stdin.flush()
    for client in clients:  # whoever sees this is attached
        assert client.stdout and client.stdout.readline() == b"here\n"
    pids = {"daemon": pyrt.daemon_pid, "supervisor": pyrt.supervisor_pid}
    _settle(list(pids.values()))
    before = {name: _spent(pid) for name, pid in pids.items()}
    benchmark.pedantic(time.sleep, args=(SECONDS,), rounds=1, iterations=1)
    ratios += ["", f"{CLIENTS} idle attached clients for {SECONDS:g} s"]
    for name, pid in pids.items():
        ns, switches = (after - then for after, then in zip(_spent(pid), before[name], strict=True))
        ratios.append(f"{name:12} {ns / SECONDS / 1e7:8.4f} % of a processor, {switches} wake-ups")


def _spent(pid: int) -> tuple[int, int]:
    """Nanoseconds on a processor, and how often it went to sleep, of all threads."""
    ns = switches = 0
    for task in Path("/proc", str(pid), "task").iterdir():
        ns += int((task / "schedstat").read_text().split()[0])
        lines = (task / "status").read_text().splitlines()
        switches += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))
    return ns, switches


def _settle(pids: list[int]) -> None:
    """Wait for a second in which nobody did anything, ten at most."""
    for _ in range(10):
        before = [_spent(pid) for pid in pids]
        time.sleep(1)
        if [_spent(pid) for pid in pids] == before:
            return
