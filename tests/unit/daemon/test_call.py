# SPDX-License-Identifier: Apache-2.0
"""What a CALL may be, and that nothing else gets through."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrt.daemon.call import Call, parse_call
from pyrt.errors import ProtocolError

GOOD: dict[str, Any] = {"version": 2, "argv": ["ps"], "cwd": "/", "tty": [True, False, True], "size": [24, 80]}


def encoded(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def test_a_good_one() -> None:
    assert parse_call(encoded(extra=1)) == Call(["ps"], "/", (True, False, True), (24, 80))


def test_bytes_that_are_not_utf8() -> None:
    assert parse_call(encoded(argv=["\udcff"], cwd="/\udc80")).argv == ["\udcff"]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"version":2}',
        b'{"version":' + b"1" * 10_000 + b"}",
        encoded(version=1),
        encoded(version=3),
        encoded(version=True),
        encoded(version="1"),
        encoded(argv="ps"),
        encoded(argv=[1]),
        encoded(argv=[["ps"]]),
        encoded(argv=["a\0b"]),
        encoded(argv=["\ud800"]),
        encoded(argv=None),
        encoded(cwd="relative"),
        encoded(cwd=""),
        encoded(cwd="/\0"),
        encoded(tty=[True]),
        encoded(tty=[1, 0, 1]),
        encoded(size=[24]),
        encoded(size=[-1, 80]),
        encoded(size=[24, 70000]),
        encoded(size=[24.0, 80]),
        encoded(size=[True, True]),
    ],
)
def test_bad_ones(payload: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_call(payload)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_call(payload)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.sampled_from(sorted(GOOD)), json_values)
def test_any_value_in_any_field(name: str, value: Any) -> None:
    try:
        call = parse_call(encoded(**{name: value}))
    except ProtocolError:
        return
    assert all(isinstance(word, str) for word in call.argv)
