# SPDX-License-Identifier: Apache-2.0
"""What an image of a container says, and which containers there can be none of."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyrt.container.committing import check_parent, merged
from pyrt.container.config import Config, Record
from pyrt.container.container import Container
from pyrt.errors import ConflictError
from pyrt.image.host import host_image
from pyrt.image.image import Image

CONFIG = Config(image="i", cmd=("sh", "-c", "true"), env=("B=2", "C=3"), ports=("8080:80", "53/udp"))


def image(layers: int, **config: Any) -> Image:
    return Image.create(tuple(f"{number:064x}" for number in range(layers)), config=config)


def test_the_configuration_is_merged() -> None:
    parent = image(1, Entrypoint=["/entry"], Cmd=["x"], Env=["A=1", "B=1"], User="bob", Labels={"l": "1"})
    assert merged(parent, CONFIG) == {
        "Cmd": ["sh", "-c", "true"],
        "Env": ["A=1", "B=2", "C=3"],
        "User": "bob",
        "Labels": {"l": "1"},
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
    }
    assert parent.entrypoint == ("/entry",)


def runtime() -> Any:
    def lower_dirs(image: Image) -> list[Path]:
        return [Path("/var/lib/pyrt/layers", layer, "diff") for layer in image.layers]

    return SimpleNamespace(
        root=Path("/var/lib/pyrt"), run_dir=Path("/run/pyrt"), graph=SimpleNamespace(lower_dirs=lower_dirs)
    )


@pytest.fixture
def container() -> Container:
    id = "c" * 64
    record = Record(id=id, name="web", created_at=0.0, image_id="", image_name="", config=CONFIG)
    return Container(Path("/var/lib/pyrt/containers") / id, record)


def test_not_more_layers_than_can_be_mounted(container: Container) -> None:
    """Said when an image would be made that could never run."""
    check_parent(runtime(), container, image(50))
    with pytest.raises(ConflictError, match="has 60 layers already"):
        check_parent(runtime(), container, image(60))


def test_the_host_image_is_no_parent(container: Container) -> None:
    with pytest.raises(ConflictError, match="the machine's own"):
        check_parent(runtime(), container, host_image())
