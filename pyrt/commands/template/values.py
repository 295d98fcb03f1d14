# SPDX-License-Identifier: Apache-2.0
"""What templates work on: text, numbers, truth values, lists and objects; and how Go would print and compare them.

A dict stands for an object with fields and for a map as well.
"""

from __future__ import annotations

import json
from typing import Any

MAX_CHARACTERS = 1 << 20  # of one value, and of all that a template prints


class ValueProblem(Exception):
    """What a function or a field says that cannot do what it was asked; the caller knows where in the template."""


def truth(value: Any) -> bool:
    """Nothing, zero, and what is empty is false."""
    return bool(value)


def bounded(text: str) -> str:
    if len(text) > MAX_CHARACTERS:
        raise ValueProblem(f"the text grows beyond {MAX_CHARACTERS} characters")
    return text


def show(value: Any) -> str:
    """Return a value as Go prints it."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{show(value[key])}' for key in sorted(value))}]"
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(map(show, value))}]"
    return str(value)


def to_json(value: Any, indent: int | None = None) -> str:
    """Return JSON: in one line without spaces, or indented. Bytes that are no text become U+FFFD."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, ensure_ascii=False, separators=separators, indent=indent)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def kind(value: Any) -> str:
    """Name a value's type for a message."""
    if isinstance(value, bool):
        return "a truth value"
    for types, name in ((str, "text"), ((int, float), "a number"), (dict, "an object"), ((list, tuple), "a list")):
        if isinstance(value, types):
            return name
    return "nothing"


def get_field(value: Any, name: str) -> Any:
    """Return a field of an object; where none has exactly the name, the one that differs in upper and lower case."""
    if not isinstance(value, dict):
        raise ValueProblem(f"{kind(value)} has no field .{name[:40]}")
    if name in value:
        return value[name]
    same = [key for key in value if key.lower() == name.lower()]
    if len(same) == 1:
        return value[same[0]]
    raise ValueProblem(f"there is no field .{name[:40]}; there are {' '.join(f'.{key}' for key in value)}"[:1000])


def equal(one: Any, other: Any) -> bool:
    if kind(one) != kind(other) and None not in (one, other):
        raise ValueProblem(f"{kind(one)} and {kind(other)} cannot be compared")
    return bool(one == other)


def less(one: Any, other: Any) -> bool:
    if kind(one) != kind(other) or kind(one) not in ("text", "a number"):
        raise ValueProblem(f"{kind(one)} and {kind(other)} have no order")
    return bool(one < other)
