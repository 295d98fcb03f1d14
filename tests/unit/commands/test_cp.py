# SPDX-License-Identifier: Apache-2.0
"""How cp reads its two arguments: which side they mean, and where in the container."""

from __future__ import annotations

import pytest

from pyrt.commands.cp import split
from pyrt.container.copying import Place
from pyrt.errors import UsageError


@pytest.mark.parametrize(
    ("text", "name", "path"),
    [
        ("c:/x", "c", "/x"),
        ("c:x", "c", "x"),
        ("c:", "c", "/"),
        ("c:/a:b", "c", "/a:b"),
        ("./c:x", "", "./c:x"),
        ("../c:x", "", "../c:x"),
        ("/c:x", "", "/c:x"),
        (":x", "", ":x"),
        ("plain", "", "plain"),
        ("-", "", "-"),
    ],
)
def test_sides(text: str, name: str, path: str) -> None:
    assert split(text) == (name, path)


def test_an_empty_path_is_no_path() -> None:
    with pytest.raises(UsageError, match="must not be empty"):
        split("")


@pytest.mark.parametrize(
    ("path", "absolute"),
    [
        ("x", "/x"),
        ("/x", "/x"),
        ("//x//y", "/x/y"),
        ("../../x", "/x"),
        ("a/../b", "/b"),
        ("/", "/"),
        (".", "/"),
        ("/.", "/."),
        ("x/", "/x/"),
        ("x/.", "/x/."),
        ("x/..", "/"),
    ],
)
def test_places_begin_at_the_root_and_their_ends_count(path: str, absolute: str) -> None:
    assert Place(path, "").absolute == absolute
