# SPDX-License-Identifier: Apache-2.0
"""What a reader must know about the machine to judge a measurement on it."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def facts() -> list[str]:
    """Lines for the top of a benchmark's output."""
    models = [line.partition(": ")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    cgroup_mounts = [line.split() for line in _lines("/proc/self/mounts") if line.split()[2].startswith("cgroup")]
    kinds = {fields[2] for fields in cgroup_mounts}
    version = {frozenset({"cgroup"}): "v1", frozenset({"cgroup2"}): "v2"}.get(frozenset(kinds), "v1 and v2 (hybrid)")
    favoured = sorted(fields[1] for fields in cgroup_mounts if "favordynmods" in fields[3].split(","))
    return [
        f"kernel      {platform.release()} {platform.machine()}",
        f"processors  {os.cpu_count()} x {models[0] if models else 'unknown'}",
        f"load        {' '.join(f'{load:.2f}' for load in os.getloadavg())}",
        f"python      {platform.python_version()}",
        f"cgroup      {version if kinds else 'none mounted'}",
        f"favordynmods {'ON at ' + ', '.join(favoured) if favoured else 'off on every mounted hierarchy'}",
    ]


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
