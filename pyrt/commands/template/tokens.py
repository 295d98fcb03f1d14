# SPDX-License-Identifier: Apache-2.0
"""From a template's text to its tokens: plain text, and the words between `{{` and `}}`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pyrt.errors import UsageError

_SPACE = " \t\r\n"
_PLAIN_ESCAPE = re.compile(r"\\[tn]")  # in plain text, where a shell's single quotes have left them
_COMMENT = re.compile(r"(?:\s+)?/\*.*?\*/(\s+-)?\}\}", re.DOTALL)
_BLANK = re.compile(r"\s*")
_CLOSING = re.compile(r"(\s+-)?\s*\}\}")
_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`|'(?:[^'\\\n]|\\.)+')
      | (?P<number>[+-]?(?:0[xX][0-9a-fA-F]{1,15}|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?!\w))
      | (?P<field>\.[^\W\d]\w*) | (?P<variable>\$\w*) | (?P<word>[^\W\d]\w*)
      | (?P<mark>:=|=|\||,|\(|\)|\.)""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"""\\(?:([abfnrtv\\"'])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3}))""")
_SIMPLE = dict(zip("abfnrtv\\\"'", "\a\b\f\n\r\t\v\\\"'", strict=True))


class TemplateError(UsageError):
    """A template that is wrong, or cannot be carried out; says where."""

    def __init__(self, position: int, text: str) -> None:
        super().__init__(f"template, character {position + 1}: {text}")


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is "text", "open" or "close" (of an action), "end", or the name of a group of _TOKEN."""

    kind: str
    text: str
    position: int
    spaced: bool = False  # there is white space before it


def tokens(text: str) -> Iterator[Token]:
    """Split a template. Raises TemplateError for what can be no part of one."""
    at, trim = 0, False
    while True:
        start = text.find("{{", at)
        plain = text[at : start if start >= 0 else len(text)]
        trim_before = start >= 0 and text[start + 2 : start + 3] == "-" and text[start + 3 : start + 4].isspace()
        plain = plain.lstrip(_SPACE) if trim else plain
        plain = plain.rstrip(_SPACE) if trim_before else plain
        if plain:
            yield Token("text", _PLAIN_ESCAPE.sub(lambda found: _SIMPLE[found[0][1]], plain), at)
        if start < 0:
            yield Token("end", "the end", len(text))
            return
        at = start + 2 + trim_before
        if comment := _COMMENT.match(text, at):
            at, trim = comment.end(), bool(comment[1])
            continue
        yield Token("open", "{{", start)
        while not (closing := _CLOSING.match(text, at)):
            before, at = at, _BLANK.match(text, at).end()  # type: ignore[union-attr]
            found = _TOKEN.match(text, at)
            if found is None:
                if at == len(text):
                    raise TemplateError(start, "'{{' without '}}'")
                raise TemplateError(at, f"unexpected {text[at]!r}")
            yield Token(str(found.lastgroup), found[0], at, spaced=at > before)
            at = found.end()
        yield Token("close", "}}", at)
        at, trim = closing.end(), bool(closing[1])


def string_value(token: Token) -> str | int:
    """Return what a string token stands for; for a character in single quotes its number. Raises TemplateError."""
    quote, inner = token.text[0], token.text[1:-1]
    if quote == "`":
        return inner
    pieces, at = [], 0
    while (backslash := inner.find("\\", at)) >= 0:
        pieces.append(inner[at:backslash])
        escape = _ESCAPE.match(inner, backslash)
        if escape is None:
            raise TemplateError(token.position + 1 + backslash, f"no such escape: {inner[backslash:][:2]}")
        simple, *digits, octal = escape.groups()
        number = int(octal, 8) if octal else next((int(text, 16) for text in digits if text), 0)
        if number > 0x10FFFF or 0xD800 <= number < 0xE000:
            raise TemplateError(token.position + 1 + backslash, f"no such character: {escape[0]}")
        pieces.append(_SIMPLE[simple] if simple else chr(number))
        at = escape.end()
    value = "".join([*pieces, inner[at:]])
    if quote != "'":
        return value
    if len(value) != 1:
        raise TemplateError(token.position, "'...' holds one character; a string is written \"...\"")
    return ord(value)


def number_value(token: Token) -> int | float:
    text = token.text.lower()
    if "x" in text:
        return int(text, 16)
    number = int(text) if re.fullmatch(r"[+-]?\d{1,18}", text) else float(text)
    if abs(number) > 1e18:
        raise TemplateError(token.position, "the number is too large")
    return number
