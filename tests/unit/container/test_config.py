# SPDX-License-Identifier: Apache-2.0
"""config.json: what was written comes back, and damage of any kind is one kind of error."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrt.container.config import Config, Record
from pyrt.engine.limits import Limits
from pyrt.engine.spec import Volume
from pyrt.errors import PyrtError

CONFIG = Config(
    image="bb",
    cmd=("sh", "-c", "echo \udcff ü"),
    env=("A=1", "B="),
    ports=("8080:80",),
    volumes=(Volume("/srv", "/data", True), Volume("/etc/passwd", "/p")),
    limits=Limits(memory_bytes=1 << 20, cpus=0.5, pids=7),
    cap_add=("NET_ADMIN",),
    tty=True,
    timeout_s=1.5,
    seccomp="{}",
)
RECORD = Record(
    id="a" * 64,
    name="web",
    created_at=1.25,
    run="5e",
    boot_id="b",
    image_id="c" * 64,
    image_name="bb",
    config=CONFIG,
    network={"address": "10.0.0.2", "mappings": []},
)


def test_round_trip() -> None:
    assert Record.load(RECORD.dump()) == RECORD
    assert Record.load(RECORD.dump()).dump() == RECORD.dump()


@given(
    st.builds(
        Config,
        image=st.text(),
        cmd=st.lists(st.text(st.characters(codec=None), max_size=9), max_size=4).map(tuple),
        env=st.lists(st.text(max_size=9), max_size=4).map(tuple),
        timeout_s=st.floats(0, 1e9) | st.integers(0, 10**9),
        readonly=st.booleans(),
    )
)
@settings(max_examples=60, deadline=None)
def test_round_trip_of_anything(config: Config) -> None:
    record = Record(id="i", name="", created_at=0.0, image_id="", image_name="", config=config)
    assert Record.load(record.dump()) == record


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe\0", b"null", b"7", b'"x"', b"[]", b"{}", b"[" * 100_000, b"9" * 9999]
)
def test_what_is_no_record(data: bytes) -> None:
    with pytest.raises(PyrtError):
        Record.load(data)


def test_another_schema_is_named() -> None:
    with pytest.raises(PyrtError, match="has schema 9, and this pyrt knows 2"):
        Record.load(json.dumps({"schema": 9}).encode())


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += paths(item, (*at, key))
    return found


TREE = json.loads(RECORD.dump())
ODD: list[Any] = [
    None,
    True,
    -1,
    10**400,
    float("nan"),
    0.5,
    "x",
    "",
    [],
    [1],
    {},
    {"x": 1},
    [[[]]],
    "__delete__",
    "__add__",
]


@pytest.mark.parametrize("path", paths(TREE), ids=str)
def test_every_part_damaged_in_every_way(path: tuple[Any, ...]) -> None:
    for odd in ODD:
        tree = copy.deepcopy(TREE)
        parent = tree
        for key in path[:-1]:
            parent = parent[key]
        if odd == "__delete__":
            del parent[path[-1]]
        elif odd == "__add__":
            parent[path[-1]] = {"surplus": 1}
        else:
            parent[path[-1]] = odd
        try:
            record = Record.load(json.dumps(tree).encode())
        except PyrtError:
            continue
        # What is accepted is of the right types: every command can show it.
        assert record.dump() and " ".join((*record.config.cmd, *record.config.env, record.name, record.config.user))
        assert all(volume.source + volume.target for volume in record.config.volumes if volume.source)


def test_torn_and_flipped_bytes() -> None:
    data, draw = RECORD.dump(), random.Random(20130326)
    for _ in range(2000):
        damaged = bytearray(data[: draw.randrange(len(data))] if draw.random() < 0.3 else data)
        for _ in range(draw.randrange(4)):
            if damaged:
                damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        try:
            Record.load(bytes(damaged))
        except PyrtError:
            pass
