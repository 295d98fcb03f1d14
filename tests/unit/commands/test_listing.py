# SPDX-License-Identifier: Apache-2.0
"""--format and --filter, tag and history: what is listed and in which form."""

from __future__ import annotations

import asyncio
import json
import re
from types import ModuleType
from typing import Any

import pytest

from pyrt.commands import flags, history, images, tag
from pyrt.commands.filters import matching, parse_filters
from pyrt.commands.format import Format
from pyrt.commands.sizes import binary_size, decimal_size
from pyrt.errors import ConflictError, NotFoundError, UsageError
from pyrt.image import Graph, TagStore
from tests.unit.commands.test_image_commands import FakeSession, made_up
from tests.unit.image.conftest import fake_unpack

FIELDS = {"ID": "ID", "Names": "NAMES"}
ROWS = [{"ID": "1", "Names": "web"}, {"ID": "23456789", "Names": "a long name"}]


@pytest.fixture
def runtime(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("pyrt.image.layers.unpack", fake_unpack)
    graph = Graph(tmp_path)
    return made_up(tmp_path, graph, TagStore(tmp_path / "tags.json", graph))


def call(runtime: Any, command: ModuleType, *words: str) -> str:
    async def go() -> str:
        session = FakeSession()
        options, arguments = flags.parse(command.__name__, command.FLAGS, words)
        assert await command.run(session, runtime, options, arguments) == 0
        return session.stdout

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("{{.Names}}", "web\na long name\n"),
        ("json", '{"ID":"1","Names":"web"}\n{"ID":"23456789","Names":"a long name"}\n'),
        ("{{json .}}", '{"ID":"1","Names":"web"}\n{"ID":"23456789","Names":"a long name"}\n'),
        (r"table {{.ID}}\t{{upper .Names}}", "ID         NAMES\n1          WEB\n23456789   A LONG NAME\n"),
        ("table {{.Names}}", "NAMES\nweb\na long name\n"),
        ("table {{json .Names}}", 'NAMES\n"web"\n"a long name"\n'),
        ("table", "ID         NAMES\n1          web\n23456789   a long name\n"),
        (r'table {{.ID}}{{if eq .ID "1"}}\t{{.Names}}{{end}}', "ID         \n1          web\n23456789   \n"),
    ],
)  # fmt: skip
def test_format(format: str, text: str) -> None:
    assert Format(format, FIELDS).all(ROWS) == text


def test_an_empty_listing() -> None:
    assert Format("table", FIELDS).all([]) == "ID        NAMES\n"
    assert Format("json", FIELDS).all([]) == ""


def test_a_field_there_is_not_is_told_even_without_a_row() -> None:
    with pytest.raises(UsageError, match=r"no field \.Name; there are \.ID \.Names"):
        Format("{{.Name}}", FIELDS)


def test_costly_fields_are_known_to_be_used() -> None:
    assert Format("{{.ID}}", FIELDS).uses("ID") and not Format("{{.ID}}", FIELDS).uses("Names")
    assert not Format("json", FIELDS).uses("ID")


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("color=red", "there is no such filter; there are id, name"),
        ("id", "expected id=VALUE"),
        ("id=", "expected id=VALUE"),
    ],
)
def test_filters_that_are_wrong(word: str, text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(text)):
        parse_filters([word], ("id", "name"))


def test_filters_of_one_key_add_up_and_of_several_narrow() -> None:
    assert parse_filters(["id=1", "name=a=b", "ID=2"], ("id", "name")) == {"id": ["1", "2"], "name": ["a=b"]}
    small, even, odd = (lambda n: n < 5), (lambda n: n % 2 == 0), (lambda n: n % 2 == 1)
    assert matching(range(10), {"size": [small], "parity": [even, odd]}) == [0, 1, 2, 3, 4]
    assert matching(range(10), {"size": [small], "parity": [odd]}) == [1, 3]


@pytest.mark.parametrize(
    ("size", "decimal", "binary"),
    [
        (0, "0B", "0B"),
        (999, "999B", "999B"),
        (4096, "4.1kB", "4KiB"),
        (1234567, "1.23MB", "1.18MiB"),
        (5e11, "500GB", "466GiB"),
    ],
)
def test_sizes(size: float, decimal: str, binary: str) -> None:
    assert decimal_size(size) == decimal
    assert binary_size(size) == binary


