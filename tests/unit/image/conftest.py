# SPDX-License-Identifier: Apache-2.0
"""A graph without root: the extractor is replaced by one that keeps the archive as a file of the layer."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import pytest

from pyrt.errors import ImageError
from pyrt.image import Graph, TagStore
from pyrt.image.archive import Unpacked


def fake_unpack(chunks: Iterable[bytes], target: Path, **limits: object) -> Unpacked:
    data = b"".join(chunks)
    (target / "content").write_bytes(data)
    if data == b"bad":
        raise ImageError("this is not a tar archive")
    return Unpacked(sha256(data).hexdigest(), 1, len(data))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("pyrt.image.layers.unpack", fake_unpack)
    return tmp_path / "root"


@pytest.fixture
def graph(root: Path) -> Graph:
    return Graph(root)


@pytest.fixture
def tags(root: Path, graph: Graph) -> TagStore:
    return TagStore(root / "tags.json", graph)
