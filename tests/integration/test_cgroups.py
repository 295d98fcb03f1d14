# SPDX-License-Identifier: Apache-2.0
"""Real cgroups of this machine: the limits bite, OOM kills are counted, freeze and kill work, and nothing is left."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyrt.engine.cgroups import Cgroup, Layout, Limits
from pyrt.errors import PyrtError, StartError, UsageError

pytestmark = pytest.mark.root
MIB = 1 << 20
# The child joins when told, so that all it does afterwards is inside.
WAIT = "import sys; sys.stdin.readline()\n"


def groups_named(parent: str) -> list[str]:
    return [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{parent}*")]


@pytest.fixture(params=["as mounted", "no cgroup.kill", "v1 alone"])
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Layout]:
    """The machine's own layout, as a kernel before 5.14 has it, and as one has it that mounts no v2 tree."""
    mountinfo = tmp_path / "mountinfo"
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    if request.param == "v1 alone":
        lines = [line for line in lines if " - cgroup2 " not in line]
    mountinfo.write_text("\n".join(lines))
    layout = Layout.detect(f"ptpolicy-{os.getpid()}", mountinfo=str(mountinfo))
    if request.param == "no cgroup.kill":
        layout.kill = False
    if "memory" not in layout.groups:
        layout.remove()
        pytest.skip("no memory controller in this layout")
    yield layout
    assert layout.leftovers() == set()
    layout.remove()
    assert groups_named(layout.parent) == []


