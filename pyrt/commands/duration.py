# SPDX-License-Identifier: Apache-2.0
"""Durations in words, the words of Docker 0.1.0."""

from __future__ import annotations

_MINUTE = 60
_HOUR = 60 * _MINUTE


def human_duration(seconds: float) -> str:
    """Return "5 seconds", "About a minute", "30 hours", "3 weeks"...; what lies in the future is less than a second."""
    if seconds < 1:
        return "Less than a second"
    if seconds < _MINUTE:
        return f"{int(seconds)} seconds"
    minutes, hours = int(seconds // _MINUTE), int(seconds // _HOUR)
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 3:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{hours // 24 // 365} years"
