# SPDX-License-Identifier: Apache-2.0
"""From what a user asked of a container to what an engine is told: everything looked up, every default applied."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from pyrt.container.container import Container
from pyrt.engine import capabilities
from pyrt.engine.spec import LaunchSpec, Network, Root
from pyrt.image import base
from pyrt.image.host import mask_entries
from pyrt.image.image import Image
from pyrt.network import resolver

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime

# Docker 0.1.0's environment, exactly (container.go: Start).
BASE_ENV = {"HOME": "/", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


async def make_spec(runtime: Runtime, container: Container, image: Image, size: tuple[int, int]) -> LaunchSpec:
    """Decide everything about a start. Raises PyrtError, UsageError for what cannot be."""
    record, config = container.record, container.record.config
    granted = capabilities.resolve(config.cap_add, config.cap_drop, privileged=config.privileged)
    return LaunchSpec(
        id=record.id,
        root=make_root(runtime, container, image),
        argv=config.cmd,
        env=make_env(image, config.env, tty=config.tty),
        hostname=config.hostname or record.id[:12],
        cwd=config.working_dir or image.working_directory,
        user=config.user or image.user,
        network=_network(container),
        volumes=config.volumes,
        files=make_files(container),
        limits=config.limits,
        capabilities=capabilities.mask(granted),
        seccomp_path=await _seccomp(runtime, container, granted),
        no_new_privileges=config.no_new_privileges,
        privileged=config.privileged,
        tty=config.tty,
        rows=size[0],
        columns=size[1],
        stdin=config.open_stdin,
        engine=config.engine or runtime.engine,
        directory=str(container.directory),
    )


def make_root(runtime: Runtime, container: Container, image: Image) -> Root:
    """The layers as overlayfs gets them: those of the store by names relative to it, so that many fit into a mount."""
    layers = runtime.root / "layers"
    hidden = [runtime.root, runtime.run_dir] if image.is_host else []
    # With no network nobody gives it a resolv.conf, and it is to have none unless its image has.
    based = not image.is_host and container.record.config.network != "none"
    return Root(
        directory=str(layers),
        lower=tuple(_relative(path, layers) for path in runtime.graph.lower_dirs(image)),
        upper=str(container.directory / "diff"),
        work=str(container.directory / "work"),
        mask=tuple(
            (entry.path, entry.mode if entry.is_directory else 0, entry.uid, entry.gid)
            for entry in mask_entries(hidden)
        )
        if hidden
        else (),
        base=f"../{base.NAME}" if based else "",
        volatile=container.record.config.auto_remove,
        readonly=container.record.config.readonly,
    )


def _relative(path: Path, directory: Path) -> str:
    return str(path.relative_to(directory)) if path.is_relative_to(directory) else str(path)


def make_env(image: Image, wanted: tuple[str, ...], *, tty: bool) -> tuple[str, ...]:
    """The whole environment; of several values for a name the last one counts."""
    variables = dict(BASE_ENV)
    if tty:
        variables["TERM"] = "xterm"
    for variable in (*image.environment, *wanted):
        name, _, value = variable.partition("=")
        variables[name] = value
    return tuple(f"{name}={value}" for name, value in variables.items())


def make_files(container: Container) -> tuple[tuple[str, str], ...]:
    """The three files that tell a container its names and where to ask for others."""
    config = container.record.config
    hostname = config.hostname or container.id[:12]
    address = container.allocation.address if container.allocation else "127.0.1.1"
    files = {
        "/etc/hostname": f"{hostname}\n".encode(),
        "/etc/hosts": resolver.hosts_file(hostname, address),
    }
    if config.network == "bridge":
        files["/etc/resolv.conf"] = resolver.resolv_conf(resolver.read_config())
    elif config.network == "host":
        files["/etc/resolv.conf"] = _host_resolv_conf()
    return tuple((path, content.decode("utf-8", "surrogateescape")) for path, content in files.items())


def _host_resolv_conf() -> bytes:
    try:
        return Path("/etc/resolv.conf").read_bytes()
    except OSError:
        return b""


def _network(container: Container) -> Network:
    allocation = container.allocation
    if allocation is None:
        return Network(mode=container.record.config.network)
    return Network(
        mode="bridge",
        bridge_index=allocation.bridge_index,
        address=allocation.address,
        prefix_length=allocation.prefix_length,
        gateway=allocation.gateway,
        mtu=allocation.mtu,
    )


async def _seccomp(runtime: Runtime, container: Container, granted: frozenset[str]) -> str:
    """The file with the compiled program, or "" for none. Compiled once per profile and set of capabilities."""
    config = container.record.config
    if config.privileged or config.seccomp == "unconfined":
        return ""
    if config.seccomp:
        path, _ = await asyncio.to_thread(runtime.programs.profile, config.seccomp, capabilities=granted)
    else:
        path, _ = runtime.programs.default(granted)
    return str(path)
