# SPDX-License-Identifier: Apache-2.0
"""CALL: what a client says first, checked to the last field before anything is done with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from pyrt.errors import ProtocolError

VERSION: Final = 2  # 2: KEYS and CREDIT, without which a client could not stream


@dataclass(frozen=True, slots=True)
class Call:
    """One command as the client sent it. Bytes that are not UTF-8 are surrogates, as os.fsdecode makes them."""

    argv: list[str]
    cwd: str
    tty: tuple[bool, bool, bool]
    size: tuple[int, int]
    root: str = ""  # the root the client means to use; "" where it does not say


def parse_call(payload: bytes) -> Call:
    """Read a CALL's payload. Raises ProtocolError, whose text is meant for the client."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        raise ProtocolError("the call is not JSON") from None
    if not isinstance(value, dict):
        raise ProtocolError("the call is not a JSON object")
    if value.get("version") != VERSION or isinstance(value["version"], bool):
        raise ProtocolError(f"this daemon speaks version {VERSION} of the protocol; update the client or the daemon")
    argv, cwd, tty, size = (value.get(name) for name in ("argv", "cwd", "tty", "size"))
    root = value.get("root", "")
    if not isinstance(argv, list) or not all(is_argument(word) for word in argv):
        raise ProtocolError("the call's argv is not a list of arguments")
    if not is_argument(cwd) or not cwd.startswith("/"):
        raise ProtocolError("the call's cwd is not an absolute path")
    if not isinstance(tty, list) or len(tty) != 3 or not all(isinstance(flag, bool) for flag in tty):
        raise ProtocolError("the call's tty is not three booleans")
    if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int and 0 <= n <= 65535 for n in size):
        raise ProtocolError("the call's size is not two numbers")
    if not is_argument(root):
        raise ProtocolError("the call's root is not a path")
    return Call(argv, cwd, (tty[0], tty[1], tty[2]), (size[0], size[1]), root)


def is_argument(word: Any) -> TypeGuard[str]:
    """A program's argument: no NUL, and only surrogates that stand for a byte."""
    if not isinstance(word, str) or "\0" in word:
        return False
    try:
        word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
