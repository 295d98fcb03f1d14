# SPDX-License-Identifier: Apache-2.0
"""The functions of templates: Go's own, and those that docker adds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from pyrt.commands.template.values import ValueProblem, bounded, equal, kind, less, show, to_json, truth

_VERB = re.compile(r"%([-+# 0]*)(\d*)(?:\.(\d+))?(.)", re.DOTALL)
_WIDEST = 1000


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueProblem(f"expected text, not {kind(value)}")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueProblem(f"expected a whole number, not {kind(value)}")
    return value


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(_text(key), "")
        elif isinstance(value, (list, tuple, str)):
            if not 0 <= _number(key) < len(value):
                raise ValueProblem(f"index {key} is out of range: there are {len(value)}")
            value = ord(value[key]) if isinstance(value, str) else value[key]
        else:
            raise ValueProblem(f"{kind(value)} cannot be indexed")
    return value


def _slice(value: Any, *bounds: Any) -> Any:
    if not isinstance(value, (list, tuple, str)):
        raise ValueProblem(f"{kind(value)} cannot be sliced")
    start, end = ([_number(bound) for bound in bounds] + [0, len(value)][len(bounds) :])[:2]
    if not 0 <= start <= end <= len(value):
        raise ValueProblem(f"{start}:{end} is out of range: there are {len(value)}")
    return value[start:end]


def _len(value: Any) -> int:
    if not isinstance(value, (dict, list, tuple, str)):
        raise ValueProblem(f"{kind(value)} has no length")
    return len(value)


def _join(values: Any, separator: Any = "") -> str:
    if not isinstance(values, (list, tuple)):
        raise ValueProblem(f"expected a list, not {kind(values)}")
    return _text(separator).join(map(show, values))


def _split(text: Any, separator: Any) -> list[str]:
    return _text(text).split(separator) if _text(separator) else list(_text(text))


def _title(text: Any) -> str:
    return re.sub(r"(^|\s)(\S)", lambda found: found[1] + found[2].upper(), _text(text))


def _pad(text: Any, before: Any, after: Any) -> str:
    if max(_number(before), _number(after)) > _WIDEST:
        raise ValueProblem(f"at most {_WIDEST} spaces")
    return f"{' ' * before}{_text(text)}{' ' * after}"


def _truncate(text: Any, length: Any) -> str:
    return _text(text)[: max(0, _number(length))]


def _print(*values: Any) -> str:
    """Between two values neither of which is text stands a space."""
    pieces: list[str] = []
    for at, value in enumerate(values):
        if at and not isinstance(value, str) and not isinstance(values[at - 1], str):
            pieces.append(" ")
        pieces.append(show(value))
    return "".join(pieces)


def _println(*values: Any) -> str:
    return " ".join(map(show, values)) + "\n"


def _printf(format: Any, *values: Any) -> str:
    left = list(values)

    def one(found: re.Match[str]) -> str:
        flags, width, precision, verb = found.groups()
        if verb == "%":
            return "%"
        if int(width or 0) > _WIDEST or int(precision or 0) > _WIDEST:
            raise ValueProblem(f"{found[0]}: at most {_WIDEST} wide")
        if not left:
            raise ValueProblem(f"nothing is left for {found[0]}")
        return _formatted(found[0], verb, flags, width, precision, left.pop(0))

    text = _VERB.sub(one, _text(format))
    if left:
        raise ValueProblem(f"the format has no place for {len(left)} of the values")
    return text


def _formatted(spelled: str, verb: str, flags: str, width: str, precision: str | None, value: Any) -> str:
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    if verb in "vsqt":
        text = json.dumps(show(value), ensure_ascii=False) if verb == "q" else show(value)
        text = text[: int(precision)] if precision else text
    elif numeric and verb in "dxXobc" and isinstance(value, int):
        if verb == "c" and not (0 <= value <= 0x10FFFF and not 0xD800 <= value < 0xE000):
            raise ValueProblem(f"{spelled}: {value} is no character")
        text = chr(value) if verb == "c" else format(value, f"{'+' if '+' in flags else ''}{verb}")
    elif numeric and verb in "feEgG":
        text = format(float(value), f"{'+' if '+' in flags else ''}.{precision or 6}{verb}")
    elif isinstance(value, str) and verb in "xX":
        text = format(int.from_bytes(value.encode("utf-8", "replace"), "big"), f"0{2 * len(value.encode())}{verb}")
    else:
        raise ValueProblem(f"{spelled} cannot show {kind(value)}")
    if "-" in flags:
        return text.ljust(int(width or 0))
    if "0" in flags and numeric:
        return text.zfill(int(width or 0))
    return text.rjust(int(width or 0))


FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {  # with the least and the greatest number of arguments
    "index": (_index, 1, 20),
    "slice": (_slice, 1, 3),
    "len": (_len, 1, 1),
    "json": (to_json, 1, 1),
    "join": (_join, 1, 2),
    "split": (_split, 2, 2),
    "upper": (lambda text: _text(text).upper(), 1, 1),
    "lower": (lambda text: _text(text).lower(), 1, 1),
    "title": (_title, 1, 1),
    "pad": (_pad, 3, 3),
    "truncate": (_truncate, 2, 2),
    "print": (_print, 0, 100),
    "println": (_println, 0, 100),
    "printf": (_printf, 1, 100),
    "eq": (lambda one, *others: any(equal(one, other) for other in others), 2, 100),
    "ne": (lambda one, other: not equal(one, other), 2, 2),
    "lt": (less, 2, 2),
    "le": (lambda one, other: not less(other, one), 2, 2),
    "gt": (lambda one, other: less(other, one), 2, 2),
    "ge": (lambda one, other: not less(one, other), 2, 2),
    "not": (lambda value: not truth(value), 1, 1),
}
LAZY = frozenset(("and", "or"))  # they do not look at every argument: the evaluator does them


def apply(name: str, arguments: list[Any]) -> Any:
    """Call a function. Raises ValueProblem."""
    function, least, most = FUNCTIONS[name]
    if not least <= len(arguments) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise ValueProblem(f"{name} wants {wanted} arguments and got {len(arguments)}")
    try:
        value = function(*arguments)
    except ValueProblem as problem:
        raise ValueProblem(f"{name}: {problem}") from None
    return bounded(value) if isinstance(value, str) else value
