# SPDX-License-Identifier: Apache-2.0
"""import, images and rmi with a session made up for it."""

from __future__ import annotations

import asyncio
import http.server
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pyrt.commands import flags, images, import_, rmi
from pyrt.commands.duration import human_duration
from pyrt.commands.table import table
from pyrt.container.events import Events
from pyrt.errors import ConflictError, ImageError, NotFoundError, PyrtError, UsageError
from pyrt.image import Graph, TagStore
from tests.unit.image.conftest import fake_unpack


class FakeSession:
    """What the commands use of a session. `files` are the client's."""

    raw = False

    def __init__(self, files: dict[str, list[bytes]] | None = None) -> None:
        self.tty = (False, False, False)
        self.files = files or {}
        self.stdout = self.stderr = ""
        self.waiting = asyncio.Event()

    async def out(self, text: str) -> None:
        self.stdout += text

    async def err(self, text: str) -> None:
        self.stderr += text

    async def notice(self, text: str) -> None:
        self.stderr += text + "\n"

    async def open(self, path: str) -> AsyncIterator[bytes]:
        if path not in self.files:
            raise PyrtError(f"open {path}: no such file or directory")
        for piece in self.files[path]:
            if piece == b"wait":
                self.waiting.set()
                await asyncio.sleep(60)
            yield piece


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("pyrt.image.layers.unpack", fake_unpack)
    graph = Graph(tmp_path)
    tags = TagStore(tmp_path / "tags.json", graph)
    return made_up(tmp_path, graph, tags)


def made_up(root: Path, graph: Graph, tags: TagStore) -> Any:
    return SimpleNamespace(
        root=root, graph=graph, tags=tags, containers={}, departures=nothing_departs, events=Events()
    )


async def nothing_departs() -> None:
    pass


def call(runtime: Any, command: ModuleType, *words: str, files: dict[str, list[bytes]] | None = None) -> FakeSession:
    async def go() -> FakeSession:
        session = FakeSession(files)
        options, arguments = flags.parse(command.__name__, command.FLAGS, words)
        assert await command.run(session, runtime, options, arguments) == 0
        return session

    return asyncio.run(go())


def is_empty(root: Path) -> bool:
    return not any(os.listdir(root / name) for name in ("tmp", "layers", "images"))


def test_import_prints_the_id_and_names_the_image(runtime: Any) -> None:
    files = {"-": [b"a", b"b" * 100_000]}
    session = call(runtime, import_, "-", "base", files=files)
    image = runtime.tags.lookup_image("base")
    assert session.stdout == f"{image.id}\n"
    assert (runtime.graph.lower_dirs(image)[0] / "content").read_bytes() == b"a" + b"b" * 100_000
    call(runtime, import_, "--comment", "mine", "-", "base", "v2", files=files)
    assert runtime.tags.lookup_image("base:v2").comment == "mine"
    assert runtime.tags.lookup_image("base") == image
    call(runtime, import_, "-", files=files)
    assert len(runtime.graph.map()) == 3


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        (["missing"], PyrtError, "no such file"),
        (["bad"], ImageError, "not a tar archive"),
        (["-", "a:b"], UsageError, "Illegal repository name: a:b"),
        (["-", "a", "b/c"], UsageError, "Illegal tag name: b/c"),
        (["-", "host"], ConflictError, "'host' belongs to"),
        (["ftp://example.org/x"], UsageError, "only http"),
        (["file:///etc/passwd"], UsageError, "only http"),
        (["http://"], UsageError, "only http"),
        (["http://127.0.0.1:1/x"], ImageError, "cannot be fetched: .*refused"),
    ],
)
def test_import_refuses(runtime: Any, words: list[str], error: type[PyrtError], text: str) -> None:
    with pytest.raises(error, match=text):
        call(runtime, import_, *words, files={"bad": [b"bad"], "-": [b"x"]})
    assert is_empty(runtime.root)


def test_import_whose_client_leaves(runtime: Any) -> None:
    async def go() -> None:
        session: Any = FakeSession({"-": [b"a", b"wait"]})
        options, arguments = flags.parse("import", import_.FLAGS, ["-", "base"])
        task = asyncio.ensure_future(import_.run(session, runtime, options, arguments))
        await session.waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())
    assert is_empty(runtime.root)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/loop":
            self.redirect("/loop")
        elif self.path == "/moved":
            self.redirect("/good")
        elif self.path == "/local":
            self.redirect("file:///etc/passwd")
        elif self.path in ("/good", "/short"):
            self.send_response(200)
            self.send_header("Content-Length", "10" if self.path == "/good" else "20")
            self.end_headers()
            self.wfile.write(b"0123456789")
        else:
            self.send_error(404)

    def redirect(self, where: str) -> None:
        self.send_response(302)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/good", "/moved"])
def test_import_of_a_url(runtime: Any, server: str, path: str) -> None:
    call(runtime, import_, server + path, "base")
    image = runtime.tags.lookup_image("base")
    assert (runtime.graph.lower_dirs(image)[0] / "content").read_bytes() == b"0123456789"
    assert image.comment == f"Imported from {server}{path}"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/none", "answered 404"),
        ("/loop", "answered 302"),
        ("/local", "answered 302"),
        ("/short", "ended after 10 of 20"),
    ],
)
def test_import_of_a_bad_url(runtime: Any, server: str, path: str, text: str) -> None:
    with pytest.raises(ImageError, match=text) as caught:
        call(runtime, import_, server + path, "base")
    assert "\n" not in str(caught.value)
    assert is_empty(runtime.root)


