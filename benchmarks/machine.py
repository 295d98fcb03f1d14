# SPDX-License-Identifier: Apache-2.0
"""What a reader must know about the machine to judge a measurement on it, and what of that makes it doubtful."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

FULL_SPEED = {"performance", "schedutil"}  # governors that do not hold a short run down
MANY_MOUNTS, MANY_GROUPS = 200, 500


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found. `governors` of the processors, empty where the kernel does not set their speed."""

    load: float
    processors: int
    favoured: tuple[str, ...] = ()
    governors: tuple[str, ...] = ()
    rcu_expedited: bool = False
    mounts: int = 0
    groups: int = 0
    free_bytes: int = 1 << 40
    steal: float = 0  # part of the time since the machine started that its host gave to others

    @classmethod
    def look(cls) -> Machine:
        governors = Path("/sys/devices/system/cpu").glob("cpu*/cpufreq/scaling_governor")
        memory = dict(line.split(":") for line in _lines("/proc/meminfo"))
        times = [int(word) for word in _lines("/proc/stat")[0].split()[1:]]
        return cls(
            load=os.getloadavg()[0],
            processors=os.cpu_count() or 1,
            favoured=tuple(
                sorted(fields[1] for fields in _cgroup_mounts() if "favordynmods" in fields[3].split(","))
            ),
            governors=tuple(sorted({path.read_text().strip() for path in governors})),
            rcu_expedited=_lines("/sys/kernel/rcu_expedited")[:1] == ["1"],
            mounts=len(_lines("/proc/self/mounts")),
            groups=max((int(line.split()[2]) for line in _lines("/proc/cgroups")[1:]), default=0),
            free_bytes=int(memory["MemAvailable"].split()[0]) * 1024,
            steal=times[7] / sum(times) if len(times) > 7 else 0,
        )

    def doubts(self) -> list[str]:
        """What about it makes its figures slower, faster or less steady than others'."""
        found = []
        if self.load > 0.5 * self.processors:
            found.append(f"the load is {self.load:.2f} on {self.processors} processors: something else runs")
        if self.favoured:
            found.append(f"favordynmods is on at {', '.join(self.favoured)}: joining a cgroup is 5 to 12 ms faster")
        if slow := [governor for governor in self.governors if governor not in FULL_SPEED]:
            found.append(f"the processors' governor is {', '.join(slow)}: what starts after a rest runs slowly")
        if self.rcu_expedited:
            found.append("rcu_expedited is on: waits for grace periods look shorter than elsewhere")
        if self.mounts > MANY_MOUNTS:
            found.append(f"{self.mounts} mounts here: each new mount namespace copies them")
        if self.groups > MANY_GROUPS:
            found.append(f"{self.groups} cgroups in one hierarchy: something else lives here, or was left behind")
        if self.free_bytes < 1 << 30:
            found.append(f"only {self.free_bytes >> 20} MiB of memory are free")
        if self.steal > 0.02:
            found.append(f"the host took {self.steal:.0%} of the processors' time since the machine started")
        return found


def facts() -> list[str]:
    """Lines for the top of a benchmark's output."""
    machine = Machine.look()
    models = [line.partition(": ")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    kinds = {fields[2] for fields in _cgroup_mounts()}
    version = {frozenset({"cgroup"}): "v1", frozenset({"cgroup2"}): "v2"}.get(frozenset(kinds), "v1 and v2 (hybrid)")
    virtual = any(" hypervisor" in line for line in _lines("/proc/cpuinfo"))
    favoured = f"ON at {', '.join(machine.favoured)}" if machine.favoured else "off on every mounted hierarchy"
    return [
        f"kernel      {platform.release()} {platform.machine()}{', in a virtual machine' if virtual else ''}",
        f"processors  {machine.processors} x {models[0] if models else 'unknown'}",
        f"governor    {', '.join(machine.governors) or 'none: the kernel does not set the speed'}",
        f"load        {' '.join(f'{load:.2f}' for load in os.getloadavg())}",
        f"memory      {machine.free_bytes >> 20} MiB free",
        f"python      {platform.python_version()}",
        f"cgroup      {version if kinds else 'none mounted'}, at most {machine.groups} groups in a hierarchy",
        f"favordynmods {favoured}",
        f"mounts      {machine.mounts}",
    ]


def doubts() -> list[str]:
    """What makes measurements on this machine, now, doubtful; one sentence each."""
    return Machine.look().doubts()


def _cgroup_mounts() -> list[list[str]]:
    fields = [line.split() for line in _lines("/proc/self/mounts")]
    return [entry for entry in fields if entry[2].startswith("cgroup")]


def _lines(path: str) -> list[str]:
    """The lines of a file; none where the kernel has no such file."""
    try:
        return Path(path).read_text().splitlines()
    except FileNotFoundError:
        return []
