# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from pyrt.errors import ConflictError, ImageError, NotFoundError, UsageError
from pyrt.image import Graph, TagStore
from pyrt.image.host import host_image


def test_names_survive(root: Path, graph: Graph, tags: TagStore) -> None:
    image = graph.create([b"one"])
    tags.set("base", "latest", image.id)
    tags.set("team/base", "v1.0", image.id[:20])
    again = TagStore(root / "tags.json", Graph(root))
    for name in ("base", "base:latest", "team/base:v1.0", image.id, image.id[:8]):
        assert again.lookup_image(name) == image
    assert again.by_id()[image.id] == ["base:latest", "team/base:v1.0"]
    assert again.image_name(image.id) == "base:latest"
    assert again.image_name("f" * 64) == "f" * 64
    assert again.get_image("base") == image
    assert again.get_image("base", "no") is None


@pytest.mark.parametrize("name", ["nothing", "base:no", "host:no", "base:", "", ":", "../x", "x" * 5000, "\udcff"])
def test_unknown(graph: Graph, tags: TagStore, name: str) -> None:
    tags.set("base", "latest", graph.create([b"one"]).id)
    with pytest.raises(NotFoundError, match="^No such image: "):
        tags.lookup_image(name)


def test_moving_a_name_needs_force(graph: Graph, tags: TagStore) -> None:
    one, two = graph.create([b"one"]), graph.create([b"two"])
    tags.set("base", "latest", one.id)
    tags.set("base", "latest", one.id)
    with pytest.raises(ConflictError):
        tags.set("base", "latest", two.id)
    tags.set("base", "latest", two.id, force=True)
    assert tags.lookup_image("base") == two


def test_delete(graph: Graph, tags: TagStore) -> None:
    image = graph.create([b"one"])
    for tag in ("a", "b", "c"):
        tags.set("base", tag, image.id)
    tags.delete("base", "a")
    with pytest.raises(NotFoundError):
        tags.delete("base", "a")
    assert tags.get("base") == {"b": image.id, "c": image.id}
    tags.delete_all(image.id)
    assert list(tags.repositories) == ["host"]


@pytest.mark.parametrize("name", ["a:b", "", "a b", "../x", "a//b", "/a", "a/", "a\n", "é", "x" * 300, "a\x1b"])
def test_illegal_repository_names(graph: Graph, tags: TagStore, name: str) -> None:
    with pytest.raises(UsageError, match="^Illegal repository name: ") as caught:
        tags.set(name, "latest", graph.create([b"one"]).id)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("tag", ["a/b", "", "a:b", "a b"])
def test_illegal_tag_names(graph: Graph, tags: TagStore, tag: str) -> None:
    with pytest.raises(UsageError, match="^Illegal tag name: "):
        tags.set("base", tag, graph.create([b"one"]).id)


def test_host_is_built_in(graph: Graph, tags: TagStore) -> None:
    assert tags.lookup_image("host") == tags.lookup_image("host:latest") == host_image()
    assert tags.image_name(host_image().id) == "host:latest"
    with pytest.raises(ConflictError, match="'host' belongs to"):
        tags.set("host", "latest", graph.create([b"one"]).id)
    with pytest.raises(ConflictError):
        tags.delete("host")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"Repositories": []}', b'{"Repositories": {"a": 1}}', b"[" * 9999]
)
def test_damaged_file_is_set_aside(root: Path, graph: Graph, content: bytes) -> None:
    (root / "tags.json").write_bytes(content)
    tags = TagStore(root / "tags.json", graph)
    assert "damaged" in tags.damaged
    assert (root / "tags.json.damaged").read_bytes() == content
    tags.set("base", "latest", graph.create([b"one"]).id)
    assert TagStore(root / "tags.json", graph).damaged == ""


def test_name_of_a_damaged_image(root: Path, graph: Graph, tags: TagStore) -> None:
    image = graph.create([b"one"])
    tags.set("base", "latest", image.id)
    (root / "images" / f"{image.id}.json").write_bytes(b"{}")
    again = TagStore(root / "tags.json", Graph(root))
    with pytest.raises(ImageError, match="image base cannot be used"):
        again.lookup_image("base")
