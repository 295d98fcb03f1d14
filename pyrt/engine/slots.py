# SPDX-License-Identifier: Apache-2.0
"""Parked slots: everything of a container that does not depend on its image, made before anybody asks for it.

A slot is an init that waits for its plan, in its namespaces, its cgroup and its network, with /proc, /sys and /dev
made. It becomes one container and is never used again. The pool keeps some of each kind that was asked for lately; a
thread of its own makes them, so that the kernel's slow steps (namespaces take 1 ms, the mounts 0.7, a veth 0.4) hold up
neither a start nor the supervisor.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyrt.core import namespaces
from pyrt.core._namespaces import lib
from pyrt.core.namespaces import Slot, StepError
from pyrt.engine.cgroups import Cgroup, Layout, Limits
from pyrt.engine.spec import LaunchSpec
from pyrt.errors import PyrtError

FEW = 2  # what a kind that is in use keeps when nothing happens
MOST = 16  # of one kind; each is a process of 100 kB, a network namespace, and a port of the bridge
QUIET_S = 10.0  # after this long without a start a kind keeps half as many
FORGET_S = 300.0  # after this long it keeps none
PAUSE_S = 1.0  # after a failure to park
BREATH_S = 0.02  # a start that took a slot has the machine to itself until it has ended, or for so long

logger = logging.getLogger("pyrt.supervisor")


@dataclass(frozen=True, slots=True)
class Kind:
    """What is decided before a container's plan; only a slot of the same kind fits. bridge_index 0: no bridge."""

    network: str = "bridge"
    bridge_index: int = 0
    mtu: int = 0
    privileged: bool = False

    @classmethod
    def of(cls, spec: LaunchSpec) -> Kind:
        network = spec.network
        return cls(network.mode, network.bridge_index, network.mtu, spec.privileged)


