# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pyrt.errors import ConflictError, ImageError, NotFoundError
from pyrt.image import Graph, Image
from pyrt.image.host import host_image


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_a_new_graph_is_a_directory_without_images(root: Path, graph: Graph) -> None:
    assert root.is_dir() and files(root) == set()
    assert (graph.all(), graph.map(), graph.heads(), graph.by_parent(), graph.damaged) == ([], {}, {}, {}, {})


def test_create_is_there_for_the_next_graph(root: Path, graph: Graph) -> None:
    image = graph.create([b"one"], comment="first")
    assert graph.get(image.id) == image
    assert graph.exists(image.id)
    assert not graph.exists("f" * 64)
    assert graph.all() == [image]
    again = Graph(root)
    assert again.get(image.id[:10]) == image
    assert again.get(image.id).comment == "first"
    (lower,) = again.lower_dirs(image)
    assert (lower / "content").read_bytes() == b"one"


def test_children(graph: Graph) -> None:
    base = graph.create([b"base"], config={"Cmd": ["sh"]})
    child = graph.create([b"more"], parent=base)
    assert child.parent == base.id
    assert child.command == ("sh",)
    assert [path.parent.name for path in graph.lower_dirs(child)] == [child.layers[1], base.layers[0]]
    assert graph.by_parent() == {base.id: [child]}
    assert graph.heads() == {child.id: child}
    assert graph.map() == {base.id: base, child.id: child}


def test_refused_archive_leaves_nothing(root: Path, graph: Graph) -> None:
    before = files(root)
    with pytest.raises(ImageError):
        graph.create([b"bad"])
    assert files(root) == before
    assert os.listdir(root / "tmp") == os.listdir(root / "layers") == os.listdir(root / "images") == []


def test_failed_registration_leaves_nothing(root: Path, graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, data: bytes, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyrt.image.graph.write_durably", fail)
    with pytest.raises(OSError, match="No space"):
        graph.create([b"one"])
    assert os.listdir(root / "tmp") == os.listdir(root / "layers") == os.listdir(root / "images") == []


def test_delete_keeps_shared_layers(root: Path, graph: Graph) -> None:
    first = graph.create([b"same"], comment="1")
    second = graph.create([b"same"], comment="2")
    assert first.layers == second.layers
    graph.delete(first.id)
    assert graph.lower_dirs(second)[0].is_dir()
    graph.delete(second.id)
    assert os.listdir(root / "layers") == os.listdir(root / "tmp") == []
    with pytest.raises(NotFoundError):
        graph.delete(second.id)


def test_what_was_deleted_is_gone_until_it_is_made_again(root: Path, graph: Graph) -> None:
    gone, kept = graph.create([b"one"]), graph.create([b"two"])
    graph.delete(gone.id)
    for each in (graph, Graph(root)):
        assert each.all() == [kept] and not each.exists(gone.id)
        with pytest.raises(NotFoundError):
            each.get(gone.id)
    again = graph.create([b"one"])
    assert set(Graph(root).map()) == {again.id, kept.id}
    assert (graph.lower_dirs(again)[0] / "content").read_bytes() == b"one"


@pytest.mark.parametrize("id", ["../../etc/passwd", "", "a/b", "f" * 64])
def test_delete_of_strange_ids(graph: Graph, id: str) -> None:
    with pytest.raises(NotFoundError):
        graph.delete(id)


def test_prefixes(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [graph.create([b"%d" % i]) for i in range(20)]
    by_first: dict[str, list[Image]] = {}
    for image in [*images, host_image()]:
        by_first.setdefault(image.id[0], []).append(image)
    for first, of_first in by_first.items():
        if len(of_first) == 1:
            assert graph.get(first) == of_first[0]
        else:
            with pytest.raises(ConflictError, match="give more of it"):
                graph.get(first)
    for wrong in ("", "x", "../", images[0].id + "0"):
        with pytest.raises(NotFoundError, match="No such image"):
            graph.get(wrong)


def test_damaged_images_are_set_aside(root: Path, graph: Graph) -> None:
    good, changed, layerless = (graph.create([b"%d" % i]) for i in range(3))
    path = root / "images" / f"{changed.id}.json"
    path.write_bytes(path.read_bytes().replace(b"amd64", b"AMD64") + b" ")
    os.rename(root / "layers" / layerless.layers[0], root / "elsewhere")
    (root / "images" / f"{'e' * 64}.json").write_bytes(b"{")
    (root / "images" / "README").write_bytes(b"not an image")
    again = Graph(root)
    assert again.map() == {good.id: good}
    assert set(again.damaged) == {changed.id, layerless.id, "e" * 64}
    assert "missing" in again.damaged[layerless.id]
    assert again.collect() == [], "a damaged image's layers may be wanted yet"
    for id in list(again.damaged):
        again.delete(id)
    assert again.collect() == [changed.layers[0]]
    assert Graph(root).damaged == {}


def test_start_sweeps_what_a_crash_left(root: Path, graph: Graph) -> None:
    (root / "tmp" / "layer-x" / "diff" / "deep").mkdir(parents=True)
    (root / "tmp" / "file").touch()
    (root / "images" / f".{'a' * 64}.json.1234").touch()
    Graph(root)
    assert os.listdir(root / "tmp") == os.listdir(root / "images") == []


def test_a_layer_is_not_removed_under_one_who_adds_it(graph: Graph) -> None:
    first = graph.create([b"same"], comment="1")
    with graph.layers.added([b"same"]) as layer:
        graph.delete(first.id)
        assert layer.path.is_dir()
        second = graph.register(Image.create((layer.diff_id,)))
    assert graph.lower_dirs(second)[0].is_dir()


def test_many_threads(graph: Graph) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(5):
                image = graph.create([b"%d" % (i % 3)], comment=f"{number} {i}")
                assert graph.lower_dirs(image)[0].is_dir()
                graph.delete(image.id)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert graph.layers.all() == []


def test_host(graph: Graph) -> None:
    host = graph.get(host_image().id)
    assert graph.lower_dirs(host) == [Path("/")]
    assert host.id not in graph.map()
    with pytest.raises(ConflictError, match="cannot be deleted"):
        graph.delete(host.id)
    with pytest.raises(ImageError):
        graph.register(host)
