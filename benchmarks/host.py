# SPDX-License-Identifier: Apache-2.0
"""What the peers need of the host while they are compared, and what they leave there: made, and taken back."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.processes import processes

CGROUPS = Path("/sys/fs/cgroup")
HUGETLB = CGROUPS / "hugetlb"
DOCKERD_S = 30.0
CLEANING_S = 10.0
# Whose groups: lxc-start's, podman's, docker's, systemd-nspawn's, crun's and runc's containers that failed.
PEERS = re.compile(r"/(lxc\.|libpod_|docker|machine|payload$|supervisor$|pyrt-bench)")
TRACES = tuple(map(Path, ("/run/netns", "/run/crun", "/run/docker", "/run/containerd", "/var/lib/containers")))


@contextmanager
def hugetlb_hierarchy() -> Iterator[None]:
    """crun 1.8 refuses a hybrid machine whose hugetlb controller is on v2: give it a v1 hierarchy meanwhile."""
    needed = (CGROUPS / "memory").is_dir() and not HUGETLB.exists()
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
def tmpfs(path: Path) -> Iterator[Path]:
    """A tmpfs on a new directory: what keeps its state in /run has that on one, on other machines than this may be."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        _unmount(f"{path}")


@contextmanager
def leftovers_removed() -> Iterator[None]:
    """Peers leave empty cgroups, directories and a mount behind: remove what was not there before."""
    groups, traces = _groups(), [path for path in TRACES if not path.exists()]
    try:
        yield
    finally:
        for path in sorted(_groups() - groups, reverse=True):
            try:
                path.rmdir()
            except OSError as error:
                print(f"left behind: {error}")
        for path in traces:
            _unmount(f"{path}")
            shutil.rmtree(path, ignore_errors=True)


def _groups() -> set[Path]:
    return {Path(directory) for directory, _, _ in os.walk(CGROUPS) if PEERS.search(directory)}


@contextmanager
def bridge() -> Iterator[str]:
    """A bridge of the benchmark's own; its name."""
    name = f"ptf{os.getpid() % 100000}"
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
    try:
        yield name
    finally:
        subprocess.run(["ip", "link", "delete", name], check=True)


@dataclass(frozen=True, slots=True)
class Dockerd:
    """A docker daemon of its own; `fault` says why there is none."""

    address: str = ""
    pid: int = 0
    fault: str = ""


@contextmanager
def dockerd(directory: Path, tar: bytes = b"") -> Iterator[Dockerd]:
    """Run a dockerd which touches no network of the host; with `tar` it has that as the image bb."""
    if not (shutil.which("dockerd") and shutil.which("docker")):
        yield Dockerd(fault="docker is not installed")
        return
    address = f"unix://{directory}/docker.sock"
    places = {"data-root": "data", "exec-root": "exec", "pidfile": "docker.pid"}
    argv = ["unshare", "-m", "dockerd", "-H", address, "--bridge=none", "--iptables=false"]
    argv += [f"--{option}={directory / name}" for option, name in places.items()]
    with open(directory / "dockerd.log", "wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        fault = "" if _answers(address, process) else "dockerd does not run here"
        if tar and not fault:
            done = subprocess.run(["docker", "-H", address, "import", "-", "bb"], input=tar, capture_output=True)
            fault = done.stderr.decode(errors="replace")[:100] if done.returncode else ""
        yield Dockerd(address, process.pid, fault)
    finally:
        _remove_containers(address)  # it would wait ten seconds for each
        process.terminate()
        process.wait()


def _remove_containers(address: str) -> None:
    docker = ["docker", "-H", address]
    listed = subprocess.run([*docker, "ps", "--all", "--quiet"], capture_output=True, text=True, check=False)
    if ids := listed.stdout.split():
        subprocess.run([*docker, "rm", "--force", *ids], capture_output=True, check=False)


def _answers(address: str, process: subprocess.Popen[bytes]) -> bool:
    """Wait until a dockerd serves, or has ended."""
    deadline = time.monotonic() + DOCKERD_S
    while process.poll() is None and time.monotonic() < deadline:
        if not subprocess.run(["docker", "-H", address, "version"], capture_output=True).returncode:
            return True
        time.sleep(0.1)
    return False


@dataclass(frozen=True, slots=True)
class PodmanStore:
    """What podman is told for a store of its own; `fault` says why there is none."""

    flags: tuple[str, ...] = ()
    fault: str = ""


@contextmanager
def podman_store(directory: Path, tar: bytes) -> Iterator[PodmanStore]:
    """Images, containers and state of podman's below `directory`, with the image bb."""
    if not shutil.which("podman"):
        yield PodmanStore(fault="podman is not installed")
        return
    places = {"root": "storage", "runroot": "run", "tmpdir": "tmp"}
    flags = ["--cgroup-manager=cgroupfs", "--events-backend=none", "--log-level=error"]
    flags += [f"--{option}={directory / name}" for option, name in places.items()]
    done = subprocess.run(["podman", *flags, "import", "-", "bb"], input=tar, capture_output=True)
    try:
        yield PodmanStore(tuple(flags), done.stderr.decode(errors="replace")[:100] if done.returncode else "")
    finally:
        subprocess.run(["podman", *flags, "rm", "--all", "--force", "--time=0"], capture_output=True, check=False)
        _wait_ended(str(directory))
        _unmount(str(directory))


def _wait_ended(word: str) -> None:
    """Wait for what podman leaves running for a moment to clean up after a container."""
    deadline = time.monotonic() + CLEANING_S
    while any(word in process.command for process in processes().values() if process.name in ("podman", "conmon")):
        if time.monotonic() > deadline:
            print(f"still running: podman for {word}")
            return
        time.sleep(0.05)


def _unmount(path: str) -> None:
    """Unmount what is mounted there and below; a bind mount is no `is_mount`."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for target in sorted((target for target in mounts if f"{target}/".startswith(f"{path}/")), reverse=True):
        subprocess.run(["umount", target], check=False)
