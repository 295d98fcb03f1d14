# SPDX-License-Identifier: Apache-2.0
"""Flags: their declaration, the parsing of a command line, and the usage text, all from the one `FLAGS` of a command.

The grammar is that of Docker 0.1.0 (Go's: `-notrunc`, `-e X`, `-e=X`, parsing stops at the first word that is no flag)
together with the one people type today (`--no-trunc`, `-it`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pyrt.errors import UsageError

_TRUE = frozenset(("1", "t", "true", "yes"))
_FALSE = frozenset(("0", "f", "false", "no"))
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kmgtp]?)(i?b)?", re.ASCII | re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|s|m|h|d)", re.ASCII)
_SPELLING_COLUMNS = 32
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of a command.

    `kind` is bool (a switch), list (may be repeated; the words in order), or a callable that turns the word into the
    value and raises ValueError or UsageError for one it refuses. `default` is what the option is when not given; None
    means False for a switch and [] for a list.
    """

    name: str
    short: str | None = None
    kind: Callable[[str], Any] = bool
    default: Any = None
    metavar: str = "VALUE"
    help: str = ""

    @property
    def attribute(self) -> str:
        return self.name.replace("-", "_")

    @property
    def initial(self) -> Any:
        if self.default is None and self.kind is bool:
            return False
        if self.kind is list:
            return list(self.default or ())
        return self.default


class Options:
    """The values of a command's flags as attributes; `-` in a name becomes `_`."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the command declares no flag {name.replace('_', '-')!r}")

    def __repr__(self) -> str:
        return f"Options({self.__dict__!r})"


class HelpWanted(Exception):
    """`--help` was given: the usage is the whole answer."""


class Command(Protocol):
    """What is read of a command's module to describe it. FLAGS and MINIMUM may be missing."""

    __doc__: str | None
    USAGE: str


def shown(text: str) -> str:
    """Return the user's own word as one printable line of bounded length, quoted where it is neither."""
    short = text if len(text) <= 80 else text[:77] + "..."
    return short if short.isprintable() else repr(short)


def parse(verb: str, flags: Sequence[Flag], words: Sequence[str]) -> tuple[Options, list[str]]:
    """Split `words`, what follows the verb, into the flags' values and the positional arguments.

    Raises UsageError for what is wrong and HelpWanted for `--help` (and `-h`, unless the command has a flag h).
    """
    by_name = {_folded(flag.name): flag for flag in flags}
    by_short = {flag.short: flag for flag in flags if flag.short}
    values = {flag.attribute: flag.initial for flag in flags}
    at = 0
    while at < len(words) and words[at].startswith("-") and words[at] != "-":
        word = words[at]
        at += 1
        if word == "--":
            break
        name, equals, value = word.partition("=")
        given = value if equals else None
        for flag in _named(verb, by_name, by_short, name):
            if flag.kind is bool:
                values[flag.attribute] = True if given is None else _truth(flag, given)
                continue
            if given is None:
                if at == len(words):
                    raise UsageError(f"flag {shown(name)} needs a value; see 'pyrt {verb} --help'")
                given = words[at]
                at += 1
            if flag.kind is list:
                values[flag.attribute].append(given)
            else:
                values[flag.attribute] = _converted(flag, given)
    return Options(values), list(words[at:])


def _folded(name: str) -> str:
    """Make `no-trunc` and 0.1.0's `notrunc` the same name."""
    return name.replace("-", "")


def _named(verb: str, by_name: dict[str, Flag], by_short: dict[str, Flag], name: str) -> list[Flag]:
    """Return the flag that `name` (with its dashes) spells, or the several of a cluster such as `-it`."""
    bare = name[2:] if name.startswith("--") else name[1:]
    if not name.startswith("--") and bare in by_short:
        return [by_short[bare]]
    if len(bare) > 1 and not bare.startswith("-") and _folded(bare) in by_name:
        return [by_name[_folded(bare)]]
    if bare == "help" or (name == "-h" and "h" not in by_short):
        raise HelpWanted
    if not name.startswith("--") and bare:
        cluster = [by_short.get(letter) for letter in bare]
        known = [flag for flag in cluster if flag]
        # only the last may take a value: in `-p80` the 80 is not a row of switches
        if len(known) == len(bare) and all(flag.kind is bool for flag in known[:-1]):
            return known
    raise UsageError(f"unknown flag {shown(name)}; see 'pyrt {verb} --help'")


def _truth(flag: Flag, text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise UsageError(f"invalid value {text[:80]!r} for --{flag.name}: expected true or false")


def _converted(flag: Flag, text: str) -> Any:
    try:
        return flag.kind(text)
    except UsageError as error:
        raise UsageError(f"invalid value {text[:80]!r} for --{flag.name}: {error}") from error
    except (ValueError, OverflowError) as error:
        raise UsageError(f"invalid value {text[:80]!r} for --{flag.name}: expected {flag.metavar}") from error


def size_bytes(text: str) -> int:
    """Turn `64m`, `1.5g`, `4096`, `64MiB` into bytes; units are powers of 1024."""
    match = _SIZE.fullmatch(text)
    if not match:
        raise UsageError("expected a size such as 4096, 512k, 64m or 1.5g")
    number, unit, _ = match.groups()
    factor = _UNITS[unit.lower()]
    size = int(float(number) * factor) if "." in number else int(number) * factor
    if size >= 1 << 63:
        raise UsageError("the size is too large")
    return size


def size_or_unlimited(text: str) -> int:
    """As size_bytes, and -1 for no limit."""
    return -1 if text == "-1" else size_bytes(text)


def duration(text: str) -> float:
    """Turn `10`, `2.5s`, `500ms`, `1h30m` into seconds."""
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        text += "s"
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError("expected a duration such as 10, 2.5s, 500ms or 1h30m")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > 1e9:
        raise UsageError("the duration is too long")
    return seconds


def natural(text: str) -> int:
    """Turn a decimal number that is not negative into an int."""
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise UsageError("expected a number")
    return int(text)


def summary(command: Command) -> str:
    """Return the first line of the command's docstring."""
    lines = (command.__doc__ or "").strip().splitlines()
    return lines[0].rstrip(".") if lines else ""


def usage(verb: str, command: Command) -> str:
    """Return what `pyrt VERB --help` prints, and what a call with too few arguments gets."""
    flags: Sequence[Flag] = getattr(command, "FLAGS", ())
    text = f"Usage: pyrt {verb} {command.USAGE}".rstrip() + f"\n\n{summary(command)}\n"
    if flags:
        spellings = [_spelling(flag) for flag in flags]
        width = max(len(spelling) for spelling in spellings if len(spelling) <= _SPELLING_COLUMNS)
        text += "\n"
        for flag, spelling in zip(flags, spellings, strict=True):
            if len(spelling) > width:  # too long for its column: the help goes below
                text += f"  {spelling}\n"
                spelling = ""
            text += f"  {spelling:<{width}}  {flag.help}".rstrip() + "\n"
    return text


def _spelling(flag: Flag) -> str:
    short = f"-{flag.short}, " if flag.short else "    "
    return f"{short}--{flag.name}" + ("" if flag.kind is bool else f" {flag.metavar}")
