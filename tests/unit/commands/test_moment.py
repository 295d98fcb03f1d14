# SPDX-License-Identifier: Apache-2.0
"""Moments on a command line."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrt.commands.logs import tail
from pyrt.commands.moment import moment, moment_ns
from pyrt.errors import UsageError

SECOND = 1_767_225_600  # 2026-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T00:00:00Z", SECOND * 10**9),
        ("2026-01-01T00:00:00", SECOND * 10**9),
        ("2026-01-01", SECOND * 10**9),
        ("2026-01-01T02:00:00+02:00", SECOND * 10**9),
        ("2026-01-01T00:00:00.5Z", SECOND * 10**9 + 500_000_000),
        ("2026-01-01T02:00:00.123456789+02:00", SECOND * 10**9 + 123_456_789),
        ("2026-01-01T00:00:00.1234567899Z", SECOND * 10**9 + 123_456_789),
        (str(SECOND), SECOND * 10**9),
        (f"{SECOND}.000000001", SECOND * 10**9 + 1),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
    ],
)
def test_times(text: str, expected: int) -> None:
    assert moment_ns(text) == expected
    assert moment(text) == pytest.approx(expected / 1e9)


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600), ("1h30m", 5400), ("2.5s", 2.5), ("90", 90), ("0", 0)])
def test_how_long_ago(text: str, seconds: float) -> None:
    before = time.time_ns()
    found = moment_ns(text)
    assert before <= found + int(seconds * 1e9) <= time.time_ns()


@pytest.mark.parametrize(
    "text", ["", "yesterday", "10x", "-5", "2026-13-01T00:00:00Z", "1e9", "٣m", "2026-01-01T25:00:00Z"]
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="expected a time such as"):
        moment_ns(text)


@given(st.text(max_size=30))
def test_any_text_is_a_moment_or_refused(text: str) -> None:
    try:
        assert isinstance(moment_ns(text), int)
    except UsageError:
        pass


def test_numbers_of_lines() -> None:
    assert (tail("0"), tail("10"), tail("all")) == (0, 10, -1)
    for text in ("-1", "", "1.5", "ten", "1" * 19):
        with pytest.raises(UsageError):
            tail(text)
