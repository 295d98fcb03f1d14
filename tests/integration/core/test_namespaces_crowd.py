# SPDX-License-Identifier: Apache-2.0
"""Many starts: without a trace, from many threads at once, while others hold the allocator and import."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrt.core import namespaces
from pyrt.core.namespaces import StepError
from tests.integration.core.conftest import base, shell
from tests.processes import open_files, processes, wait_until

pytestmark = pytest.mark.root

STARTS = 500


def traces() -> tuple[list[str], list[int], int, int]:
    """Descriptors, children, mounts, threads of this process."""
    children = [process.pid for process in processes().values() if process.parent == os.getpid()]
    mounts = len(Path("/proc/self/mountinfo").read_text().splitlines())
    return sorted(open_files("self").values()), children, mounts, len(os.listdir("/proc/self/task"))


def rss_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def start_one(plan: bytes, null: int) -> int:
    with namespaces.prepare() as slot:
        slot.start(plan, (null, null))
        return slot.wait()


def overlay_plan(rootfs: Path, directory: Path, *argv: str) -> bytes:
    for name in ("upper", "work"):
        (directory / name).mkdir(parents=True)
    options = f"lowerdir={rootfs},upperdir={directory}/upper,workdir={directory}/work,volatile"
    return bytes(base(*argv).overlay("/", options).stdio(stdin=False))


@pytest.fixture
def null() -> int:
    return os.open("/dev/null", os.O_WRONLY)


@pytest.fixture(autouse=True)
def close_null(null: int) -> object:
    yield None
    os.close(null)


def test_many_starts_leave_nothing(rootfs: Path, tmp_path: Path, null: int) -> None:
    """Good ones, ones that fail, and slots that are not used; with everything counted before and after."""
    good = bytes(base("true").rootfs(str(rootfs)).stdio(stdin=False))
    bad = bytes(base("nope").rootfs(str(rootfs)).stdio(stdin=False))

    def round_of(count: int) -> None:
        for number in range(count):
            if number % 5 == 3:
                with namespaces.prepare() as slot, pytest.raises(StepError):
                    slot.start(bad, (null, null))
            elif number % 5 == 4:
                namespaces.prepare().close()
            else:
                assert start_one(good, null) == 0

    round_of(20)
    before, memory = traces(), rss_kib()
    round_of(STARTS)
    wait_until(lambda: traces() == before, what=f"descriptors, children and mounts being again {before}")
    assert rss_kib() - memory < 4096


def test_an_overlay_again_and_again(rootfs: Path, tmp_path: Path, null: int) -> None:
    """`volatile` refuses a work directory that was not left in order: each start has its own, as containers have."""
    before = traces()
    for number in range(20):
        assert start_one(overlay_plan(rootfs, tmp_path / str(number), "touch", "/made"), null) == 0
        assert (tmp_path / str(number) / "upper" / "made").exists()
    wait_until(lambda: traces() == before, what="no mount and descriptor left")


def in_threads(count: int, work: Callable[[int], None]) -> None:
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as failure:  # told in the test's own thread
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def test_from_many_threads_while_others_allocate_and_import(rootfs: Path, null: int) -> None:
    """The clone shares memory with all of them, and a lock held by any (allocator, imports) must not matter to it."""
    plan = bytes(base("true").rootfs(str(rootfs)).stdio(stdin=False))
    before = traces()
    stop = threading.Event()
    work = [0, 0]
    modules = ("colorsys", "sndhdr", "this_module_does_not_exist", "chunk", "wave", "mailcap")[::2]

    def allocate() -> None:
        while not stop.is_set():
            blocks = [bytearray(size) for size in (64, 5000, 70_000, 300_000)]
            work[0] += len(blocks)

    def import_() -> None:
        while not stop.is_set():
            for name in modules:
                sys.modules.pop(name, None)
                try:
                    importlib.import_module(name)
                except ModuleNotFoundError:
                    pass
            work[1] += 1

    others = [threading.Thread(target=target) for target in (allocate, import_)]
    for thread in others:
        thread.start()

    def starts(number: int) -> None:
        for _ in range(10):
            assert start_one(plan, null) == 0

    try:
        in_threads(8, starts)
    finally:
        stop.set()
        for thread in others:
            thread.join()
    assert all(work), "the others have worked meanwhile"
    wait_until(lambda: traces() == before, what="nothing left")


def test_other_threads_run_while_one_waits(rootfs: Path, null: int) -> None:
    """prepare, start, report and wait all release the GIL: a wait of a second is a second of work for the others."""
    plan = bytes(shell("sleep 1").rootfs(str(rootfs)).stdio(stdin=False))
    ticks: list[float] = []
    with namespaces.prepare() as slot:
        slot.start(plan, (null, null))
        done = threading.Event()

        def tick() -> None:
            while not done.wait(0.01):
                ticks.append(time.monotonic())

        ticker = threading.Thread(target=tick)
        ticker.start()
        assert slot.wait() == 0
        done.set()
        ticker.join()
    assert len(ticks) > 10


def test_it_dies_with_the_thread_that_prepared_it(rootfs: Path, null: int) -> None:
    plan = bytes(shell("sleep 60").rootfs(str(rootfs)).stdio(stdin=False))
    slots: list[namespaces.Slot] = []

    def prepare() -> None:
        slots.append(namespaces.prepare())
        slots[0].start(plan, (null, null))

    in_threads(1, lambda number: prepare())
    assert slots[0].wait() == -9
    slots[0].close()
