# SPDX-License-Identifier: Apache-2.0
"""The runtimes that are compared: how each is asked to run a program of the same root file system to its end."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks import bundle
from benchmarks.host import Dockerd, PodmanStore
from benchmarks.programs import Command
from tests.harness import Pyrt

CONTAINER = "pyrt-bench"
LIMITS = ("-m", str(bundle.MEMORY_BYTES), "--cpus", "1", "--pids-limit", str(bundle.PIDS))
NOT_BUILT = "not built: run scripts/setup"
# Where the kernel or we are given less than podman and docker ask for, they refuse; the limits cost nothing.
ULIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")
IMAGE = "bb"
TRUE = ("/bin/true",)
SLEEP = ("/bin/sleep", "99999")


def installed(program: str, *arguments: str | Path) -> Command:
    """The command, or that its program is not here."""
    return Command((program, *arguments)) if shutil.which(program) else Command(missing=f"{program} is not installed")


def pyrt(instance: Pyrt | None, *words: str) -> Command:
    """A command of a private instance of pyrt's."""
    if instance is None:
        return Command(missing=NOT_BUILT)
    return Command((instance.client, "--root", str(instance.root), "--run-dir", str(instance.run_dir), *words))


def pyrt_run(instance: Pyrt | None, *flags: str) -> Command:
    """With limits, overlay, seccomp and log, and with bridge and address unless the flags say otherwise."""
    return pyrt(instance, "run", "--rm", *LIMITS, *flags, IMAGE, *TRUE)


def oci(runtime: str, rootfs: Path, directory: Path, run: Path) -> Command:
    """`crun run` or `runc run`: all namespaces, limits; no network but lo, no overlay, no seccomp, no log.

    Its state is in `run`.
    """
    made = bundle.write(directory / runtime, rootfs)
    state = run / f"{runtime}-state"
    return installed(runtime, "--root", state, "run", "--bundle", made, f"{CONTAINER}-{{}}")


def bwrap(rootfs: Path) -> Command:
    """All namespaces; no limits, no overlay, no capabilities to drop, no seccomp."""
    return installed("bwrap", "--unshare-all", "--bind", rootfs, "/", "--proc", "/proc", "--dev", "/dev", *TRUE)


def unshare(rootfs: Path) -> Command:
    """util-linux: all namespaces, chroot, /proc, and nothing else."""
    namespaces = [f"--{kind}" for kind in ("mount", "uts", "ipc", "net", "pid", "cgroup")]
    return installed("unshare", *namespaces, "--fork", f"--root={rootfs}", "--mount-proc", *TRUE)


def lxc(rootfs: Path, directory: Path, *, live: bool = False) -> Command:
    """lxc-start, no network but lo: in the foreground, or `live`, in the background."""
    config = directory / "lxc.conf"
    keys = {
        "lxc.uts.name": CONTAINER,
        "lxc.rootfs.path": f"dir:{rootfs}",
        "lxc.net.0.type": "empty",
        "lxc.mount.auto": "proc:mixed sys:ro",
        "lxc.apparmor.profile": "unconfined",
    }
    config.write_text("".join(f"{key} = {value}\n" for key, value in keys.items()))
    how, program = ("-d", SLEEP) if live else ("-F", TRUE)
    return installed("lxc-start", how, "-n", f"{CONTAINER}-{{}}", "-f", config, "-P", directory, "--", *program)


def nspawn(rootfs: Path) -> Command:
    """systemd-nspawn without systemd: not registered, in the caller's unit, no network but lo."""
    flags = ("--quiet", "--register=no", "--keep-unit", "--private-network", "--as-pid2", "--volatile=overlay")
    return installed("systemd-nspawn", *flags, f"--directory={rootfs}", "--machine=pyrt-bench-{}", *TRUE)


def podman(store: PodmanStore, *, live: bool = False) -> Command:
    return _managed(("podman", *store.flags), store.fault, ULIMITS, live)


def docker(daemon: Dockerd, *, live: bool = False) -> Command:
    return _managed(("docker", "-H", daemon.address), daemon.fault, ULIMITS[:2], live)


def _managed(argv: tuple[str, ...], fault: str, ulimits: tuple[str, ...], live: bool) -> Command:
    """`run --rm`: overlay, limits, seccomp, log; no network but lo. `live`: one that goes on in the background."""
    if fault:
        return Command(missing=fault)
    program = ("--detach", IMAGE, *SLEEP) if live else (IMAGE, *TRUE)
    return installed(*argv, "run", "--rm", "--network", "none", *ulimits, *LIMITS, *program)
