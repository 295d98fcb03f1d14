# SPDX-License-Identifier: Apache-2.0
"""Numbers of bytes in words, as docker writes them: three digits and a unit."""

from __future__ import annotations


def decimal_size(size_bytes: float) -> str:
    """Return "0B", "4.1kB", "1.05MB": units are powers of 1000."""
    return _scaled(size_bytes, 1000, ("B", "kB", "MB", "GB", "TB", "PB"))


def binary_size(size_bytes: float) -> str:
    """Return "0B", "512KiB", "1.5GiB": units are powers of 1024."""
    return _scaled(size_bytes, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def _scaled(size: float, base: int, units: tuple[str, ...]) -> str:
    at = 0
    while size >= base and at < len(units) - 1:
        size /= base
        at += 1
    text = f"{size:.0f}" if size >= 100 else f"{size:.3g}"
    return f"{text}{units[at]}"
