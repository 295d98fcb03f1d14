# SPDX-License-Identifier: Apache-2.0
"""--detach-keys: docker's spelling, and what is none."""

from __future__ import annotations

import pytest

from pyrt.commands.detaching import FLAG, detach_keys
from pyrt.commands.flags import parse
from pyrt.errors import UsageError


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", b""),
        ("a", b"a"),
        ("ctrl-@", b"\0"),
        ("ctrl-a", b"\x01"),
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("Ctrl-P,ctrl-Q", b"\x10\x11"),
        ("ctrl-z,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", bytes(range(0x1A, 0x20))),
        ("~,.", b"~."),
        ("DEL", b"\x7f"),
        ("x,ctrl-x,X", b"x\x18X"),
        (",".join("a" * 16), b"a" * 16),
    ],
)
def test_keys(text: str, keys: bytes) -> None:
    assert detach_keys(text) == keys


@pytest.mark.parametrize(
    "text",
    [
        "ctrl-",
        "ctrl-1",
        "ctrl--",
        "ctrl-ab",
        "ctrlp",
        "alt-x",
        "ab",
        "a,",
        ",",
        "\x10",
        "é",
        "ctrl-é",
        ",".join("a" * 17),
    ],
)
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(UsageError):
        detach_keys(text)


def test_an_error_names_the_flag() -> None:
    with pytest.raises(
        UsageError, match="invalid value 'ctrl-1' for --detach-keys: expected keys such as ctrl-p,ctrl-q"
    ):
        parse("run", (FLAG,), ["--detach-keys", "ctrl-1"])
    options, rest = parse("run", (FLAG,), ["--detach-keys=ctrl-a", "bb"])
    assert (options.detach_keys, rest) == (b"\x01", ["bb"])
