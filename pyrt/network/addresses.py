# SPDX-License-Identifier: Apache-2.0
"""Which IPv4 address the next container gets.

The allocator stores nothing about who has what: it is told the addresses in use, which the caller knows from its live
containers, and only remembers where it last looked.
"""

from __future__ import annotations

import threading
from collections.abc import Container
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import chain

from pyrt.errors import NetworkError


def usable_range(network: IPv4Network) -> tuple[int, int]:
    """Return the first and the last address a host of this network can have, as integers."""
    if network.prefixlen > 30:
        raise NetworkError(f"network {network} is too small for containers: use a prefix of /30 or shorter")
    return int(network.network_address) + 1, int(network.broadcast_address) - 1


class IPAllocator:
    """Hands out the addresses of one network in a circle; thread-safe.

    The network's own address, its broadcast address and the gateway are never handed out. Going on from the last one
    keeps an address that was just released out of use for as long as possible: peers may still hold connections to it.
    """

    def __init__(self, gateway: IPv4Interface) -> None:
        self.gateway = gateway.ip
        self.network = gateway.network
        self._first, self._last = usable_range(gateway.network)
        if not self._first <= int(self.gateway) <= self._last:
            raise NetworkError(f"{self.gateway} cannot be an address of its network {self.network}")
        self._previous = self._first - 1
        self._lock = threading.Lock()

    @property
    def capacity(self) -> int:
        """How many containers this network can hold."""
        return self._last - self._first

    def allocate(self, in_use: Container[int]) -> IPv4Address:
        """Return the next address that is not in `in_use`; NetworkError when there is none.

        Addresses in use are integers: of a thousand it takes microseconds to find the one that is free.
        """
        gateway = int(self.gateway)
        with self._lock:
            for candidate in chain(range(self._previous + 1, self._last + 1), range(self._first, self._previous + 1)):
                if candidate != gateway and candidate not in in_use:
                    self._previous = candidate
                    return IPv4Address(candidate)
        raise NetworkError(f"no free address in {self.network}: stop a container")
