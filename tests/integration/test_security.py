# SPDX-License-Identifier: Apache-2.0
"""What a container may not have: capabilities, calls, paths, devices, keys, and anything of the daemon's."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.harness import Pyrt

pytestmark = [pytest.mark.root, pytest.mark.both_engines]

# chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service sys_chroot setfcap
ELEVEN = 0x800405FB
MASKED_FILES = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts"]
MASKED_DIRECTORIES = ["/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"]
READ_ONLY = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/sys/kernel/uevent_helper",
    "/sys/power/state",
]
DEVICES = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}
# The probe's arguments make each of these fail with another errno where the call itself is let through.
REFUSED = [
    *("mount", "umount", "mknod", "sethostname", "add_key", "keyctl", "bpf", "io_uring", "perf", "userfaultfd"),
    *("open_by_handle", "init_module", "adjtimex", "swapon", "reboot", "af_packet", "unshare-mount", "unshare-user"),
]


def status_fields(pyrt: Pyrt, *flags: str) -> dict[str, str]:
    lines = pyrt.run(*flags, "bb", "cat", "/proc/self/status").lines
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def calls(pyrt: Pyrt, *flags: str) -> dict[str, str]:
    lines = pyrt.run(*flags, "bb", "probe", "calls").lines
    return {name: value for name, value in (line.split() for line in lines)}


def test_capabilities_of_root(pyrt: Pyrt) -> None:
    fields = status_fields(pyrt)
    assert {name: int(fields[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == dict.fromkeys(
        ("CapPrm", "CapEff", "CapBnd"), ELEVEN
    )
    assert int(fields["CapInh"], 16) == int(fields["CapAmb"], 16) == 0


def test_capabilities_of_a_user(pyrt: Pyrt) -> None:
    fields = status_fields(pyrt, "-u", "bob")
    assert [int(fields[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")] == [0, 0, 0, 0]
    assert int(fields["CapBnd"], 16) == ELEVEN


def test_capabilities_added_and_dropped(pyrt: Pyrt) -> None:
    effective = int(status_fields(pyrt, "--cap-add", "NET_RAW", "--cap-drop", "chown")["CapEff"], 16)
    assert effective == (ELEVEN | 1 << 13) & ~1
    assert int(status_fields(pyrt, "--cap-drop", "ALL")["CapBnd"], 16) == 0


def test_seccomp(pyrt: Pyrt) -> None:
    assert status_fields(pyrt)["Seccomp"] == "2"
    assert status_fields(pyrt, "--security-opt", "seccomp=unconfined")["Seccomp"] == "0"


def test_no_new_privileges_on_request(pyrt: Pyrt) -> None:
    assert status_fields(pyrt)["NoNewPrivs"] == "0"
    assert status_fields(pyrt, "--security-opt", "no-new-privileges")["NoNewPrivs"] == "1"


def test_calls_that_are_refused(pyrt: Pyrt) -> None:
    seen = calls(pyrt)
    assert {name: seen[name] for name in REFUSED if seen[name] not in ("EPERM", "ENOSYS")} == {}
    assert seen["clone3"] == seen["unknown-call"] == "ENOSYS", "so that a C library falls back"
    assert seen["af_alg"] != "ok" and seen["af_vsock"] != "ok"


def test_without_seccomp_the_capabilities_still_hold(pyrt: Pyrt) -> None:
    seen = calls(pyrt, "--security-opt", "seccomp=unconfined")
    for name in ("mount", "umount", "mknod", "sethostname", "reboot", "adjtimex", "unshare-mount", "af_packet"):
        assert seen[name] == "EPERM", name


def test_masked_files_are_empty(pyrt: Pyrt) -> None:
    for line in pyrt.run("bb", "probe", "bytes", *MASKED_FILES).lines:
        assert line.split()[1] in ("0", "ENOENT"), line


def test_masked_directories_are_empty(pyrt: Pyrt) -> None:
    for path in MASKED_DIRECTORIES:
        assert pyrt.run("bb", "sh", "-c", f"ls -A {path} 2>/dev/null").out == b"", path


def test_proc_and_sys_cannot_be_written(pyrt: Pyrt) -> None:
    for line in pyrt.run("bb", "probe", "writable", *READ_ONLY).lines:
        assert line.split()[1] in ("EROFS", "EACCES", "EPERM", "ENOENT"), line


def test_privileged_has_it_all(pyrt: Pyrt) -> None:
    fields = status_fields(pyrt, "--privileged")
    assert int(fields["CapEff"], 16) & 1 << 21, "CAP_SYS_ADMIN"
    assert fields["Seccomp"] == "0"


def test_devices_are_the_standard_ones(pyrt: Pyrt) -> None:
    listing = pyrt.run("bb", "probe", "look", *(f"/dev/{name}" for name in DEVICES)).lines
    assert listing == [f"/dev/{name} char 0666 {number} 0" for name, number in DEVICES.items()]
    nodes = pyrt.run("bb", "find", "/dev", "(", "-type", "b", "-o", "-type", "c", ")").lines
    allowed = {f"/dev/{name}" for name in [*DEVICES, "ptmx", "console"]}
    assert {node for node in nodes if not node.startswith("/dev/pts/")} <= allowed


def test_only_three_descriptors(pyrt: Pyrt) -> None:
    """Even when the client was started with many."""
    pipes = [os.pipe() for _ in range(20)]
    everything = [fd for pair in pipes for fd in pair]
    try:
        argv = [str(pyrt.client), "run", "--rm", "bb", "probe", "fds"]
        done = subprocess.run(argv, env=pyrt.environment, capture_output=True, pass_fds=everything, timeout=30)
    finally:
        for fd in everything:
            os.close(fd)
    assert [line.split()[0] for line in done.stdout.decode().splitlines()] == ["0", "1", "2"]


def test_the_daemons_groups_are_not_inherited(pyrt: Pyrt) -> None:
    assert pyrt.run("-u", "12345:54321", "bb", "probe", "ids").lines[2] == "groups 54321"


def test_the_program_that_started_it_cannot_be_reached(pyrt: Pyrt) -> None:
    """CVE-2019-5736: no host file is /proc/self/exe of anything inside."""
    script = "ls -l /proc/1/exe; for f in /proc/[0-9]*/exe; do (echo x > $f) 2>/dev/null && echo WRITTEN $f; done; true"
    result = pyrt.run("bb", "sh", "-c", script)
    assert "WRITTEN" not in result.text and "pyrt" not in result.text


@pytest.mark.parametrize(
    "cwd", ["/proc/self/fd/3", "/proc/self/fd/7", "/proc/1/cwd/../../..", "/proc/self/fd/7/../../.."]
)
def test_a_working_directory_that_is_a_descriptor_of_ours(pyrt: Pyrt, cwd: str, tmp_path: Path) -> None:
    """CVE-2024-21626."""
    canary = tmp_path / "canary"
    canary.touch()
    assert pyrt.run("-w", cwd, "bb", "ls", str(canary).removeprefix("/")).status != 0


def test_namespaces_are_its_own(pyrt: Pyrt) -> None:
    for kind in ("pid", "net", "mnt", "uts", "ipc", "cgroup"):
        inside = pyrt.run("bb", "readlink", f"/proc/self/ns/{kind}").text
        assert inside != os.readlink(f"/proc/self/ns/{kind}"), kind


def test_the_host_network_on_request(pyrt: Pyrt) -> None:
    inside = pyrt.run("--network", "host", "bb", "readlink", "/proc/self/ns/net").text
    assert inside == os.readlink("/proc/self/ns/net")


def test_no_network_has_only_lo(pyrt: Pyrt) -> None:
    lines = pyrt.run("--network", "none", "bb", "ip", "-o", "link").lines
    assert [line.split()[1] for line in lines] == ["lo:"] and "UP" in lines[0]


def test_root_and_run_directory_are_closed_to_others(pyrt: Pyrt) -> None:
    for path in (pyrt.root, pyrt.run_dir):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    assert stat.S_IMODE((pyrt.run_dir / "pyrt.sock").stat().st_mode) & 0o077 == 0


def test_no_abstract_socket(pyrt: Pyrt) -> None:
    pyrt.detached("--name", "listening", "bb", "sleep", "60")
    names = [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()]
    assert not [name for name in names if name.startswith("@") and "pyrt" in name]
    pyrt.ok("rm", "-f", "listening")