@contextlib.contextmanager
def child(cgroup: Cgroup, code: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", WAIT + code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            cgroup.join(process.pid)
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
            yield process
        finally:
            process.kill()


def eventually(condition: Callable[[], object], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_memory_limit_bites_and_the_kill_is_counted(layout):
    with Cgroup.create(layout, "hog", Limits(memory_bytes=24 * MIB, memory_swap_bytes=24 * MIB)) as cgroup:
        assert cgroup.oom_kills() == 0
        with child(cgroup, "b = bytearray(100 << 20); print('survived')") as process:
            assert process.stdout
            assert process.stdout.read() == ""
            assert process.wait() == -9
        assert cgroup.oom_kills() == 1
        peak = cgroup.usage().memory_peak_bytes
        assert peak is not None
        assert 20 * MIB < peak <= 24 * MIB


def test_a_pids_limit(layout):
    fork = "import os\nfor n in range(10):\n  try:\n    if not os.fork(): time.sleep(9)\n"
    fork += "  except BlockingIOError: print(n, flush=True); break\ntime.sleep(9)"
    with Cgroup.create(layout, "fork", Limits(pids=4)) as cgroup:
        with child(cgroup, "import time\n" + fork) as process:
            assert process.stdout
            assert process.stdout.readline() == "3\n"
            cgroup.kill()
            assert process.wait() == -9
        assert eventually(cgroup.empty)


def test_a_cpu_quota_is_written_and_the_time_counted(layout):
    with Cgroup.create(layout, "cpu", Limits(cpus=0.25)) as cgroup:
        with child(cgroup, "import time\nwhile time.process_time() < 0.1: pass") as process:
            assert process.wait() == 0
        name, expected = ("cpu.max", "25000 100000\n") if "cpu" in layout.on_v2 else ("cpu.cfs_quota_us", "25000\n")
        assert Path(f"{layout.groups['cpu']}/cpu/{name}").read_text() == expected
        used = cgroup.usage().cpu_time_ns
        assert used is not None
        assert used > 50_000_000


def test_freeze_and_thaw(layout):
    with Cgroup.create(layout, "ice") as cgroup, child(cgroup, "while True: pass") as process:
        assert eventually(lambda: cpu_ticks(process.pid) > 2)
        cgroup.freeze()
        before = cpu_ticks(process.pid)
        time.sleep(0.1)
        assert cpu_ticks(process.pid) == before
        cgroup.thaw()
        assert eventually(lambda: cpu_ticks(process.pid) > before + 1)


def test_freezing_without_waiting(layout):
    """As the supervisor does it; SIGKILL counts from the thaw on, on every kind of freezer."""
    with Cgroup.create(layout, "steps") as cgroup, child(cgroup, "while True: pass") as process:
        assert eventually(lambda: cpu_ticks(process.pid) > 2)
        assert eventually(cgroup.try_freeze)
        before = cpu_ticks(process.pid)
        time.sleep(0.1)
        assert cpu_ticks(process.pid) == before and cgroup.try_freeze(), "asking again changes nothing"
        process.kill()
        cgroup.thaw()
        assert process.wait() == -9


def test_kill_reaches_every_process_frozen_or_not(layout):
    code = "import os, time\nfor _ in range(5): os.fork()\nprint(1, flush=True); time.sleep(60)"
    with Cgroup.create(layout, "many") as cgroup, child(cgroup, code) as process:
        assert process.stdout
        for _ in range(32):
            process.stdout.readline()
        assert not cgroup.empty()
        cgroup.freeze()
        cgroup.kill()
        assert process.wait() == -9
        assert eventually(cgroup.empty)
        cgroup.kill()  # nobody there: no error


def test_a_running_container_is_not_removed(layout):
    with Cgroup.create(layout, "busy") as cgroup, child(cgroup, "import time; time.sleep(60)"):
        with pytest.raises(PyrtError, match="busy cannot be removed: it still holds processes"):
            cgroup.remove(timeout_ms=20)


def test_remove_can_be_repeated_and_takes_nested_groups(layout):
    cgroup = Cgroup.create(layout, "nest", Limits(memory_bytes=16 * MIB))
    os.makedirs(f"{layout.groups['memory']}/nest/inner/most")
    assert layout.leftovers() == {"nest"}
    cgroup.remove()
    cgroup.remove()
    assert (cgroup.oom_kills(), cgroup.empty()) == (0, True)
    cgroup.kill()
    cgroup.thaw()


def test_one_process_can_finish_what_another_began(layout):
    Cgroup.create(layout, "old", Limits(pids=5))
    adopted = Cgroup.adopt(layout, "old")
    with child(adopted, "import time; time.sleep(60)") as process:
        adopted.kill()
        assert process.wait() == -9
    adopted.remove()


def test_a_failed_create_leaves_nothing(layout):
    with pytest.raises(StartError, match="pids.max: Invalid argument"):
        Cgroup.create(layout, "half", Limits(memory_bytes=16 * MIB, pids=1 << 40))
    assert layout.leftovers() == set()
    with Cgroup.create(layout, "twice"), pytest.raises(StartError, match="File exists"):
        Cgroup.create(layout, "twice")


def test_a_dead_process_cannot_join(layout):
    process = subprocess.Popen(["true"])
    process.wait()
    with Cgroup.create(layout, "late") as cgroup, pytest.raises(StartError, match="No such process"):
        cgroup.join(process.pid)


def test_parents_removed_behind_our_back_are_made_again(layout):
    layout.remove()
    with Cgroup.create(layout, "again", Limits(memory_bytes=16 * MIB)):
        assert layout.leftovers() == {"again"}


def test_only_the_listed_devices(layout, tmp_path):
    code = f"""
import os, stat
def attempt(kind, major, minor):
    path = {str(tmp_path)!r} + f"/{{major}}-{{minor}}"
    try:
        os.mknod(path, kind | 0o600, os.makedev(major, minor))
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY))
        return "open"
    except OSError as error:
        return error.strerror
for kind, major, minor in [(stat.S_IFCHR, 1, 3), (stat.S_IFCHR, 1, 9), (stat.S_IFCHR, 1, 5), (stat.S_IFCHR, 1, 1),
                           (stat.S_IFCHR, 10, 200), (stat.S_IFBLK, 254, 0), (stat.S_IFBLK, 7, 0)]:
    print(major, minor, attempt(kind, major, minor))
"""
    expected = [f"{node} open" for node in ("1 3", "1 9", "1 5")]
    expected += [f"{node} Operation not permitted" for node in ("1 1", "10 200", "254 0", "7 0")]
    with Cgroup.create(layout, "dev") as cgroup, child(cgroup, code) as process:
        assert process.stdout
        assert process.stdout.read().splitlines() == expected
    with Cgroup.create(layout, "open", confine_devices=False) as cgroup:
        for path in tmp_path.iterdir():
            path.unlink()
        with child(cgroup, code) as process:
            assert process.stdout
            assert "1 1 Operation not permitted" not in process.stdout.read()


def test_the_reserved_name(layout):
    with pytest.raises(UsageError):
        Cgroup.create(layout, "confined")


def test_no_descriptor_is_left_open(layout):
    with Cgroup.create(layout, "first"):  # on v2 the layout keeps its device program from here on
        before = os.listdir("/proc/self/fd")
    for n in range(3):
        with Cgroup.create(layout, f"fd{n}", Limits(memory_bytes=16 * MIB, pids=3)) as cgroup:
            cgroup.freeze()
            cgroup.usage()
    assert os.listdir("/proc/self/fd") == before
