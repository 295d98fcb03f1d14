# SPDX-License-Identifier: Apache-2.0
"""What `inspect` tells of a container or an image: the fields of Docker 0.1.0 in their order, then those of today.

Where docker has a name for something, that is its name here; what only pyrt has comes last.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyrt.core
from pyrt.container.state import Status
from pyrt.image.image import format_time

if TYPE_CHECKING:
    from pyrt.container.config import Config
    from pyrt.container.container import Container
    from pyrt.container.runtime import Runtime
    from pyrt.image.image import Image

_SYSINIT = Path(pyrt.core.__file__).parent / "_libexec" / "pyrt-init"
NEVER = "0001-01-01T00:00:00Z"  # how Go writes a time that is none


def describe_container(container: Container) -> dict[str, Any]:
    record, config = container.record, container.record.config
    return {
        "Id": record.id,
        "Created": format_time(record.created_at),
        "Path": config.cmd[0] if config.cmd else "",
        "Args": list(config.cmd[1:]),
        "Config": _config(container),
        "State": _state(container),
        "Image": record.image_id,
        "NetworkSettings": _network(container),
        "SysInitPath": str(_SYSINIT),
        "Name": record.name,
        "HostConfig": _host_config(container),
        "Mounts": [
            {"Type": "bind", "Source": volume.source, "Destination": volume.target, "RW": not volume.readonly}
            for volume in config.volumes
        ],
        "LogPath": str(container.log_directory) if config.log_driver != "none" else "",
    }


def _config(container: Container) -> dict[str, Any]:
    config = container.record.config
    return {
        "Hostname": config.hostname or container.id[:12],
        "User": config.user,
        "Memory": config.limits.memory_bytes,
        "MemorySwap": config.limits.memory_swap_bytes,
        "Detach": config.detach,
        "Ports": list(config.ports),
        "Tty": config.tty,
        "OpenStdin": config.open_stdin,
        "Env": list(config.env),
        "Cmd": list(config.cmd),
        "Image": config.image,
        "WorkingDir": config.working_dir,
    }


def _state(container: Container) -> dict[str, Any]:
    state = container.state
    return {
        "Running": state.running,
        "Pid": state.pid,
        "ExitCode": state.exit_status if state.finished_at or state.status is Status.LOST else 0,
        "StartedAt": _time(state.started_at),
        "FinishedAt": _time(state.finished_at),
        "Status": state.condition,
        "Paused": state.paused,
        "OOMKilled": state.oom_killed,
        "TimedOut": state.timed_out,
        "Error": state.reason,
    }


def _time(seconds: float) -> str:
    return format_time(seconds) if seconds else NEVER


def _network(container: Container) -> dict[str, Any]:
    allocation = container.allocation
    if allocation is None:
        return {"IpAddress": "", "IpPrefixLen": 0, "Gateway": "", "PortMapping": {}, "Ports": {}, "Bridge": ""}
    ports: dict[str, list[dict[str, str]]] = {}
    for one in allocation.mappings:
        binding = {"HostIp": one.host_ip, "HostPort": str(one.host_port)}
        ports.setdefault(f"{one.container_port}/{one.protocol}", []).append(binding)
    return {
        "IpAddress": allocation.address,
        "IpPrefixLen": allocation.prefix_length,
        "Gateway": allocation.gateway,
        "PortMapping": {port.removesuffix("/tcp"): bindings[0]["HostPort"] for port, bindings in ports.items()},
        "Ports": ports,
        "Bridge": allocation.bridge,
    }


def _host_config(container: Container) -> dict[str, Any]:
    config = container.record.config
    limits = config.limits
    return {
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.total_bytes if limits.memory_bytes else 0,
        "NanoCpus": round(limits.cpus * 1e9),
        "PidsLimit": limits.pids,
        "NetworkMode": config.network,
        "AutoRemove": config.auto_remove,
        "ReadonlyRootfs": config.readonly,
        "Privileged": config.privileged,
        "CapAdd": list(config.cap_add),
        "CapDrop": list(config.cap_drop),
        "SecurityOpt": _security_options(config),
        "LogConfig": _log_config(config),
        "TimeoutSeconds": config.timeout_s,
        "Engine": config.engine,
    }


def _log_config(config: Config) -> dict[str, Any]:
    if config.log_driver == "none":
        return {"Type": "none"}
    return {"Type": config.log_driver, "max-size": config.log_max_bytes, "max-file": config.log_max_files}


def _security_options(config: Config) -> list[str]:
    options = ["no-new-privileges"] if config.no_new_privileges else []
    return [*options, f"seccomp={config.seccomp}"] if config.seccomp else options


def describe_image(runtime: Runtime, image: Image) -> dict[str, Any]:
    """The image's own configuration, which is OCI's and has 0.1.0's names where it had them, and what is known here."""
    document = json.loads(image.document)
    first = {
        "id": image.id,
        "parent": image.parent,
        "comment": image.comment,
        "created": image.created,
        "container": document.pop("container", ""),
        "container_config": document.pop("container_config", None) or {},
    }
    return {
        **first,
        **{key: value for key, value in document.items() if key not in first},
        "RepoTags": runtime.tags.by_id().get(image.id, []),
        "Size": runtime.graph.size_bytes(image),
    }
