# SPDX-License-Identifier: Apache-2.0
"""The flag --detach-keys: which keys, typed one after the other, leave a container running."""

from __future__ import annotations

from pyrt.commands.flags import Flag
from pyrt.core.frames import KEYS_MAX
from pyrt.errors import UsageError

_CONTROL = "@abcdefghijklmnopqrstuvwxyz[\\]^_"  # ctrl-@ is 0, ctrl-a 1, and so on


def detach_keys(text: str) -> bytes:
    """Turn `ctrl-p,ctrl-q` into the bytes that a terminal sends for these keys; "" is no choice. Raises UsageError."""
    keys = bytes(_key(word) for word in text.split(",")) if text else b""
    if len(keys) > KEYS_MAX:
        raise UsageError(f"at most {KEYS_MAX} keys")
    return keys


def _key(word: str) -> int:
    if len(word) == 1 and word.isascii() and word.isprintable():
        return ord(word)
    if word == "DEL":
        return 0x7F
    prefix, control = word[:-1].lower(), word[-1:].lower()
    if prefix == "ctrl-" and control in _CONTROL:
        return _CONTROL.index(control)
    raise UsageError("expected keys such as ctrl-p,ctrl-q: a character, or ctrl- and one of a to z @ [ \\ ] ^ _")


FLAG = Flag(
    "detach-keys",
    kind=detach_keys,
    default=b"",
    metavar="KEYS",
    help="Keys that leave it running, on a terminal: ctrl-a, or several as in ctrl-p,ctrl-q (the default)",
)
