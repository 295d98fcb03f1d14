# SPDX-License-Identifier: Apache-2.0
"""The runtimes that are compared, each running /bin/true of the same busybox directory to its end."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.interleave import Failed, Sample

MEMORY_BYTES, CPU_QUOTA, PIDS = 512 << 20, 100_000, 1024
HUGETLB = Path("/sys/fs/cgroup/hugetlb")
CONTAINER = "pyrt-bench"
DOCKERD_S = 30.0
CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT"
    ).split()
]


def command(argv: Sequence[str | Path], *, needs: str = "") -> Sample:
    """A sample that runs a command to its end; Failed with its first line of error when that is not status 0."""

    def sample() -> float:
        if needs and not shutil.which(needs):
            raise Failed("not installed")
        begin = time.perf_counter()
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        seconds = time.perf_counter() - begin
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"status {done.returncode}"]
            raise Failed(lines[0][:100])
        return seconds

    return sample


def floor(program: Path, rootfs: Path, scratch: Path, *flags: str, figure: str = "exec") -> Sample:
    """The C floor's own figure: `exec` is begin to exec, `whole` is the whole run."""

    def sample() -> float:
        argv: list[str | Path] = [program, *flags, rootfs, scratch, "/bin/true"]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            raise Failed(done.stderr.strip()[:100])
        return next(float(line.split()[1]) / 1e6 for line in done.stdout.splitlines() if line.startswith(figure))

    return sample


def build_floor(directory: Path) -> Path:
    """Compile benchmarks/floor_*.c of the start floor; returns the program."""
    here, program = Path(__file__).parent, directory / "floor_start"
    sources = [here / f"floor_{part}.c" for part in ("start", "init", "veth")]
    subprocess.run(["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-static", "-o", program, *sources], check=True)
    return program


def oci(runtime: str, rootfs: Path, directory: Path) -> Sample:
    """`crun run` or `runc run` of a bundle with the namespaces, mounts and limits that pyrt gives a container."""
    bundle = directory / runtime
    bundle.mkdir()
    (bundle / "config.json").write_text(json.dumps(bundle_config(rootfs)))
    return command(
        [runtime, "--root", directory / f"{runtime}-state", "run", "--bundle", bundle, CONTAINER], needs=runtime
    )


def bwrap(rootfs: Path) -> Sample:
    """bubblewrap with all namespaces; it has no limits."""
    mounts: list[str | Path] = ["--bind", rootfs, "/", "--proc", "/proc", "--dev", "/dev"]
    return command(["bwrap", "--unshare-all", *mounts, "/bin/true"], needs="bwrap")


def lxc(rootfs: Path, directory: Path) -> Sample:
    """lxc-start in the foreground, without a network."""
    config = directory / "lxc.conf"
    keys = {
        "lxc.uts.name": CONTAINER,
        "lxc.rootfs.path": f"dir:{rootfs}",
        "lxc.net.0.type": "empty",
        "lxc.mount.auto": "proc:mixed sys:ro",
        "lxc.apparmor.profile": "unconfined",
    }
    config.write_text("".join(f"{key} = {value}\n" for key, value in keys.items()))
    argv: list[str | Path] = ["lxc-start", "-F", "-n", CONTAINER, "-f", config, "-P", directory, "--", "/bin/true"]
    return command(argv, needs="lxc-start")


@contextmanager
def lxc_leftovers_removed() -> Iterator[None]:
    """lxc-start leaves an empty cgroup `lxc.pivot` in every hierarchy: remove those that were not there before."""
    before = set(Path("/sys/fs/cgroup").glob("*/lxc.pivot"))
    try:
        yield
    finally:
        for path in set(Path("/sys/fs/cgroup").glob("*/lxc.pivot")) - before:
            path.rmdir()


@contextmanager
def hugetlb_hierarchy() -> Iterator[None]:
    """crun 1.8 refuses a hybrid machine whose hugetlb controller is on v2: give it a v1 hierarchy meanwhile."""
    needed = Path("/sys/fs/cgroup/memory").is_dir() and not HUGETLB.exists()
    if needed:
        HUGETLB.mkdir()
        subprocess.run(["mount", "-t", "cgroup", "-o", "hugetlb", "cgroup", HUGETLB], check=False)
    try:
        yield
    finally:
        if needed:
            subprocess.run(["umount", HUGETLB], check=False)
            HUGETLB.rmdir()


@contextmanager
def dockerd(directory: Path) -> Iterator[str | None]:
    """A dockerd of its own, which touches no network of the host; its address, or None where it does not run."""
    if not (shutil.which("dockerd") and shutil.which("docker")):
        yield None
        return
    address = f"unix://{directory}/docker.sock"
    places = {"data-root": "data", "exec-root": "exec", "pidfile": "docker.pid"}
    argv = ["unshare", "-m", "dockerd", "-H", address, "--bridge=none", "--iptables=false", "--storage-driver=vfs"]
    argv += [f"--{option}={directory / name}" for option, name in places.items()]
    with open(directory / "dockerd.log", "wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield address if _answers(address, process) else None
    finally:
        process.terminate()
        process.wait()


def _answers(address: str, process: subprocess.Popen[bytes]) -> bool:
    """Wait until a dockerd serves, or has ended."""
    deadline = time.monotonic() + DOCKERD_S
    while process.poll() is None and time.monotonic() < deadline:
        if not subprocess.run(["docker", "-H", address, "version"], capture_output=True).returncode:
            return True
        time.sleep(0.1)
    return False


def bundle_config(rootfs: Path) -> dict[str, Any]:
    mask = [
        "/proc/acpi",
        "/proc/kcore",
        "/proc/keys",
        "/proc/timer_list",
        "/proc/interrupts",
        "/proc/scsi",
        "/sys/firmware",
    ]
    quiet = ["nosuid", "noexec", "nodev"]
    return {
        "ociVersion": "1.0.2",
        "hostname": CONTAINER,
        "root": {"path": str(rootfs), "readonly": False},
        "process": {
            "args": ["/bin/true"],
            "cwd": "/",
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/"],
            "user": {"uid": 0, "gid": 0},
            "capabilities": {name: CAPABILITIES for name in ("bounding", "effective", "permitted")},
        },
        "mounts": [
            _mount("/proc", "proc", *quiet),
            _mount("/sys", "sysfs", *quiet, "ro"),
            _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            _mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
            _mount("/dev/shm", "tmpfs", *quiet, "mode=1777", "size=65536k"),
            _mount("/dev/mqueue", "mqueue", *quiet),
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "resources": {
                "memory": {"limit": MEMORY_BYTES},
                "cpu": {"quota": CPU_QUOTA, "period": 100_000},
                "pids": {"limit": PIDS},
            },
            "maskedPaths": mask,
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }


def _mount(target: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": kind, "options": list(options)}
