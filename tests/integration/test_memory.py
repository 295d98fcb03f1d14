# SPDX-License-Identifier: Apache-2.0
"""What pyrt itself takes: memory that stays flat while a gigabyte passes, and nothing when there is nothing to do."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import IO

import pytest

from tests.harness import Pyrt

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

MEGABYTE = 1 << 20
HALF = 512 * MEGABYTE  # of stdout and of stderr


def status_kib(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def cpu_ticks(pid: int) -> int:
    """User and system time of all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def digest(stream: IO[bytes], into: list[str]) -> None:
    made = hashlib.sha256()
    while data := stream.read1(1 << 18) if hasattr(stream, "read1") else stream.read(1 << 18):
        made.update(data)
    into.append(made.hexdigest())


def expected(probe: Path, size: int, seed: int) -> str:
    with subprocess.Popen([probe, "emit", "1", str(size), str(seed)], stdout=subprocess.PIPE) as oracle:
        assert oracle.stdout
        found: list[str] = []
        digest(oracle.stdout, found)
    return found[0]


def pids(pyrt: Pyrt) -> dict[str, int]:
    return {"daemon": pyrt.daemon_pid, "supervisor": pyrt.supervisor_pid}


def test_a_gigabyte_passes_and_memory_stays(pyrt: Pyrt, probe: Path) -> None:
    """stdout and stderr both busy, to the log and one reader; every byte counts."""
    pyrt.run("bb", "probe", "emit", "1", str(8 * MEGABYTE), "3")
    both = pids(pyrt)
    for pid in both.values():
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak starts anew
    before = {name: status_kib(pid, "VmHWM") for name, pid in both.items()}

    script = f"probe emit 1 {HALF} 3 & probe emit 2 {HALF} 5 & wait"
    command = pyrt.start("run", "--rm", "bb", "sh", "-c", script)
    assert command.stdout and command.stderr
    out: list[str] = []
    err: list[str] = []
    readers = [
        threading.Thread(target=digest, args=(command.stdout, out)),
        threading.Thread(target=digest, args=(command.stderr, err)),
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert command.wait(timeout=60) == 0
    assert out == [expected(probe, HALF, 3)] and err == [expected(probe, HALF, 5)]
    assert pids(pyrt) == both
    grown = {name: status_kib(pid, "VmHWM") - before[name] for name, pid in both.items()}
    assert all(kib < 8192 for kib in grown.values()), grown


def test_idle_there_is_nothing_to_do(pyrt: Pyrt) -> None:
    """With containers and without: no timer of pyrt's wakes anything but the network's check, of microseconds."""
    identifier = pyrt.detached("bb", "sleep", "60")
    both = pids(pyrt)
    time.sleep(0.3)
    before = {name: cpu_ticks(pid) for name, pid in both.items()}
    time.sleep(2)
    used = {name: cpu_ticks(pid) - before[name] for name, pid in both.items()}
    one_percent = os.sysconf("SC_CLK_TCK") * 2 // 100
    assert all(ticks <= one_percent for ticks in used.values()), used
    pyrt.ok("rm", "-f", identifier)


def test_both_together_fit_into_eighty_megabytes(pyrt: Pyrt) -> None:
    for _ in range(3):
        pyrt.run("-p", "127.0.0.1::80", "-m", "64m", "bb", "true")
    resident = {name: status_kib(pid, "VmRSS") for name, pid in pids(pyrt).items()}
    assert sum(resident.values()) <= 80_000, resident


def test_a_hundred_runs_leave_no_memory(pyrt: Pyrt) -> None:
    for _ in range(20):
        pyrt.run("bb", "true")
    both = pids(pyrt)
    before = {name: status_kib(pid, "VmRSS") for name, pid in both.items()}
    for _ in range(100):
        assert pyrt.run("bb", "true").status == 0
    grown = {name: status_kib(pid, "VmRSS") - before[name] for name, pid in both.items()}
    assert all(kib < 1024 for kib in grown.values()), grown
