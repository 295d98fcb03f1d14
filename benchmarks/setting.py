# SPDX-License-Identifier: Apache-2.0
"""What every benchmark of starts takes place in: one root file system, the compiled programs, a pyrt of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import contenders, host, programs
from benchmarks.host import Dockerd, PodmanStore
from benchmarks.interleave import Sample
from benchmarks.programs import Clients, Command, Server
from pyrt.container.spread import spread
from pyrt.engine import capabilities, seccomp
from tests.harness import Pyrt, client_path
from tests.rootfs import busybox_tar


@dataclass(slots=True)
class Setting:
    """`rootfs` is `tar` unpacked, `run` a tmpfs, `seccomp` the compiled default program; what is opened ends too."""

    directory: Path
    run: Path
    tar: bytes
    rootfs: Path
    seccomp: Path
    clients: Clients
    bridge: str
    pyrt: Pyrt | None
    _floor: Path
    _ending: ExitStack = field(default_factory=ExitStack)
    _scratches: int = 0

    def scratch(self) -> Path:
        """A new empty directory, for the upper layers of one contender."""
        self._scratches += 1
        path = self.directory / f"scratch{self._scratches}"
        path.mkdir()
        spread(path)  # what pyrt does for its containers' directories
        return path

    def floor(self, *flags: str) -> Server:
        """A floor in a process of its own, with the seccomp program."""
        argv: list[str | Path] = [self._floor, "-i", *flags, "-s", self.seccomp, self.rootfs, self.scratch()]
        return self._ending.enter_context(Server(*argv, "/bin/true"))

    def floor_by_many(self, processes: int, *flags: str, total: int) -> Sample:
        """Seconds for each of `total` runs of the floor, by so many processes at once."""
        argv: list[str | Path] = [self._floor, "-n", str(total // processes), *flags, "-s", self.seccomp, self.rootfs]
        return programs.at_once([[*argv, self.scratch(), "/bin/true"] for _ in range(processes)], total=total)

    def plain_python(self) -> Server:
        return self._ending.enter_context(programs.plain_python(self.rootfs, self.scratch(), self.seccomp))

    def dockerd(self) -> Dockerd:
        return self._ending.enter_context(host.dockerd(_made(self.directory / "docker"), self.tar))

    def podman_store(self) -> PodmanStore:
        return self._ending.enter_context(host.podman_store(_made(self.directory / "podman"), self.tar))

    def peers(self) -> dict[str, Command]:
        """The other runtimes' whole runs, by name; starts what they need, until the setting ends."""
        rootfs, directory = self.rootfs, self.directory
        self._ending.enter_context(host.hugetlb_hierarchy())
        return {
            "lxc-start": contenders.lxc(rootfs, directory),
            "crun run": contenders.oci("crun", rootfs, directory, self.run),
            "runc run": contenders.oci("runc", rootfs, directory, self.run),
            "bwrap": contenders.bwrap(rootfs),
            "unshare": contenders.unshare(rootfs),
            "systemd-nspawn": contenders.nspawn(rootfs),
            "podman run": contenders.podman(self.podman_store()),
            "docker run": contenders.docker(self.dockerd()),
        }

    def crun(self) -> Command:
        """crun's whole run alone: a reference wherever the others would take too long."""
        self._ending.enter_context(host.hugetlb_hierarchy())
        return contenders.oci("crun", self.rootfs, self.directory, self.run)


@contextmanager
def setting(directory: Path) -> Iterator[Setting]:
    """Make everything below `directory`, and take it down again, containers and daemons included."""
    tar, rootfs = busybox_tar(), _made(directory / "rootfs")
    subprocess.run(["tar", "-x", "-C", rootfs], input=tar, check=True)
    program = directory / "seccomp.bpf"
    program.write_bytes(seccomp.compile_default(capabilities.DEFAULT))
    floor, clients = programs.build_floor(directory), programs.build_clients(directory)
    with ExitStack() as ending:
        ending.enter_context(host.leftovers_removed())
        bridge = ending.enter_context(host.bridge())
        pyrt = ending.enter_context(instance(tar))
        run = ending.enter_context(host.tmpfs(directory / "run"))
        yield Setting(directory, run, tar, rootfs, program, clients, bridge, pyrt, floor, ending)


@contextmanager
def instance(tar: bytes) -> Iterator[Pyrt | None]:
    """A private pyrt with the image bb; None where it is not built."""
    client = client_path()
    if client is None:
        yield None
        return
    pyrt = Pyrt(client)
    try:
        pyrt.ok("import", "-", contenders.IMAGE, input=tar)
        yield pyrt
    except BaseException:
        print(pyrt.report())
        raise
    finally:
        pyrt.close()


def _made(path: Path) -> Path:
    path.mkdir()
    return path
