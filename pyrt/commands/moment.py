# SPDX-License-Identifier: Apache-2.0
"""Moments as people write them on a command line, to the nanosecond."""

from __future__ import annotations

import re
import time
from typing import Final

from pyrt.commands.flags import duration
from pyrt.errors import UsageError
from pyrt.image.image import parse_time

NANO: Final = 10**9
_UNIX = re.compile(r"(\d{9,12})(?:\.(\d+))?", re.ASCII)
_FRACTION = re.compile(r"(?<=:\d\d)\.(\d+)", re.ASCII)


def moment_ns(text: str) -> int:
    """Turn an RFC 3339 time, a number of seconds since 1970, or a duration before now into nanoseconds since 1970.

    A number is one of seconds since 1970 if it has nine digits, else a duration; a time without a zone is in UTC.
    """
    if unix := _UNIX.fullmatch(text):
        return int(unix[1]) * NANO + _nanoseconds(unix[2])
    fraction = _FRACTION.search(text)
    if (seconds := parse_time(_FRACTION.sub("", text, count=1))) is not None:
        return int(seconds) * NANO + _nanoseconds(fraction[1] if fraction else None)
    try:
        return time.time_ns() - int(duration(text) * NANO)
    except UsageError:
        raise UsageError("expected a time such as 2026-01-31T12:00:00Z, or how long ago: 10m") from None


def moment(text: str) -> float:
    """As `moment_ns`, in seconds."""
    return moment_ns(text) / NANO


def _nanoseconds(digits: str | None) -> int:
    return int((digits or "0")[:9].ljust(9, "0"))
