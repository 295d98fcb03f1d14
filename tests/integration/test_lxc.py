# SPDX-License-Identifier: Apache-2.0
"""What is particular to the lxc engine; that containers behave the same, other modules test with both engines."""

from __future__ import annotations

import json
import os
import signal
import tarfile
from pathlib import Path

import pytest

from tests.harness import Pyrt
from tests.images import link, node, with_members
from tests.processes import open_files, processes, wait_gone, wait_until

pytestmark = pytest.mark.root


@pytest.fixture
def engine() -> str:
    return "lxc"


def monitor(pyrt: Pyrt) -> int:
    """The pid of the one lxc-start there is."""
    supervisor = pyrt.supervisor_pid
    (found,) = [
        pid
        for pid, process in processes().items()
        if process.parent == supervisor and process.executable == "/usr/bin/lxc-start"
    ]
    return found


def configuration(pyrt: Pyrt, container: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (pyrt.root / "containers" / container / "config.lxc").read_text().splitlines():
        if line.startswith("lxc."):
            key, _, value = line.partition(" = ")
            found.setdefault(key, []).append(value)
    return found


def test_the_configuration_carries_host_name_memory_and_twice_the_memory(pyrt: Pyrt) -> None:
    container = pyrt.detached("--hostname", "foobar", "-m", "32m", "bb", "sleep", "60")
    found = configuration(pyrt, container)
    assert found["lxc.uts.name"] == ["foobar"]
    limits = sorted(value for key, values in found.items() if ".memory." in key for value in values)
    assert limits in (["33554432", "67108864"], ["33554432", "33554432"])  # v1, and v2, which counts swap alone
    assert json.loads((pyrt.root / "containers" / container / "config.json").read_text())["config"]["engine"] == ""
    pyrt.ok("rm", "-f", container)


def test_the_engine_of_one_container_and_of_the_daemon(pyrt: Pyrt) -> None:
    container = pyrt.detached("--engine", "native", "bb", "sleep", "60")
    assert not (pyrt.root / "containers" / container / "config.lxc").exists()
    assert pyrt("run", "--engine", "steam", "bb", "true").error.endswith("no such engine: use one of native, lxc")
    pyrt.ok("rm", "-f", container)


def test_the_containers_environment_is_its_programs_alone(pyrt: Pyrt) -> None:
    variables = ("-e", "LD_PRELOAD=/evil.so", "-e", "PATH=/nowhere", "-e", "LXC_LOG=x", "-e", "SECRET=1")
    container = pyrt.detached(*variables, "bb", "/bin/sleep", "60")
    environment = Path(f"/proc/{monitor(pyrt)}/environ").read_bytes()
    assert environment == b"PATH=/usr/sbin:/usr/bin:/sbin:/bin\0LANG=C.UTF-8\0"
    pyrt.ok("rm", "-f", container)


def test_what_lxc_start_holds_of_the_supervisor(pyrt: Pyrt) -> None:
    """The init, the queue, its log; whatever else it has open it opened itself."""
    container = pyrt.detached("bb", "sleep", "60")
    pid = monitor(pyrt)
    targets = open_files(pid).values()
    assert not any(str(pyrt.run_dir) in target or "/log/" in target for target in targets), targets
    assert "/memfd:pyrt-init (deleted)" in targets
    pyrt.ok("rm", "-f", container)


def test_hostile_names_add_no_key(pyrt: Pyrt, tmp_path: Path) -> None:
    source = tmp_path / "x\nlxc.hook.start = #\t, \\ '"
    source.mkdir()
    (source / "file").write_text("here")
    target = "/mnt/a b\nlxc.mount.entry = / mnt none bind 0 0\n#"
    container = pyrt.detached("-v", f"{source}:{target}:ro", "bb", "sleep", "60")
    plain = pyrt.detached("bb", "sleep", "60")
    found, expected = configuration(pyrt, container), configuration(pyrt, plain)
    assert found.keys() == expected.keys() and found["lxc.mount.entry"] == expected["lxc.mount.entry"]
    pyrt.ok("rm", "-f", container, plain)
    assert pyrt.run("-v", f"{source}:{target}:ro", "bb", "cat", f"{target}/file").text == "here"


def test_a_volume_behind_a_link_of_the_image(pyrt: Pyrt, bb_tar: bytes, tmp_path: Path) -> None:
    """lxc refuses those; pyrt's own init mounts them, beneath the root."""
    (tmp_path / "file").write_text("here")
    members = (node("target", tarfile.DIRTYPE), link("link", "../../../../target"))
    pyrt.ok("import", "-", "linked", input=with_members(bb_tar, members))
    try:
        assert pyrt.run("-v", f"{tmp_path}:/link/in", "linked", "cat", "/target/in/file").text == "here"
    finally:
        pyrt.ok("rmi", "linked")


def test_killing_lxc_start_ends_the_container_and_says_so(pyrt: Pyrt) -> None:
    container = pyrt.detached("bb", "sleep", "60")
    os.kill(monitor(pyrt), signal.SIGKILL)
    assert pyrt.ok("wait", container).text == "137"
    assert "its lxc-start was killed" in (pyrt.run_dir / "supervisor.log").read_text()
    pyrt.ok("rm", container)


def test_lxc_start_waits_and_ends_with_its_container(pyrt: Pyrt) -> None:
    container = pyrt.detached("bb", "sleep", "60")
    pid = monitor(pyrt)
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    pyrt.ok("kill", container)
    wait_gone(pid)
    pyrt.ok("rm", container)


@pytest.mark.parametrize(("script", "status"), [("exit 7", "7"), ("exit 0", "0"), ("sleep 60", "137")])
def test_a_status_that_lxc_start_was_let_to_collect(pyrt: Pyrt, tmp_path: Path, script: str, status: str) -> None:
    script = f"while [ ! -e /v/go ]; do sleep 0.01; done; {script}"
    container = pyrt.detached("-v", f"{tmp_path}:/v", "bb", "sh", "-c", script)
    os.kill(monitor(pyrt), signal.SIGCONT)
    (tmp_path / "go").touch()
    if status == "137":
        pyrt.ok("kill", container)
    assert pyrt.ok("wait", container).text == status, (pyrt.root / "containers" / container / "lxc.log").read_text()
    pyrt.ok("rm", container)


def test_the_supervisors_death_is_that_of_lxc_start_and_of_the_container(pyrt: Pyrt) -> None:
    container = pyrt.detached("bb", "sleep", "60")
    pid, supervisor = monitor(pyrt), pyrt.supervisor_pid
    (program,) = [number for number, process in processes().items() if process.parent == pid]
    os.kill(supervisor, signal.SIGKILL)
    for number in (supervisor, pid, program):
        wait_gone(number)
    assert pyrt("wait", container).text == "unknown"
    pyrt.ok("rm", container)
    pyrt.ensure()
    groups = Path("/sys/fs/cgroup")
    wait_until(lambda: not list(groups.glob(f"**/{pyrt.cgroup}.lxc-*")), what="the groups of lxc-start being removed")


def test_nothing_is_mounted_on_the_host(pyrt: Pyrt) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    container = pyrt.detached("bb", "sleep", "60")
    assert Path("/proc/self/mountinfo").read_text() == before
    assert "/run/lxc" not in before
    pyrt.ok("rm", "-f", container)


def test_why_lxc_start_failed(pyrt: Pyrt) -> None:
    """What lxc-start wrote into its log is the reason; nothing of the container is left."""
    container = pyrt.ok("create", "--rm", "bb", "true").text
    for mount in Path("/sys/fs/cgroup").iterdir():
        if (mount / "cgroup.procs").exists():
            (mount / f"{pyrt.cgroup}.lxc-{container}" / "payload").mkdir(parents=True)
    error = pyrt("start", container).error
    assert "lxc-start: " in error and "cgroup" in error
    pyrt("rm", container)


@pytest.mark.parametrize("flags", [(), ("--network", "host"), ("--network", "none")])
def test_proc_and_sys_are_mounted_as_by_the_native_engine(pyrt: Pyrt, flags: tuple[str, ...]) -> None:
    seen = []
    for name in ("native", "lxc"):
        lines = pyrt.run("--engine", name, *flags, "bb", "cat", "/proc/self/mountinfo").lines
        points = {words[4]: words[5].split(",") for words in (line.split() for line in lines)}
        seen.append({
            point: sorted({"ro", "nosuid", "nodev", "noexec"}.intersection(options))
            for point, options in points.items()
            if point.startswith(("/proc", "/sys")) and not point.endswith("/boot_id")
        })  # fmt: skip
    native, lxc = seen
    assert native.keys() == lxc.keys()
    for point in native:
        assert set(native[point]) - {"nodev", "noexec"} <= set(lxc[point]), point
