# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from pyrt.errors import ImageError
from pyrt.image.host import host_image, mask_entries
from pyrt.image.image import Image, format_time, parse_time, valid_id

LAYER = "ab" * 32


def test_id_is_the_hash_of_the_document() -> None:
    image = Image.create((LAYER,), config={"Cmd": ["sh"], "Env": ["A=b"]}, comment="c", parent="cd" * 32)
    assert image.id == sha256(image.document).hexdigest()
    again = Image.from_document(image.document, id=image.id)
    assert again == image
    assert (again.command, again.environment, again.layers) == (("sh",), ("A=b",), (LAYER,))
    assert json.loads(image.document)["rootfs"] == {"type": "layers", "diff_ids": [f"sha256:{LAYER}"]}


def test_changed_document_is_refused() -> None:
    image = Image.create((LAYER,))
    with pytest.raises(ImageError, match="has been changed"):
        Image.from_document(image.document + b" ", id=image.id)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"rootfs": 1}',
        b'{"rootfs": {"diff_ids": ["sha256:../../etc"]}}',
        b'{"rootfs": {"diff_ids": ["md5:' + b"a" * 64 + b'"]}}',
        b'{"rootfs": {"diff_ids": [{}]}}',
        b'{"config": {"Cmd": "sh"}}',
        b'{"config": {"Env": [1]}}',
        b'{"parent": "../../etc"}',
        b'{"history": [1]}',
        b'{"comment": "' + b"x" * (9 << 20) + b'"}',
    ],
)
def test_impossible_documents_are_refused(document: bytes) -> None:
    with pytest.raises(ImageError):
        Image.from_document(document)


@pytest.mark.parametrize(
    "id",
    ["", "..", ".", "/", "a/b", ":tmp:", ":garbage:", "\0" * 16, "a" * 15, "a" * 65, "a" * 4096, "é" * 16]
    + ["A" * 64, "a" * 16 + "\n", "٣" * 16, "../../../../etc/x"],
)
def test_invalid_ids(id: str) -> None:
    assert not valid_id(id)


def test_times() -> None:
    assert parse_time(format_time(1364300000.25)) == 1364300000.25
    assert parse_time("2013-03-26T12:13:20.123456789Z") == 1364300000.123456
    assert parse_time("yesterday") is None


def test_host_is_always_the_same() -> None:
    assert host_image() == Image.from_document(host_image().document)
    assert host_image().is_host
    assert host_image().created_seconds is None


def test_mask(tmp_path: Path) -> None:
    hidden = tmp_path / "var" / "pyrt"
    hidden.mkdir(parents=True)
    (tmp_path / "var").chmod(0o711)
    (tmp_path / "link").symlink_to("var")
    entries = mask_entries([tmp_path / "link" / "pyrt", tmp_path / "missing", hidden / "below"])
    whiteouts = [entry.path for entry in entries if not entry.is_directory]
    assert whiteouts == [str(hidden)[1:]]
    assert [entry.mode for entry in entries if entry.path == str(tmp_path / "var")[1:]] == [0o711]
    paths = [entry.path for entry in entries]
    assert paths[0] == ""
    assert all(str(Path(path).parent) in (*paths[:i], ".") for i, path in enumerate(paths) if path)
