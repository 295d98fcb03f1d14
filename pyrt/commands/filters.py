# SPDX-License-Identifier: Apache-2.0
"""`--filter KEY=VALUE`: which rows of a listing are wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pyrt.commands.flags import Flag, shown
from pyrt.errors import UsageError

_Row = TypeVar("_Row")


def filter_flag(keys: str, short: str | None = "f") -> Flag:
    return Flag("filter", short, kind=list, metavar="KEY=VALUE", help=f"Only those that match: {keys}")


def parse_filters(words: Sequence[str], known: Sequence[str]) -> dict[str, list[str]]:
    """Return the values by key. Raises UsageError for what is no KEY=VALUE, or has a key that is not known."""
    filters: dict[str, list[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = key.strip().lower()
        if key not in known:
            raise UsageError(f"--filter {shown(word)}: there is no such filter; there are {', '.join(known)}")
        if not equals or not value:
            raise UsageError(f"--filter {shown(word)}: expected {key}=VALUE")
        filters.setdefault(key, []).append(value)
    return filters


def matching(rows: Sequence[_Row], tests: Mapping[str, Sequence[Callable[[_Row], Any]]]) -> list[_Row]:
    """Return the rows that pass at least one of the tests of every key."""
    if not tests:
        return list(rows)
    return [row for row in rows if all(any(test(row) for test in of_key) for of_key in tests.values())]
