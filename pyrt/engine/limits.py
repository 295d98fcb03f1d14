# SPDX-License-Identifier: Apache-2.0
"""The resources a container may use, and the cgroup files that say so in v1 and in v2."""

from __future__ import annotations

from dataclasses import dataclass

from pyrt.errors import UsageError

PERIOD_US = 100_000  # the kernel's default, so v1 needs only the quota written
LEAST_QUOTA_US = 1_000  # the kernel refuses less
MOST_CPUS = 8_192  # NR_CPUS of the largest kernels


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one container; 0 is "no limit", and for `memory_swap_bytes` "twice the memory".

    `memory_swap_bytes` is memory and swap together, as in docker; negative lets it swap as it likes. `cpus` counts
    CPUs' worth of time. Raises UsageError for values that make no sense.
    """

    memory_bytes: int = 0
    memory_swap_bytes: int = 0
    cpus: float = 0.0
    pids: int = 0

    def __post_init__(self) -> None:
        if self.memory_bytes < 0:
            raise UsageError("the memory limit cannot be negative; leave it out for no limit")
        if self.memory_swap_bytes and not self.memory_bytes:
            raise UsageError("a limit of memory and swap together (--memory-swap) needs one of memory (--memory)")
        if 0 < self.memory_swap_bytes < self.memory_bytes:
            raise UsageError("--memory-swap is memory and swap together: it cannot be less than --memory")
        if not (self.cpus == 0 or LEAST_QUOTA_US / PERIOD_US <= self.cpus <= MOST_CPUS):
            raise UsageError(f"--cpus must be at least {LEAST_QUOTA_US / PERIOD_US} and at most {MOST_CPUS}, or 0")

    @property
    def total_bytes(self) -> int:
        """Memory and swap together, or -1 for no limit of swap."""
        return -1 if self.memory_swap_bytes < 0 else self.memory_swap_bytes or 2 * self.memory_bytes

    @property
    def quota_us(self) -> int:
        """CPU time in every PERIOD_US."""
        return round(self.cpus * PERIOD_US)

    def controllers(self) -> frozenset[str]:
        """Return the controllers it takes to enforce these limits."""
        pairs = (("memory", self.memory_bytes), ("cpu", self.cpus), ("pids", self.pids > 0))
        return frozenset(name for name, limited in pairs if limited)

    def files(self, controller: str, *, v2: bool, swap: bool) -> list[tuple[str, str]]:
        """Return (file, value) for one controller, in the order to write them. `swap`: is swap accounted for."""
        if controller == "memory" and self.memory_bytes:
            return self._memory_v2(swap) if v2 else self._memory_v1(swap)
        if controller == "cpu" and self.cpus:
            return [("cpu.max", f"{self.quota_us} {PERIOD_US}")] if v2 else [("cpu.cfs_quota_us", str(self.quota_us))]
        if controller == "pids" and self.pids > 0:
            return [("pids.max", str(self.pids))]
        return []

    def _memory_v1(self, swap: bool) -> list[tuple[str, str]]:
        # The kernel wants memsw >= limit at every moment, and memsw starts unlimited: limit first.
        files = [("memory.limit_in_bytes", str(self.memory_bytes))]
        if swap and self.total_bytes >= 0:
            files.append(("memory.memsw.limit_in_bytes", str(self.total_bytes)))
        return files

    def _memory_v2(self, swap: bool) -> list[tuple[str, str]]:
        files = [("memory.max", str(self.memory_bytes))]
        if swap and self.total_bytes >= 0:  # v2 counts swap by itself
            files.append(("memory.swap.max", str(self.total_bytes - self.memory_bytes)))
        return files
