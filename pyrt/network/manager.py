# SPDX-License-Identifier: Apache-2.0
"""NetworkManager: an address and ports for each container of one pyrt instance.

It keeps no state of its own that could disagree with the containers: what it remembers of live ones is a cache, filled
by sync() when a daemon starts. One bridge carries 480 containers; from the next one on a second bridge with its own
subnet is made beside it, and so on, unless the bridge's address was given.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from pyrt.errors import NetworkError, PyrtError
from pyrt.network import bridge as bridges
from pyrt.network import netfilter, ports, resolver
from pyrt.network.addresses import IPAllocator
from pyrt.network.allocation import Allocation
from pyrt.network.bridge import Bridge
from pyrt.network.nftables import NftError, Ruleset, Target
from pyrt.network.ports import PortSpec

# A Linux bridge has 1,023 ports, but a broadcast, with which every container finds its gateway, is a packet for each of
# them at once, and the kernel drops what is more than net.core.netdev_max_backlog, 1,000: the oldest ports' ones.
MOST_CONTAINERS = 480  # of one bridge, and as many packets again find room
MOST_BRIDGES = 16
MANY_CONTAINERS = 256  # from here on the kernel's default neighbour limits come into sight


@dataclass(frozen=True, slots=True)
class _Segment:
    """One bridge and the addresses behind it."""

    bridge: Bridge
    allocator: IPAllocator


class NetworkManager:
    """The bridge network of one pyrt instance. Thread-safe; its methods block, so call them from a thread.

    `address` is the bridge's own, like "172.30.0.1/22"; without one a free private network is chosen. `notices` says
    what was changed on the host beyond pyrt's own bridges and rules, or could not be restored.
    """

    def __init__(self, bridge_name: str = bridges.DEFAULT_NAME, *, address: str | None = None) -> None:
        self.bridge_name = bridges.check_name(bridge_name)
        self.notices: list[str] = []
        self._address = bridges.parse_address(address) if address else None
        self._ruleset = Ruleset(bridge_name)
        self._segments: list[_Segment] = []
        self._live: dict[str, Allocation] = {}
        self._links: dict[str, str] = {}  # the host's sides of their veths
        self._taken: Counter[int] = Counter()  # the addresses of the live ones, and how many each bridge has
        self._load: Counter[str] = Counter()
        self._roomy = False  # the kernel's neighbour table has room for thousands
        self._published: set[str] = set()
        self._mtu = bridges.DEFAULT_MTU
        self._lock = threading.RLock()

    # --- the instance ------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the bridge and the base rules, if that has not been done."""
        with self._lock:
            if not self._segments:
                self._rebuild()

    def sync(self, live: Mapping[str, Allocation]) -> None:
        """Make bridges and rules what these containers need, from scratch: when a daemon starts, and to repair.

        With no live container nothing is made that does not exist already.
        """
        with self._lock:
            for container_id in list(self._live):
                self._forget(container_id)
            for container_id, allocation in live.items():
                self._remember(container_id, allocation)
            self._published = {name for name, allocation in live.items() if allocation.mappings}
            if live or self._segments or bridges.index_of(self.bridge_name):
                self._rebuild()

    def is_intact(self) -> bool:
        """Whether bridges, rules and forwarding are still as they were made. 50 µs while nobody changes rules."""
        with self._lock:
            if not self._segments:
                return True
            return self._has_bridges() and self._ruleset.is_intact() and bridges.is_forwarding()

    def repair(self) -> bool:
        """Restore what somebody else removed; True if there was something to do. Never touches what is not ours."""
        with self._lock:
            if self.is_intact():
                return False
            self._rebuild()
            return True

    def remove(self) -> None:
        """Remove the bridges and the rules, for good: no container must be live."""
        with self._lock:
            self._ruleset.remove()
            names = [self.bridge_name, *(self._segment_name(number) for number in range(1, MOST_BRIDGES))]
            for name in names:
                bridges.delete(name)
            self._segments.clear()

    def close(self) -> None:
        """Free what this object holds in the process; bridges and rules stay."""
        self._ruleset.close()

    # --- a container -------------------------------------------------------------------------------------------------

    def allocate(
        self, container_id: str, port_specs: Sequence[str | PortSpec] = (), *, in_use: Collection[str] = ()
    ) -> Allocation:
        """Choose an address and take the host's ports; all of it or, with an exception, nothing.

        `in_use` are the addresses of live containers. What this manager allocated and has not released counts as in use
        as well, so a container that is still starting is safe.
        """
        specs = [ports.parse_port_spec(spec) if isinstance(spec, str) else spec for spec in port_specs]
        with self._lock:
            if self._segments and not self._has_bridges():
                self._rebuild()
            self.prepare()
            taken: Container[int] = self._taken
            if in_use:
                taken = self._taken.keys() | {int(IPv4Address(address)) for address in in_use}
            if not self._roomy and len(self._live) + len(in_use) >= MANY_CONTAINERS:
                self._roomy = True
                if bridges.raise_neighbour_limits():
                    self.notices.append("raised net.ipv4.neigh.default.gc_thresh*: so many containers need it")
            segment, address = self._free_address(taken)
            mappings, sockets = ports.reserve(specs)
            allocation = Allocation(
                address=str(address),
                prefix_length=segment.allocator.network.prefixlen,
                gateway=str(segment.allocator.gateway),
                bridge=segment.bridge.name,
                bridge_index=segment.bridge.index,
                mtu=self._mtu,
                mappings=tuple(mappings),
                sockets=tuple(sockets),
            )
            self._remember(container_id, allocation)
        return allocation

    def publish(self, container_id: str, allocation: Allocation) -> None:
        """Redirect the container's ports to it."""
        targets = _targets([allocation])
        if not targets:
            return
        with self._lock:
            self._published.add(container_id)
            if container_id not in self._live:
                self._remember(container_id, allocation)
            try:
                self._ruleset.publish(targets)
            except NftError:  # somebody removed the table, or an element is left from a daemon that was killed
                try:
                    self._rebuild()
                except BaseException:
                    self._published.discard(container_id)
                    raise
        self._forget_flows(allocation)

    def set_link(self, container_id: str, link: str) -> None:
        """Say which link of the host's is a live container's, so that it is put back on a bridge made again."""
        with self._lock:
            self._links[container_id] = link

    def release(self, container_id: str, allocation: Allocation) -> None:
        """Undo publish() and allocate(), as far as they were done; a second call does nothing."""
        with self._lock:
            self._forget(container_id)
            self._links.pop(container_id, None)
            published = container_id in self._published
            self._published.discard(container_id)
            try:
                if published:
                    self._ruleset.withdraw(_targets([allocation]))
            except NftError:  # the table is gone, and with it the redirection
                self._rebuild()
            finally:
                ports.release(allocation.sockets)
        if published:
            self._forget_flows(allocation)

    # --- the container's files ---------------------------------------------------------------------------------------

    def resolvers(self) -> list[str]:
        """Return the host's name servers that a container can reach."""
        return list(resolver.read_config().servers)

    def resolv_conf(self) -> bytes:
        """Return a container's /etc/resolv.conf."""
        return resolver.resolv_conf(resolver.read_config())

    def hosts_file(self, hostname: str, address: str) -> bytes:
        """Return a container's /etc/hosts."""
        return resolver.hosts_file(hostname, address)

    # --- how ---------------------------------------------------------------------------------------------------------

    def _rebuild(self) -> None:
        """Make every bridge that is configured, exists, or has a live container; then the rules in one transaction."""
        self._mtu = bridges.default_mtu()
        found: dict[str, Bridge] = {}
        for name, address in self._wanted().items():
            try:
                found[name] = bridges.ensure_bridge(name, address=address, mtu=self._mtu)
            except PyrtError as error:
                if name == self.bridge_name:
                    raise
                self.notices.append(str(error))
        before = {segment.bridge.name: segment for segment in self._segments}
        self._segments = [
            _Segment(bridge, before[name].allocator if name in before else IPAllocator(bridge.address))
            for name, bridge in found.items()
        ]
        try:
            if bridges.ensure_forwarding():
                self.notices.append("switched on net.ipv4.ip_forward: containers need it to reach other hosts")
            self._ruleset.replace(self._subnets(), self._redirections())
        except BaseException:
            if not before:
                self._segments = []
                for bridge in found.values():
                    if bridge.created:
                        bridges.delete(bridge.name)
            raise
        self._attach(found)

    @staticmethod
    def _forget_flows(allocation: Allocation) -> None:
        """A new UDP redirection, or its end, counts for clients that are already sending too."""
        udp = {mapping.host_port for mapping in allocation.mappings if mapping.protocol == "udp"}
        if udp:
            try:
                netfilter.forget_udp_flows(udp, allocation.address)
            except OSError:  # a kernel that cannot list flows: they expire 30 seconds after their last packet
                pass

    def _wanted(self) -> dict[str, IPv4Interface | None]:
        """The bridges there must be, with the address each must have if that is known."""
        wanted: dict[str, IPv4Interface | None] = {self.bridge_name: self._address}
        for number in range(1, MOST_BRIDGES):
            if not bridges.index_of(self._segment_name(number)):
                break
            wanted[self._segment_name(number)] = None
        for segment in self._segments:
            wanted[segment.bridge.name] = segment.bridge.address
        for allocation in self._live.values():
            wanted[allocation.bridge] = allocation.bridge_address
        return wanted

    def _attach(self, found: Mapping[str, Bridge]) -> None:
        """A bridge that had to be made again has lost the ports of the containers that live on."""
        for container_id, allocation in self._live.items():
            bridge = found.get(allocation.bridge)
            if bridge is None or not bridge.created:
                continue
            try:
                if link := self._links.get(container_id):
                    bridges.attach(link, bridge)
            except NetworkError as error:
                self.notices.append(str(error))

    def _remember(self, container_id: str, allocation: Allocation) -> None:
        self._live[container_id] = allocation
        self._taken[_number(allocation)] += 1
        self._load[allocation.bridge] += 1

    def _forget(self, container_id: str) -> None:
        allocation = self._live.pop(container_id, None)
        if allocation is not None:
            number = _number(allocation)
            self._taken[number] -= 1
            if self._taken[number] <= 0:
                del self._taken[number]
            self._load[allocation.bridge] -= 1

    def _free_address(self, taken: Container[int]) -> tuple[_Segment, IPv4Address]:
        for segment in self._segments:
            if self._load[segment.bridge.name] >= min(MOST_CONTAINERS, segment.allocator.capacity):
                continue
            try:
                return segment, segment.allocator.allocate(taken)
            except NetworkError:
                continue
        first = self._segments[0].allocator
        if self._grow():
            return self._free_address(taken)
        if first.capacity > MOST_CONTAINERS:
            raise NetworkError(
                f"{len(self._segments)} bridges are full, with {MOST_CONTAINERS} containers each: stop a container"
                if len(self._segments) > 1
                else f"bridge {self.bridge_name} is full: it carries {MOST_CONTAINERS} containers"
            )
        first.allocate(taken)
        raise NetworkError(f"no free address on bridge {self.bridge_name}: stop a container")

    def _grow(self) -> bool:
        """Add a bridge with the next subnet of the first one's pool; False if that is not possible."""
        first = self._segments[0].bridge.address
        if self._address or first.network.prefixlen != bridges.BRIDGE_PREFIX or len(self._segments) >= MOST_BRIDGES:
            return False
        used = [segment.allocator.network for segment in self._segments]
        names = {segment.bridge.name for segment in self._segments}
        name = next(name for name in map(self._segment_name, range(1, MOST_BRIDGES)) if name not in names)
        pool = first.network.supernet(new_prefix=bridges.POOL_PREFIX)
        for network in pool.subnets(new_prefix=bridges.BRIDGE_PREFIX):
            if network in used or bridges.conflicts(network):
                continue
            address = IPv4Interface((int(network.network_address) + 1, network.prefixlen))
            bridge = bridges.ensure_bridge(name, address=address, mtu=self._mtu)
            self._segments.append(_Segment(bridge, IPAllocator(bridge.address)))
            try:
                self._ruleset.replace(self._subnets(), self._redirections())
            except BaseException:
                self._segments.pop()
                bridges.delete(bridge.name)
                raise
            return True
        return False

    def _redirections(self) -> list[Target]:
        """Every published port once: of two containers the later one; the other is dead and not released yet."""
        targets = _targets(allocation for name, allocation in self._live.items() if name in self._published)
        latest = {(mapping.host_ip, mapping.host_port, mapping.protocol): (ip, mapping) for ip, mapping in targets}
        return list(latest.values())

    def _has_bridges(self) -> bool:
        return all(bridges.index_of(segment.bridge.name) == segment.bridge.index for segment in self._segments)

    def _segment_name(self, number: int) -> str:
        return f"{self.bridge_name}-{number}"

    def _subnets(self) -> list[tuple[str, IPv4Network]]:
        return [(segment.bridge.name, segment.allocator.network) for segment in self._segments]


def _targets(allocations: Iterable[Allocation]) -> list[Target]:
    return [(allocation.address, mapping) for allocation in allocations for mapping in allocation.mappings]


def _number(allocation: Allocation) -> int:
    return int(IPv4Address(allocation.address))
