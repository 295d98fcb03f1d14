# SPDX-License-Identifier: Apache-2.0
"""The runtimes whose containers' output and terminals are compared: how each runs busybox, and attaches to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import host
from tests.harness import Pyrt, client_path
from tests.rootfs import busybox_tar

IMAGE = "pyrt-bench-bb"


@dataclass(frozen=True, slots=True)
class Runtime:
    """One command line that understands `run`, `attach` and `rm`; or the reason why there is none."""

    command: Sequence[str] = ()
    run_flags: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    missing: str = ""

    def run(self, *flags: str, argv: Sequence[str]) -> list[str]:
        """`run FLAGS IMAGE ARGV`."""
        return [*self.command, "run", *self.run_flags, *flags, IMAGE, *argv]

    def __call__(self, *argv: str, input: bytes | None = None) -> bytes:
        """Run a command to its end; return its output."""
        done = subprocess.run(
            [*self.command, *argv], input=input, env=dict(self.environment), capture_output=True, check=False
        )
        assert done.returncode == 0, f"{[*self.command, *argv]}: {done.stderr.decode(errors='replace')}"
        return done.stdout


@contextlib.contextmanager
def runtimes(directory: Path) -> Iterator[dict[str, Runtime]]:
    """pyrt, docker and podman, each with the image; what was made of them is gone afterwards."""
    tar = busybox_tar()
    with contextlib.ExitStack() as closing:
        yield {
            "pyrt": closing.enter_context(_pyrt(tar)),
            "docker": closing.enter_context(_docker(directory, tar)),
            "podman + conmon": closing.enter_context(_podman(directory, tar)),
        }


@contextlib.contextmanager
def _pyrt(tar: bytes) -> Iterator[Runtime]:
    client = client_path()
    if client is None:
        yield Runtime(missing="not built: run scripts/setup")
        return
    pyrt = Pyrt(client)
    try:
        pyrt.ok("import", "-", IMAGE, input=tar)
        yield Runtime([str(pyrt.client)], environment=pyrt.environment)
    finally:
        pyrt.close()


@contextlib.contextmanager
def _docker(directory: Path, tar: bytes) -> Iterator[Runtime]:
    with host.dockerd(directory) as daemon:
        if daemon.fault:
            yield Runtime(missing=daemon.fault)
            return
        docker = Runtime(["docker", "-H", daemon.address], ["--network", "none"])
        docker("import", "-", IMAGE, input=tar)
        yield docker


@contextlib.contextmanager
def _podman(directory: Path, tar: bytes) -> Iterator[Runtime]:
    if not shutil.which("podman"):
        yield Runtime(missing="not installed")
        return
    places = ["--root", str(directory / "podman"), "--runroot", str(directory / "podman-run")]
    options = ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]
    # its default asks for more descriptors than a sandboxed root may have
    podman = Runtime(["podman", *places, *options], ["--network", "none", "--ulimit", "host"])
    try:
        podman("import", "-", IMAGE, input=tar)
        tried = subprocess.run(podman.run("--rm", argv=["/bin/true"]), capture_output=True, check=False)
    except AssertionError as error:
        yield Runtime(missing=str(error).splitlines()[-1][:100])
        return
    if tried.returncode:
        yield Runtime(missing=(tried.stderr.decode(errors="replace").splitlines() or ["does not run here"])[0][:100])
        return
    yield podman
