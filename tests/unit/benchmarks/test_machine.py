# SPDX-License-Identifier: Apache-2.0
"""What of a machine makes its figures doubtful."""

from __future__ import annotations

import pytest

from benchmarks.machine import Machine, facts


def test_a_quiet_machine_is_not_doubted() -> None:
    assert Machine(load=0.1, processors=2).doubts() == []


@pytest.mark.parametrize(
    ("machine", "word"),
    [
        (Machine(load=1.5, processors=2), "load is 1.50 on 2"),
        (Machine(load=0, processors=2, favoured=("/sys/fs/cgroup",)), "favordynmods is on at /sys/fs/cgroup"),
        (Machine(load=0, processors=2, governors=("performance", "powersave")), "governor is powersave"),
        (Machine(load=0, processors=2, rcu_expedited=True), "rcu_expedited"),
        (Machine(load=0, processors=2, mounts=2000), "2000 mounts"),
        (Machine(load=0, processors=2, groups=2000), "2000 cgroups"),
        (Machine(load=0, processors=2, free_bytes=300 << 20), "300 MiB"),
        (Machine(load=0, processors=2, steal=0.1), "10%"),
    ],
)
def test_each_doubt_says_what_was_found(machine: Machine, word: str) -> None:
    (doubt,) = machine.doubts()
    assert word in doubt


def test_the_load_is_judged_by_the_processors() -> None:
    assert Machine(load=1.5, processors=8).doubts() == []


def test_this_machine_is_described() -> None:
    names = [line.split()[0] for line in facts()]
    assert {"kernel", "processors", "load", "governor", "favordynmods", "cgroup"} <= set(names)
