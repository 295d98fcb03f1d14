# SPDX-License-Identifier: Apache-2.0
"""The pool of parked slots: how many it keeps of what, and what becomes of those that do not fit any more."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pyrt.engine import slots
from pyrt.engine.slots import FEW, Kind, SlotPool, link_name
from pyrt.engine.spec import LaunchSpec, Network, Root
from pyrt.errors import PyrtError
from tests.processes import wait_until

BRIDGE = Kind("bridge", 7, 1500)
ANOTHER = Kind("bridge", 8, 1500)


class Fake:
    """A parked slot without a process."""

    def __init__(self, kind: Kind, name: str, made_by: Factory) -> None:
        self.kind = kind
        self.name = name
        self.dead = False
        self.closed = False
        self._made_by = made_by

    def usable(self) -> bool:
        return not self.dead

    def close(self) -> None:
        assert not self.closed
        self.closed = True


class Factory:
    """Parks fakes, or fails while `broken`."""

    def __init__(self) -> None:
        self.made: list[Fake] = []
        self.broken = False
        self.attempts = 0
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, layout: Any, kind: Kind, name: str) -> Any:
        self.gate.wait(10)
        self.attempts += 1
        if self.broken:
            raise PyrtError("out of everything")
        self.made.append(Fake(kind, name, self))
        return self.made[-1]


@pytest.fixture
def factory() -> Factory:
    return Factory()


@pytest.fixture
def pool(factory: Factory) -> Iterator[SlotPool]:
    made = SlotPool(None, most=8, make=factory)  # type: ignore[arg-type]
    yield made
    factory.gate.set()
    made.close()
    assert made.parked == 0


def filled(pool: SlotPool, count: int) -> None:
    wait_until(lambda: pool.parked == count, what=f"{count} parked slots, not {pool.parked}")


def test_an_idle_pool_parks_nothing(pool: SlotPool, factory: Factory) -> None:
    assert pool.parked == 0 and not factory.made


def test_what_was_asked_for_is_there_the_next_time(pool: SlotPool, factory: Factory) -> None:
    assert pool.take(BRIDGE) is None
    wait_until(lambda: pool.parked >= FEW)
    taken: Any = pool.take(BRIDGE)
    assert taken is factory.made[0], "the oldest first: it has had the most time"
    assert pool.take(BRIDGE) is not taken, "a slot is used once"
    assert pool.take(Kind("none")) is None, "another kind does not fit"


def test_a_burst_makes_it_larger_up_to_the_bound(pool: SlotPool, factory: Factory) -> None:
    for _ in range(20):
        pool.take(BRIDGE)
    filled(pool, 8)
    factory.gate.clear()
    for _ in range(8):
        assert pool.take(BRIDGE) is not None
    assert pool.take(BRIDGE) is None, "a burst beyond it prepares for itself"


def test_quiet_makes_it_smaller(pool: SlotPool, factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(20):
        pool.take(BRIDGE)
    filled(pool, 8)
    monkeypatch.setattr(slots, "QUIET_S", 0.05)
    pool.take(Kind("none"))  # wakes it
    wait_until(lambda: pool.parked <= 2 * FEW)
    monkeypatch.setattr(slots, "FORGET_S", 0.1)
    filled(pool, 0)
    assert all(fake.closed for fake in factory.made)


def test_a_dead_slot_is_not_handed_out(pool: SlotPool, factory: Factory) -> None:
    pool.take(BRIDGE)
    wait_until(lambda: pool.parked >= FEW)
    factory.made[0].dead = True
    taken: Any = pool.take(BRIDGE)
    assert taken is factory.made[1]
    wait_until(lambda: factory.made[0].closed)


def test_a_bridge_that_has_gone_takes_its_slots_along(pool: SlotPool, factory: Factory) -> None:
    pool.take(BRIDGE)
    wait_until(lambda: pool.parked >= FEW)
    for fake in factory.made:
        fake.dead = True
    pool.take(ANOTHER)
    wait_until(lambda: all(fake.closed for fake in factory.made if fake.kind == BRIDGE))
    filled(pool, 2 * FEW)
    assert all(fake.kind == ANOTHER for fake in factory.made if not fake.closed)


def test_two_bridges_have_their_slots_side_by_side(pool: SlotPool, factory: Factory) -> None:
    """With more containers than one bridge carries, starts go to whichever has room."""
    for kind in (BRIDGE, ANOTHER):
        pool.take(kind)
    filled(pool, 4 * FEW)
    for _ in range(3):
        for kind in (BRIDGE, ANOTHER):
            assert pool.take(kind) is not None
            filled(pool, 4 * FEW)
    assert not any(fake.closed for fake in factory.made)


def test_without_room_there_are_no_more(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "PAUSE_S", 0.05)
    crowded = threading.Event()
    pool = SlotPool(None, room=lambda: not crowded.is_set(), make=factory)  # type: ignore[arg-type]
    pool.take(BRIDGE)
    filled(pool, 2 * FEW)
    crowded.set()
    for _ in range(2 * FEW):
        assert pool.take(BRIDGE) is not None, "those there are go on being used"
    assert pool.take(BRIDGE) is None and len(factory.made) == 2 * FEW
    crowded.clear()
    wait_until(lambda: pool.parked >= FEW)
    pool.close()


def test_a_failure_to_park_costs_no_slot_there_is(
    pool: SlotPool, factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "PAUSE_S", 0.05)
    for _ in range(3):
        pool.take(BRIDGE)
    wait_until(lambda: pool.parked > FEW)
    factory.broken = True
    attempts, parked = factory.attempts, pool.parked
    assert pool.take(BRIDGE) is not None
    wait_until(lambda: factory.attempts > attempts)
    assert pool.parked == parked - 1 and not any(fake.closed for fake in factory.made)


def test_a_failure_to_park_is_tried_again_only_after_a_pause(
    pool: SlotPool, factory: Factory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(slots, "PAUSE_S", 0.1)
    factory.broken = True
    assert pool.take(BRIDGE) is None
    wait_until(lambda: factory.attempts == 1)
    factory.broken = False
    assert pool.take(BRIDGE) is None
    wait_until(lambda: pool.parked >= FEW)
    assert "out of everything" in caplog.text


def test_what_is_being_parked_at_the_end_is_given_back(factory: Factory) -> None:
    pool = SlotPool(None, make=factory)  # type: ignore[arg-type]
    factory.gate.clear()
    pool.take(BRIDGE)
    closing = threading.Thread(target=pool.close)
    closing.start()
    factory.gate.set()
    closing.join(10)
    assert not closing.is_alive() and all(fake.closed for fake in factory.made)


def test_the_kind_of_a_spec() -> None:
    root = Root(directory="/l", lower=("a",), upper="/u", work="/w")

    def kind(network: Network, **more: bool) -> Kind:
        return Kind.of(LaunchSpec(id="a" * 64, root=root, argv=("x",), env=(), hostname="h", network=network, **more))  # type: ignore[arg-type]

    assert kind(Network("bridge", 7, "10.0.0.2", 16, "10.0.0.1", 1500)) == BRIDGE
    assert kind(Network("bridge", 7, "10.0.0.3", 16, "10.0.0.1", 1500)) == BRIDGE
    assert kind(Network("host")) != kind(Network("none"))
    assert kind(Network("none"), privileged=True) != kind(Network("none"))


def test_a_link_has_the_longest_name_the_kernel_takes() -> None:
    assert link_name("0123456789abcdef") == "pyrt0123456789a" and len(link_name("f" * 64)) == 15