def test_tag(runtime: Any) -> None:
    one, two = runtime.graph.create([b"one"]), runtime.graph.create([b"two"])
    assert call(runtime, tag, one.id[:12], "base") == ""
    call(runtime, tag, "base", "other", "v1")
    call(runtime, tag, "other:v1", "dir/third:v2")
    call(runtime, tag, "base", "base")
    assert runtime.tags.by_id()[one.id] == ["base:latest", "dir/third:v2", "other:v1"]
    assert [(event.verb, event.name) for event in runtime.events.since(0)][:2] == [
        ("tag", "base:latest"),
        ("tag", "other:v1"),
    ]
    with pytest.raises(ConflictError, match="base:latest is image .* already; use -f"):
        call(runtime, tag, two.id, "base")
    assert runtime.tags.lookup_image("base") == one, "without -f nothing is overwritten"
    call(runtime, tag, "-f", two.id, "base")
    assert runtime.tags.lookup_image("base") == two


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        (["nosuch", "x"], NotFoundError, "No such image: nosuch"),
        (["base", "a:b", "c"], UsageError, "Illegal repository name: a:b"),
        (["base", "a", "b/c"], UsageError, "Illegal tag name: b/c"),
        (["base", "a:"], UsageError, "Illegal tag name: "),
        (["base", "host"], ConflictError, "'host' belongs to"),
    ],
)
def test_tag_refuses(runtime: Any, words: list[str], error: type[Exception], text: str) -> None:
    runtime.tags.set("base", "latest", runtime.graph.create([b"base"]).id)
    with pytest.raises(error, match=text):
        call(runtime, tag, *words)
    assert list(runtime.tags.repositories) == ["base", "host"]


def test_an_image_of_several_names_is_always_shown_under_the_first(runtime: Any) -> None:
    base = runtime.graph.create([b"base"])
    for name in ("zz", "mm", "aa"):
        call(runtime, tag, base.id, name)
    runtime.graph.create([b"child"], parent=base)
    assert {call(runtime, images).splitlines()[-1].split()[-1] for _ in range(5)} == {"aa:latest"}


def test_history(runtime: Any) -> None:
    base = runtime.graph.create([b"base"], created_by="pyrt import", comment="first")
    middle = runtime.graph.create([b"middle"], parent=base, created_by="touch x")
    top = runtime.graph.create([b"top"], parent=middle, created_by="sh -c y")
    heading, *lines = call(runtime, history, top.id[:16]).splitlines()
    assert re.split(r" {2,}", heading) == ["ID", "CREATED", "CREATED BY"] and heading.index("CREATED") == 20
    assert [line.split()[0] for line in lines] == [top.id[:16], middle.id[:16], base.id[:16]]
    assert [line[45:] for line in lines] == ["sh -c y", "touch x", "pyrt import"]
    assert call(runtime, history, "-q", "--no-trunc", top.id) == f"{top.id}\n{middle.id}\n{base.id}\n"
    assert call(runtime, history, "--format", "{{.ID}} {{.Comment}}", base.id) == f"{base.id[:16]} first\n"
    runtime.graph.delete(middle.id)
    assert call(runtime, history, "-q", top.id) == f"{top.id[:16]}\n<missing>\n<missing>\n"
    assert call(runtime, history, "host").splitlines()[1].split()[1] == "-"


def test_images_with_filters_and_formats(runtime: Any) -> None:
    base = runtime.graph.create([b"base"])
    other = runtime.graph.create([b"other"], parent=base)
    runtime.tags.set("base", "v1", base.id)
    form = ("--format", "{{.Repository}}:{{.Tag}}")
    assert call(runtime, images, *form) == "base:v1\nhost:latest\n<none>:<none>\n"
    assert call(runtime, images, *form, "-f", "dangling=true") == "<none>:<none>\n"
    assert call(runtime, images, *form, "-f", "dangling=false", "-f", "reference=b*") == "base:v1\n"
    assert call(runtime, images, *form, "-f", "reference=*:latest") == "host:latest\n"
    assert call(runtime, images, "-q", "-f", "since=base:v1") == f"{other.id[:16]}\n"
    assert call(runtime, images, "-q", "-f", f"before={other.id}") == f"{base.id[:16]}\n" + call(
        runtime, images, "-q", "host"
    )
    row = json.loads(call(runtime, images, "--no-trunc", "--format", "json", "base"))
    assert row["ID"] == base.id and row["Size"] and row["Digest"] == f"sha256:{base.id}"
    with pytest.raises(UsageError, match="no such filter; there are dangling, reference, before, since"):
        call(runtime, images, "-f", "label=x")
