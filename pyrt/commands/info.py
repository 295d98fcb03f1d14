# SPDX-License-Identifier: Apache-2.0
"""Show how many containers and images there are, and how pyrt is set up"""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any

import pyrt
from pyrt.commands.flags import Options
from pyrt.commands.format import Format, format_flag

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "[OPTIONS]"
MAXIMUM = 0
FLAGS = (format_flag("f"),)


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print Docker 0.1.0's three lines, then ours, in the same form."""
    facts = collect(runtime)
    if options.format:
        await session.out(Format(options.format, {name: name for name in facts}).one(facts) + "\n")
        return 0
    lines = {
        "containers": facts["Containers"],
        "version": facts["ServerVersion"],
        "images": facts["Images"],
        "running": facts["ContainersRunning"],
        "root": facts["DockerRootDir"],
        "run directory": facts["RunDir"],
        "bridge": facts["Bridge"],
        "engine": facts["Engine"],
        "daemon pid": facts["DaemonPid"],
        "cgroups": facts["CgroupVersion"],
        "kernel": facts["KernelVersion"],
        "architecture": facts["Architecture"],
        "cpus": facts["NCPU"],
        "memory": facts["MemTotal"],
    }
    await session.out("".join(f"{name}: {value}\n" for name, value in lines.items()))
    return 0


def collect(runtime: Runtime) -> dict[str, Any]:
    """The fields, by docker's names where it has them."""
    listed = [container for container in runtime.containers.values() if not container.leaving]
    running = [container for container in listed if container.state.running]
    return {
        "Containers": len(listed),
        "ContainersRunning": len(running),
        "ContainersStopped": len(listed) - len(running),
        "Images": len(runtime.graph.map()),
        "ServerVersion": pyrt.__version__,
        "DockerRootDir": str(runtime.root),
        "RunDir": str(runtime.run_dir),
        "Bridge": runtime.network.bridge_name,
        "Engine": runtime.engine,
        "DaemonPid": os.getpid(),
        "CgroupVersion": "2" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "1",
        "KernelVersion": platform.release(),
        "Architecture": platform.machine(),
        "NCPU": os.cpu_count() or 0,
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }
