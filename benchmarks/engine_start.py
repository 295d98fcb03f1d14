# SPDX-License-Identifier: Apache-2.0
"""The one place where the benchmarks touch pyrt's engine and core: containers started inside this process.

Both do the work of floor_start: all namespaces, an overlay with its upper and work directories in `scratch`, the same
capabilities and seccomp program; the engine also the cgroups, and with `bridge` a veth on it and an address. What is
measured is begin to exec; nothing of the container is left on return.
"""

from __future__ import annotations

import atexit
import functools
import os
import select
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bundle import MEMORY_BYTES, PIDS
from benchmarks.interleave import Sample
from pyrt.core import namespaces
from pyrt.core.namespaces import Plan, Slot
from pyrt.engine import capabilities, overlay, slots
from pyrt.engine.cgroups import Layout
from pyrt.engine.limits import Limits
from pyrt.engine.native import NativeEngine
from pyrt.engine.slots import Kind, Parked, SlotPool, park
from pyrt.engine.spec import LaunchSpec, Network, Root

CONTAINER = "b" * 64
CAPABILITIES = capabilities.mask(capabilities.DEFAULT)
ENV = ("HOME=/", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
PARKING_S = 5.0


@functools.cache
def _layout() -> Layout:
    layout = Layout.detect(f"pyrt-bench{os.getpid()}")
    atexit.register(layout.remove)
    return layout


@contextmanager
def engine(rootfs: Path, scratch: Path, seccomp: Path, *, bridge: str = "", parked: bool = False) -> Iterator[Sample]:
    """A native engine of its own; `parked`: with slots ahead, of which each sample finds one."""
    timers: list[Callable[[], None]] = []
    pool = SlotPool(_layout(), make=_park, later=lambda _, call: timers.append(call)) if parked else None
    engine = NativeEngine(_layout(), pool=pool)
    network = Network()
    if bridge:
        network = Network("bridge", socket.if_nametoindex(bridge), "10.213.0.2", 24, "10.213.0.1")
    spec = LaunchSpec(
        id=CONTAINER,
        root=_root(rootfs, scratch),
        argv=("/bin/true",),
        env=ENV,
        hostname="bench",
        network=network,
        limits=Limits(memory_bytes=MEMORY_BYTES, cpus=1, pids=PIDS),
        capabilities=CAPABILITIES,
        seccomp_path=str(seccomp),
    )

    def sample() -> float:
        seconds = _start(engine, spec)
        if pool is not None:  # the first start has told it what is wanted
            while timers:  # as the supervisor's loop has it, which is not gone back to before
                timers.pop()()
            _wait_parked(pool)
        return seconds

    try:
        yield sample
    finally:
        engine.close()


def _park(layout: Layout, kind: Kind, name: str) -> Parked:
    """A slot that says of itself that it is parked, as the floor's does: the pool else counts it from its clone on."""
    made = park(layout, kind, name)
    select.select([made.slot.socket_fd], [], [])
    return made


def _wait_parked(pool: SlotPool) -> None:
    """Wait until the pool is full again: nothing of it is to run while a sample is taken, this one or another's."""
    deadline = time.monotonic() + PARKING_S
    while pool.parked < slots.FEW:
        assert time.monotonic() < deadline, "nothing is parked"
        time.sleep(0.001)


def _start(engine: NativeEngine, spec: LaunchSpec) -> float:
    begin = time.perf_counter()
    _make_directories(spec.root)
    launch = engine.begin(spec)
    launch.let_go()
    poll = select.poll()
    poll.register(launch, 0)  # as the supervisor's loop has it: see Launch.at_end_only
    while not launch.advance():
        poll.poll()
    seconds = time.perf_counter() - begin
    launch.slot.wait()
    launch.slot.started = True
    for name in ("stdout_fd", "stderr_fd"):
        os.close(launch.take_fd(name))
    launch.close()  # which has the pool go on
    launch.cgroup.remove()
    _remove_directories(spec.root)
    return seconds


@contextmanager
def core(rootfs: Path, scratch: Path, seccomp: Path, *, parked: bool = False) -> Iterator[Sample]:
    """`pyrt.core` alone, as docs/core.md shows it: no cgroup, no network but lo."""
    root = _root(rootfs, scratch)
    program = seccomp.read_bytes()
    waiting = [_parked_slot()] if parked else []
    null_fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    def sample() -> float:
        if parked:
            slot = waiting.pop()
        begin = time.perf_counter()
        _make_directories(root)
        if not parked:
            slot = namespaces.prepare()
        plan = Plan().hostname("bench").overlay(root.directory, overlay.start_options(root)).stdio(stdin=False)
        plan.argv(["/bin/true"]).env(ENV).capabilities(CAPABILITIES).seccomp(program)
        with slot:
            slot.start(plan, fds=(null_fd, null_fd))
            seconds = time.perf_counter() - begin
            slot.wait()
        _remove_directories(root)
        if parked:
            waiting.append(_parked_slot())
        return seconds

    try:
        yield sample
    finally:
        os.close(null_fd)
        for slot in waiting:
            slot.close()


def _parked_slot() -> Slot:
    slot = namespaces.prepare()
    select.select([slot.socket_fd], [], [])
    return slot


def _root(rootfs: Path, scratch: Path) -> Root:
    return Root(str(scratch), (str(rootfs),), str(scratch / "upper"), str(scratch / "work"))


def _make_directories(root: Root) -> None:
    os.mkdir(root.upper)
    os.mkdir(root.work)


def _remove_directories(root: Root) -> None:
    shutil.rmtree(root.upper)
    shutil.rmtree(root.work)