class Parked:
    """A slot with its cgroup, whose name is also that of the veth's host side (`link_name`). Owns both until used."""

    def __init__(self, kind: Kind, name: str, slot: Slot, cgroup: Cgroup, *, spare: bool) -> None:
        self.kind = kind
        self.name = name
        self.slot = slot
        self.cgroup = cgroup
        self.spare = spare  # its group has no limits yet
        self.port_fd = -1  # a file of the veth as a port of the bridge it was born on: it goes when it leaves that
        self.mounts_fd = -1  # its mount namespace: see Launch

    def usable(self) -> bool:
        """Whether its process lives, and its network still hangs on the bridge."""
        poll = select.poll()
        poll.register(self.slot.pidfd, select.POLLIN)
        if poll.poll(0):
            return False
        if self.kind.network != "bridge":
            return True
        try:
            return self.port_fd >= 0 and bool(os.pread(self.port_fd, 16, 0))
        except OSError:  # ENODEV
            return False

    def watch_port(self) -> None:
        """Keep an eye on the veth; where /sys shows another network namespace than ours there is nothing to see."""
        with contextlib.suppress(FileNotFoundError):
            self.port_fd = os.open(f"/sys/class/net/{link_name(self.name)}/brport/port_no", os.O_RDONLY | os.O_CLOEXEC)

    def use(self) -> Slot:
        """Hand out the process; the group and the mount namespace go their own way. Nothing of this is to be closed
        then."""
        self._forget_port()
        return self.slot

    def hold_mounts(self) -> None:
        """Keep its mount namespace beyond its end."""
        with contextlib.suppress(FileNotFoundError):  # it has ended already
            self.mounts_fd = os.open(f"/proc/{self.slot.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    def _forget_port(self) -> None:
        if self.port_fd >= 0:
            os.close(self.port_fd)
            self.port_fd = -1

    def close(self) -> None:
        """End the process, and remove the group; waits for both."""
        self._forget_port()
        self.slot.close()
        if self.mounts_fd >= 0:
            os.close(self.mounts_fd)
            self.mounts_fd = -1
        self.cgroup.remove()


def slot_name() -> str:
    """Return a new name. Not the container's id: one that is started again would meet what is left of its last run."""
    return secrets.token_hex(8)


def link_name(slot_name: str) -> str:
    """Return the name of a slot's veth on the host: 15 characters, the most the kernel takes."""
    return f"pyrt{slot_name[:11]}"


def park(layout: Layout, kind: Kind, name: str, limits: Limits | None = None) -> Parked:
    """Make a slot; with `limits` its groups have these, without they are ready to get any.

    The process dies with the calling thread. Raises StepError, PyrtError; nothing is left then.
    """
    confined = not kind.privileged
    if limits is None:
        cgroup = Cgroup.create(layout, name, confine_devices=confined, spare=True)
    else:
        cgroup = Cgroup.create(layout, name, limits, confine_devices=confined)
    try:
        slot = _clone(layout, kind, cgroup)
    except BaseException:
        cgroup.remove()
        raise
    parked = Parked(kind, name, slot, cgroup, spare=limits is None)
    try:
        parked.hold_mounts()
        if kind.network == "bridge":
            _plumb(kind, name, slot.pid)
            parked.watch_port()
    except BaseException:
        parked.close()
        raise
    return parked


def _clone(layout: Layout, kind: Kind, cgroup: Cgroup) -> Slot:
    """Clone the init into its group of v2. On v1 nothing can be born in a group: it enters those by itself."""
    wanted = namespaces.HOST_NETWORK if kind.network == "host" else namespaces.ALL
    group_fd = cgroup.group_fd()
    try:
        return namespaces.prepare(
            wanted,
            privileged=kind.privileged,
            show_cgroup=bool(layout.on_v2),
            cgroup_fd=-1 if group_fd is None else group_fd,
            groups=cgroup.entrances(born=group_fd is not None),
        )
    finally:
        if group_fd is not None:
            os.close(group_fd)


def _plumb(kind: Kind, name: str, pid: int) -> None:
    """Make the veth pair, its far end born inside the container. It goes by itself with the container's namespace."""
    netns_fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        link = link_name(name)
        ret = lib.pyrt_veth_create(link.encode(), kind.bridge_index, netns_fd, b"eth0", kind.mtu)
    finally:
        os.close(netns_fd)
    if ret < 0:
        raise StepError("network", -ret, f"make the link {link}")


class _Shelf:
    """The slots of one kind, and how many there should be."""

    def __init__(self) -> None:
        self.parked: list[Parked] = []
        self.wanted = FEW
        self.taken_at = time.monotonic()

    def age(self, now: float) -> None:
        """Want fewer the longer nobody came."""
        quiet_s = now - self.taken_at
        if quiet_s > FORGET_S:
            self.wanted = 0
        elif quiet_s > QUIET_S:
            self.wanted = max(FEW, self.wanted >> int(quiet_s / QUIET_S))


class SlotPool:
    """Keeps slots parked ahead of demand. `take` and `close` belong to one thread; the pool has another of its own.

    `most` bounds the slots of one kind. Demand is what was taken: a kind starts with a few, has twice as many each time
    it ran out, and half as many after each QUIET_S without a start. None is made while `room` says that there is none.
    `later(seconds, call)` is a timer of the thread that takes: the pool's own is not even woken while a start that took
    a slot is on its way.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        most: int = MOST,
        room: Callable[[], bool] = lambda: True,
        make: Callable[..., Parked] = park,
        later: Callable[[float, Callable[[], None]], object] | None = None,
    ) -> None:
        self._layout = layout
        self._most = most
        self._room = room
        self._make = make
        self._later = later
        self._waking = False
        self._shelves: dict[Kind, _Shelf] = {}
        self._spent: list[Parked] = []  # to be closed by the thread
        self._changed = threading.Condition()
        self._closed = False
        self._not_before = 0.0
        self._failing = False
        # The slots' processes die with the thread that made them, containers by then: it lives as long as the process.
        self._thread = threading.Thread(target=self._run, name="parking", daemon=True)
        self._thread.start()

    def take(self, kind: Kind) -> Parked | None:
        """Hand out a slot, now the caller's; None when there is none. Makes more of the kind wanted, either way."""
        with self._changed:
            shelf = self._shelves.setdefault(kind, _Shelf())
            shelf.taken_at = time.monotonic()
            parked = None
            while shelf.parked and parked is None:
                oldest = shelf.parked.pop(0)  # the longest parked is the surest to be ready
                if oldest.usable():
                    parked = oldest
                else:
                    self._spent.append(oldest)
            if not self._failing:  # without any the next start would have to make one for itself
                self._not_before = shelf.taken_at + BREATH_S if shelf.parked else 0.0
            if not shelf.parked:
                shelf.wanted = min(self._most, max(FEW, 2 * shelf.wanted))
            if parked is None or self._later is None:
                self._changed.notify()
            elif not self._waking:
                self._waking = True
                self._later(BREATH_S, self._wake)
            return parked

    def _wake(self) -> None:
        with self._changed:
            self._waking = False
            self._changed.notify()

    def go_on(self) -> None:
        """A container has ended: nobody is held up by what is made now."""
        with self._changed:
            if self._not_before > time.monotonic() and not self._failing:
                self._not_before = 0.0
                self._changed.notify()

    @property
    def parked(self) -> int:
        """How many slots there are."""
        with self._changed:
            return sum(len(shelf.parked) for shelf in self._shelves.values())

    def close(self) -> None:
        """End every slot and the thread; waits for both. Containers of it must have ended."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(self._thread.name)  # for ps and strace
        while True:
            with self._changed:
                kind, surplus = self._next()
                if kind is None and not surplus:
                    if self._closed:
                        return
                    self._changed.wait(self._rest())
                    continue
            for parked in surplus:
                self._retire(parked)
            if kind is not None:
                self._park(kind)

    def _next(self) -> tuple[Kind | None, list[Parked]]:
        """Decide what to do: a kind to park one more of, and what to give up."""
        now = time.monotonic()
        surplus, self._spent = self._spent, []
        wanting = None
        for kind, shelf in list(self._shelves.items()):
            shelf.age(now)
            wanted = 0 if self._closed else shelf.wanted
            useless = [parked for parked in shelf.parked if not parked.usable()]
            if useless and len(useless) == len(shelf.parked):  # the bridge is another one now: nothing fits any more
                wanted = shelf.wanted = 0
            surplus += useless
            shelf.parked = [parked for parked in shelf.parked if parked not in useless]
            while len(shelf.parked) > wanted:
                surplus.append(shelf.parked.pop())
            if len(shelf.parked) < wanted and (wanting is None or not shelf.parked) and self._room():
                wanting = kind
            if wanted == 0 and not shelf.parked:
                del self._shelves[kind]
        return (wanting if now >= self._not_before else None), surplus

    def _rest(self) -> float | None:
        """How long there is nothing to do, in seconds; None: until something is taken."""
        if any(len(shelf.parked) < shelf.wanted for shelf in self._shelves.values()):
            return max(0.0001, self._not_before - time.monotonic()) if self._room() else PAUSE_S
        return QUIET_S / 2 if self._shelves else None

    def _park(self, kind: Kind) -> None:
        try:
            parked = self._make(self._layout, kind, slot_name())
        except (OSError, PyrtError) as error:  # starts try for themselves, and say what is wrong
            logger.warning("cannot prepare containers ahead: %s", error)
            with self._changed:
                self._failing = True
                self._not_before = time.monotonic() + PAUSE_S
                if (shelf := self._shelves.get(kind)) is not None:
                    shelf.wanted = len(shelf.parked)
            return
        with self._changed:
            self._failing = False
            shelf = self._shelves.get(kind)
            if shelf is not None and not self._closed:
                shelf.parked.append(parked)
                return
        self._retire(parked)

    @staticmethod
    def _retire(parked: Parked) -> None:
        try:
            parked.close()
        except (OSError, PyrtError) as error:
            logger.error("a prepared container could not be removed: %s", error)
