# SPDX-License-Identifier: Apache-2.0
"""What a start is made of: the environment, and the root as overlayfs is told of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyrt.container.config import Config, Record
from pyrt.container.container import Container
from pyrt.container.launching import BASE_ENV, make_env, make_root


def image(*env: str, is_host: bool = False) -> Any:
    return SimpleNamespace(environment=env, is_host=is_host)


def env(*wanted: str, of: Any = None, tty: bool = False) -> dict[str, str]:
    lines = make_env(of or image(), wanted, tty=tty)
    names = [line.partition("=")[0] for line in lines]
    assert len(set(names)) == len(names), "each name once"
    return dict(line.split("=", 1) for line in lines)


def test_the_environment_of_docker_0_1_0() -> None:
    assert env() == BASE_ENV
    assert env(tty=True) == {**BASE_ENV, "TERM": "xterm"}


def test_the_last_value_counts_image_before_user() -> None:
    of = image("A=image", "PATH=/image", "B=image")
    assert env("A=1", "A=2", "TERM=vt100", of=of, tty=True) == {
        **BASE_ENV,
        "PATH": "/image",
        "A": "2",
        "B": "image",
        "TERM": "vt100",
    }


@pytest.mark.parametrize(("word", "value"), [("X=", ""), ("X=a=b", "a=b"), ("X", ""), ("X= \t\n\udcff", " \t\n\udcff")])
def test_odd_values(word: str, value: str) -> None:
    assert env(word)["X"] == value


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return make_container(tmp_path, auto_remove=False)


def make_container(root: Path, **options: Any) -> Container:
    config = Config(image="bb", cmd=("true",), **options)
    record = Record(id="a" * 64, name="", created_at=0.0, image_id="", image_name="bb", config=config)
    return Container(root / "containers" / record.id, record)


def runtime(root: Path, *lower: Path) -> Any:
    return SimpleNamespace(root=root, run_dir=root / "run", graph=SimpleNamespace(lower_dirs=lambda image: list(lower)))


def test_layers_are_named_from_the_stores_directory(tmp_path: Path, container: Container) -> None:
    layers = [tmp_path / "layers" / (str(n) * 64) / "diff" for n in (1, 2)]
    root = make_root(runtime(tmp_path, *layers, Path("/")), container, image())
    assert root.directory == str(tmp_path / "layers")
    assert root.lower == (f"{'1' * 64}/diff", f"{'2' * 64}/diff", "/")
    assert root.upper == f"{container.directory}/diff" and root.work == f"{container.directory}/work"
    assert root.mask == () and not root.volatile and not root.readonly


def test_a_container_that_is_thrown_away_syncs_nothing(tmp_path: Path) -> None:
    root = make_root(runtime(tmp_path), make_container(tmp_path, auto_remove=True, readonly=True), image())
    assert root.volatile and root.readonly


def test_the_hosts_image_hides_pyrts_own_directories(tmp_path: Path, container: Container) -> None:
    for name in ("run", "layers"):
        (tmp_path / name).mkdir()
    root = make_root(runtime(tmp_path, Path("/")), container, image(is_host=True))
    hidden = {path for path, mode, _, _ in root.mask if mode == 0}
    assert str(tmp_path).lstrip("/") in {path.lstrip("/") for path in hidden}
    parents = [path for path, mode, _, _ in root.mask if mode]
    assert parents == sorted(parents, key=lambda path: path.count("/") if path else -1), "parents first"
