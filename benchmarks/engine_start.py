# SPDX-License-Identifier: Apache-2.0
"""The one place where the start benchmark touches pyrt's engine: a container started inside this process."""

from __future__ import annotations

import atexit
import functools
import os
import select
import shutil
import socket
import time
from pathlib import Path

from benchmarks.contenders import MEMORY_BYTES, PIDS
from pyrt.engine.cgroups import Layout
from pyrt.engine.limits import Limits
from pyrt.engine.native import NativeEngine
from pyrt.engine.spec import LaunchSpec, Network, Root

CONTAINER = "b" * 64


@functools.cache
def _engine() -> NativeEngine:
    layout = Layout.detect(f"pyrt-bench{os.getpid()}")
    atexit.register(layout.remove)
    return NativeEngine(layout)


def prepare_and_go(rootfs: Path, scratch: Path, *, bridge: str = "") -> float:
    """Start /bin/true on `rootfs` in this process with nothing parked, and return seconds from begin to exec.

    The same work as floor_start: all namespaces, an overlay with its upper and work directories in `scratch`, a memory,
    cpu and pids cgroup; with `bridge` a veth on it, and an address. Nothing of the container is left on return.
    """
    engine = _engine()
    directory = scratch / "engine"
    for name in ("upper", "work"):
        (directory / name).mkdir(parents=True)
    network = Network()
    if bridge:
        network = Network("bridge", socket.if_nametoindex(bridge), "10.213.0.2", 24, "10.213.0.1")
    spec = LaunchSpec(
        id=CONTAINER,
        root=Root(str(directory), (str(rootfs),), str(directory / "upper"), str(directory / "work")),
        argv=("/bin/true",),
        env=("PATH=/bin",),
        hostname="bench",
        network=network,
        limits=Limits(memory_bytes=MEMORY_BYTES, cpus=1, pids=PIDS),
    )
    begin = time.perf_counter()
    launch = engine.begin(spec)
    while not launch.advance():
        select.select([launch], [], [])
    seconds = time.perf_counter() - begin
    launch.slot.wait()
    launch.slot.started = True
    for name in ("stdout_fd", "stderr_fd"):
        os.close(launch.take_fd(name))
    launch.slot.close()
    launch.cgroup.remove()
    shutil.rmtree(directory)
    return seconds
