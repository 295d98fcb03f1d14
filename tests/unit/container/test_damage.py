# SPDX-License-Identifier: Apache-2.0
"""Files of the root damaged in any way: the daemon starts all the same, and what is damaged can be removed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyrt.commands.ps import cells
from pyrt.container.adoption import last_state
from pyrt.container.config import Config, Record
from pyrt.container.state import Status
from pyrt.container.store import ContainerStore
from pyrt.image import Graph, TagStore
from pyrt.image.image import Image

BOOT = "boot"
NETWORK = {
    "address": "172.30.0.2",
    "prefix_length": 22,
    "gateway": "172.30.0.1",
    "bridge": "pyrt0",
    "bridge_index": 7,
    "mtu": 1500,
    "mappings": [{"host_ip": "0.0.0.0", "host_port": 8080, "container_port": 80, "protocol": "tcp"}],
}
END = {"started_at": 5.5, "code": 3, "signal": None, "oom": False, "timed_out": False, "finished_at": 6.5}
HEALTHY = {"created": Status.CREATED, "exited": Status.EXITED, "lost": Status.LOST}


def make(root: Path) -> None:
    """Three containers, an image with a name, and one without."""
    for number, (name, status) in enumerate(HEALTHY.items()):
        ran = status is not Status.CREATED
        record = Record(
            id=f"{number}" * 64,
            name=name,
            created_at=1000.5 + number,
            image_id="a" * 64,
            image_name="bb",
            config=Config(image="bb", cmd=("true",), ports=("8080:80",)),
            kept=True,
            run="5e" if ran else "",
            boot_id=BOOT if ran else "",
            network=NETWORK if ran else None,
        )
        directory = root / "containers" / record.id
        (directory / "diff").mkdir(parents=True)
        (directory / "config.json").write_bytes(record.dump())
        if ran:
            (directory / "started.json").write_text(json.dumps({"run": "5e", "started_at": 5.5}))
        if status is Status.EXITED:
            (directory / "exit.json").write_text(json.dumps({"run": "5e", **END}))
    graph = Graph(root)
    named, _ = graph.register(Image.create(())), graph.register(Image.create((), comment="another"))
    TagStore(root / "tags.json", graph).set("bb", "latest", named.id)


def damage(path: Path, draw: random.Random) -> None:
    data = path.read_bytes()
    kind = draw.randrange(7)
    if kind == 0:
        path.write_bytes(data[: draw.randrange(len(data))])
    elif kind == 1:
        flipped = bytearray(data)
        for _ in range(draw.randrange(1, 4)):
            flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
    elif kind == 2:
        path.write_bytes(draw.choice([b"", b"\0" * len(data), os.urandom(200), b"[" * 100_000, b"9" * 5000]))
    elif kind == 3:
        path.unlink()
        path.mkdir()
        (path / "file").touch()
    elif kind == 4:
        path.write_text(
            draw.choice(["null", "[]", "{}", '"x"', '{"Repositories": 7}', '{"run": "5e"}', "1e999", "NaN"])
        )
    elif kind == 5:
        path.unlink()
        path.symlink_to(draw.choice(["/nonexistent", path.name, "/dev/null", "."]))
    else:  # one value is another, of a type that may even be right
        tree: Any = json.loads(data)
        at = tree
        while True:
            key = draw.choice(list(at) if isinstance(at, dict) else range(len(at)))
            if not (isinstance(at[key], (dict, list)) and at[key] and draw.random() < 0.8):
                break
            at = at[key]
        at[key] = draw.choice([None, True, -1, 10**400, float("nan"), 1e300, "x", "\ud800", "", [], [[]], {}, {"x": 1}])
        path.write_text(json.dumps(tree))


class Books:
    """What a daemon makes of a root when it starts, as far as no supervisor and no network is wanted for it."""

    def __init__(self, root: Path) -> None:
        self.graph = Graph(root)
        self.tags = TagStore(root / "tags.json", self.graph)
        self.store = ContainerStore(root)
        self.store.load()
        for container in self.store.by_id.values():
            if not container.damaged:
                container.state = last_state(container.directory, container.record, BOOT) or container.state

    def shown(self) -> dict[str, str]:
        """STATUS by id as `ps -a` has it; and nothing else that lists them fails either."""
        rows = {container.id: cells(container, time.time(), 64, truncate=False) for container in self.store.list()}
        assert all(isinstance(cell, str) for row in rows.values() for cell in row)
        self.tags.by_id()
        self.graph.heads()
        return {id: row[4] for id, row in rows.items()}


@pytest.mark.parametrize("seed", range(150))
def test_any_file_damaged_in_any_way(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    make(tmp_path)
    files = [path for path in tmp_path.rglob("*.json") if path.is_file()]
    victim = draw.choice(sorted(files))
    damage(victim, draw)
    books = Books(tmp_path)
    shown = books.shown()
    # Others are as they were.
    for number, status in enumerate(HEALTHY.values()):
        if f"{number}" * 64 not in victim.parts:
            expected = "Exit 3" if status is Status.EXITED else status.value.capitalize()
            assert shown[f"{number}" * 64] == expected
    if victim.parent.parent.name == "containers":
        id = victim.parent.name
        assert (id in shown) and (victim.parent / "diff").is_dir(), "its files are kept"
        asyncio.run(remove(books, id))
        assert id not in Books(tmp_path).shown() and not (tmp_path / "containers" / id).exists()
    elif victim.parent.name == "images":
        assert victim.stem in books.graph.damaged and len(books.graph.map()) == 1
        books.tags.delete_all(victim.stem)
        books.graph.delete(victim.stem)
        assert Books(tmp_path).graph.damaged == {}
    else:
        books.tags.set("again", "latest", next(iter(books.graph.map())))
        assert Books(tmp_path).tags.get("again") and not Books(tmp_path).tags.damaged


async def remove(books: Books, id: str) -> None:
    await books.store.discard(books.store.get(id))
    await books.store.removals(10)


def test_a_container_whose_making_was_interrupted_is_none(tmp_path: Path) -> None:
    directory = tmp_path / "containers" / ("5" * 64)
    (directory / "diff").mkdir(parents=True)
    assert Books(tmp_path).shown() == {} and not directory.exists()


def test_one_that_has_run_and_lost_its_record_is_damaged(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "containers" / ("1" * 64) / "config.json").unlink()
    assert Books(tmp_path).shown()["1" * 64] == "Damaged"


@pytest.mark.parametrize(
    ("run", "kept", "boot", "started", "ended", "expected"),
    [
        ("", True, "", "", "", Status.CREATED),
        ("b", False, BOOT, "", "", None),  # `run`, killed before its program ran
        ("b", True, BOOT, "", "", Status.CREATED),  # the first start of a created one never began
        ("b", True, "other", "", "", Status.LOST),  # it may have, and the host was rebooted
        ("b", False, "other", "", "", Status.LOST),
        ("b", True, BOOT, "a", "a", Status.EXITED),  # the second start never began
        ("b", True, BOOT, "a", "", Status.LOST),
        ("b", True, BOOT, "b", "a", Status.LOST),  # an earlier run's end is not this one's
        ("b", True, "other", "a", "a", Status.LOST),
        ("b", True, BOOT, "b", "b", Status.EXITED),
        ("b", True, "other", "b", "b", Status.EXITED),
        ("b", True, BOOT, "", "b", Status.EXITED),  # on a full disk its beginning could not be written
    ],
)
def test_what_became_of_it(
    tmp_path: Path, run: str, kept: bool, boot: str, started: str, ended: str, expected: Status | None
) -> None:
    """Every moment at which daemon, supervisor or host can have gone."""
    if started:
        (tmp_path / "started.json").write_text(json.dumps({"run": started, "started_at": 1.5}))
    if ended:
        (tmp_path / "exit.json").write_text(json.dumps({"run": ended, **END}))
    record: Any = SimpleNamespace(run=run, kept=kept, boot_id=boot)
    state = last_state(tmp_path, record, BOOT)
    assert (state.status if state else None) is expected
    if expected is Status.LOST:
        assert state and state.reason == ("the host was rebooted" if boot == "other" else "the supervisor ended")
    shutil.rmtree(tmp_path)