def test_images(runtime: Any) -> None:
    graph, tags = runtime.graph, runtime.tags
    base = graph.create([b"base"])
    tags.set("base", "latest", base.id)
    middle = graph.create([b"middle"], parent=base)
    top = graph.create([b"top"], parent=middle)
    lines = call(runtime, images).stdout.splitlines()
    assert lines[0].split() == ["REPOSITORY", "TAG", "ID", "CREATED", "PARENT"]
    assert lines[0].index("TAG") == 20
    assert lines[1] == f"{'base':20}{'latest':20}{base.id[:16]:20}{'Less than a second ago':25}"
    assert lines[2].split()[:2] == ["host", "latest"]
    assert lines[3].split()[:3] == ["<none>", "<none>", top.id[:16]]
    assert lines[3].endswith(middle.id[:16])
    assert len(lines) == 4
    everything = call(runtime, images, "-a", "-notrunc").stdout
    assert middle.id in everything
    assert call(runtime, images, "-q", "base").stdout == f"{base.id[:16]}\n"
    assert call(runtime, images, "-q", "--no-trunc", "base").stdout == f"{base.id}\n"
    assert call(runtime, images, "-q", "nothing").stdout == ""


def test_rmi_by_name_untags_first(runtime: Any) -> None:
    image = runtime.graph.create([b"base"])
    runtime.tags.set("base", "latest", image.id)
    runtime.tags.set("base", "v1", image.id)
    assert call(runtime, rmi, "base:v1").stdout == ""
    assert runtime.tags.lookup_image("base") == image
    call(runtime, rmi, "base")
    assert is_empty(runtime.root)
    with pytest.raises(NotFoundError, match="No such image: base"):
        call(runtime, rmi, "base")


def test_rmi_by_id_takes_all_names(runtime: Any) -> None:
    image = runtime.graph.create([b"base"])
    runtime.tags.set("base", "latest", image.id)
    runtime.tags.set("other", "latest", image.id)
    call(runtime, rmi, image.id[:12])
    assert is_empty(runtime.root)
    assert list(runtime.tags.repositories) == ["host"]


def test_what_becomes_of_images_is_told(runtime: Any) -> None:
    call(runtime, import_, "-", "base", files={"-": [b"a"]})
    image = runtime.tags.lookup_image("base")
    runtime.tags.set("base", "v1", image.id)
    call(runtime, rmi, "base:v1", "base")
    told = [(event.kind, event.verb, event.id, event.name) for event in runtime.events.since(0)]
    assert told == [
        ("image", "import", image.id, "base:latest"),
        ("image", "untag", image.id, "base:v1"),
        ("image", "untag", image.id, "base:latest"),
        ("image", "delete", image.id, ""),
    ]


def test_rmi_of_several_goes_on(runtime: Any) -> None:
    one, two = runtime.graph.create([b"1"]), runtime.graph.create([b"2"])
    with pytest.raises(NotFoundError, match="No such image: zz"):
        call(runtime, rmi, one.id, "zz", two.id)
    assert is_empty(runtime.root)


def test_rmi_refuses(runtime: Any) -> None:
    image = runtime.graph.create([b"base"])
    runtime.tags.set("base", "latest", image.id)
    runtime.containers["c1"] = SimpleNamespace(id="c1" * 32, name="web", image_id=image.id)
    with pytest.raises(ConflictError, match="image base is used by container web"):
        call(runtime, rmi, "base")
    assert runtime.tags.lookup_image("base") == image
    with pytest.raises(ConflictError, match="machine itself"):
        call(runtime, rmi, "host")


def test_rmi_of_a_damaged_image(runtime: Any) -> None:
    image = runtime.graph.create([b"base"])
    runtime.tags.set("base", "latest", image.id)
    (runtime.root / "images" / f"{image.id}.json").write_bytes(b"{}")
    graph = Graph(runtime.root)
    tags = TagStore(runtime.root / "tags.json", graph)
    again = made_up(runtime.root, graph, tags)
    assert "is damaged" in call(again, images).stderr
    call(again, rmi, image.id[:16])
    assert os.listdir(runtime.root / "images") == []
    with pytest.raises(NotFoundError):
        again.tags.lookup_image("base")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "Less than a second"),
        (0.9, "Less than a second"),
        (5, "5 seconds"),
        (60, "About a minute"),
        (120, "2 minutes"),
        (12 * 60, "12 minutes"),
        (3600, "About an hour"),
        (30 * 3600, "30 hours"),
        (4 * 86400, "4 days"),
        (21 * 86400, "3 weeks"),
        (220 * 86400, "7 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_table() -> None:
    assert table([["A", "B", "C"], ["x" * 12, "y", "z" * 30]], minimum=12) == (
        "A              B           C\n" + "x" * 12 + "   y           " + "z" * 30 + "\n"
    )
    assert table([["a\x1b[2J", "b"]]) == "a\\x1b[2J".ljust(20) + "b\n"
