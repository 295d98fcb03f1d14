# SPDX-License-Identifier: Apache-2.0
"""What one container has of the network: the record that outlives the daemon in the container's own state."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Interface
from typing import Any

from pyrt.network.ports import PortMapping


@dataclass(frozen=True, slots=True)
class Allocation:
    """One container's address and ports. `sockets` hold the host's ports and belong to whoever has the allocation."""

    address: str
    prefix_length: int
    gateway: str
    bridge: str
    bridge_index: int
    mtu: int
    mappings: tuple[PortMapping, ...] = ()
    sockets: tuple[socket.socket, ...] = field(default=(), compare=False, repr=False)

    @property
    def bridge_address(self) -> IPv4Interface:
        """The bridge's side of this container's network."""
        return IPv4Interface(f"{self.gateway}/{self.prefix_length}")

    def to_record(self) -> dict[str, Any]:
        """Return this as JSON values, without the sockets."""
        record = {name: getattr(self, name) for name in self.__slots__ if name not in ("sockets", "mappings")}
        return record | {"mappings": [asdict(mapping) for mapping in self.mappings]}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Allocation:
        """Read back what to_record() returned; the sockets are with the container's supervisor."""
        values = {name: value for name, value in record.items() if name in cls.__slots__}
        mappings = tuple(PortMapping(**mapping) for mapping in record["mappings"])
        return cls(**{**values, "mappings": mappings})
