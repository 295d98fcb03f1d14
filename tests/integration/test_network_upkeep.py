# SPDX-License-Identifier: Apache-2.0
"""What pyrt makes on the host: exactly its own, restored when somebody removes it, gone when it should be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrt.core._namespaces import lib
from pyrt.engine.slots import link_name
from pyrt.errors import ConflictError, NetworkError
from pyrt.network import Allocation, NetworkManager, bridge
from tests.topology import Host, Namespace, be

pytestmark = pytest.mark.root

FOREIGN = """
table ip filter { chain FORWARD { type filter hook forward priority 0; policy accept; counter; }; }
table ip pyrt-elsewhere { map published { type inet_service : ipv4_addr; elements = { 80 : 10.0.0.1 }; }; }
table inet firewalld { chain in { type filter hook input priority 10; policy accept; tcp dport 22 accept; }; }
"""


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def empty() -> Iterator[Namespace]:
    """A namespace with nothing but lo."""
    made = Namespace("empty")
    try:
        yield made
    finally:
        made.close()


def foreign_rules(namespace: Namespace) -> str:
    tables = ("ip filter", "ip pyrt-elsewhere", "inet firewalld")
    return "".join(namespace.command("nft", "list", "table", *table.split()) for table in tables)


def test_links_and_addresses_as_pyroute2_sees_them(host: Host) -> None:
    from pyroute2 import IPRoute

    guest = host.container("a" * 64)

    def inspect(name: str) -> tuple[dict[str, object], list[str], str | None]:
        with IPRoute() as route:
            link = route.link("get", ifname=name)[0]
            index = link["index"]
            addresses = [
                f"{entry.get_attr('IFA_ADDRESS')}/{entry['prefixlen']}"
                for entry in route.get_addr(index=index)
                if entry["family"] in (2, 10)
            ]
            default = [entry.get_attr("RTA_GATEWAY") for entry in route.get_default_routes(family=2)]
            facts = {
                "up": link["state"] == "up",
                "mtu": link.get_attr("IFLA_MTU"),
                "hardware": link.get_attr("IFLA_ADDRESS"),
                "master": link.get_attr("IFLA_MASTER"),
            }
            return facts, addresses, default[0] if default else None

    inside, addresses, gateway = guest.namespace.run(inspect, "eth0")
    assert inside == {"up": True, "mtu": 1500, "hardware": "02:70:ac:1e:00:02", "master": None}
    assert addresses == ["172.30.0.2/24"]  # no IPv6 at all
    assert gateway == "172.30.0.1"
    outside, _, _ = host.host.run(inspect, link_name(guest.id))
    assert outside["up"] and outside["master"] == guest.allocation.bridge_index
    made, addresses, _ = host.host.run(inspect, "ptnet0")
    assert made["up"] and made["hardware"] == "02:70:ac:1e:00:01" and addresses == ["172.30.0.1/24"]


def test_flushed_ruleset_is_repaired(host: Host) -> None:
    web = host.container("a" * 64, "8080:80", "127.0.0.1:8081:80")
    with web.namespace.listen(80) as server:
        assert host.host.run(host.manager.is_intact)
        assert host.host.run(host.manager.repair) is False
        host.host.command("nft", "flush", "ruleset")
        assert host.client.fails_to_reach("10.77.1.1", 8080, server)  # the reserved port refuses
        assert not host.host.run(host.manager.is_intact)
        assert host.host.run(host.manager.repair) is True
        assert host.client.reaches("10.77.1.1", 8080, server) == "10.77.1.2"
        assert host.host.reaches("127.0.0.1", 8081, server) is not None


@pytest.mark.parametrize(
    "damage",
    [
        ("nft", "delete", "table", "ip", "pyrt-ptnet0"),
        ("nft", "flush", "chain", "ip", "pyrt-ptnet0", "forward"),
        ("nft", "insert", "rule", "ip", "pyrt-ptnet0", "forward", "accept"),
        ("nft", "flush", "chain", "ip", "pyrt-ptnet0", "prerouting"),
        ("sysctl", "-qw", "net.ipv4.ip_forward=0"),
        ("ip", "link", "delete", "ptnet0"),
    ],
    ids=lambda words: "-".join(words[:4]),
)
def test_damage_is_seen_and_repaired(host: Host, damage: tuple[str, ...]) -> None:
    web = host.container("a" * 64, "8080:80")
    neighbour = host.container("b" * 64)
    host.host.command(*damage)
    assert not host.host.run(host.manager.is_intact)
    assert host.host.run(host.manager.repair)
    assert host.host.run(host.manager.is_intact)
    with web.namespace.listen(80) as server:
        assert host.client.reaches("10.77.1.1", 8080, server) is not None
        assert host.client.fails_to_reach(web.allocation.address, 80, server)
        assert neighbour.namespace.reaches(web.allocation.address, 80, server) is not None


def test_publishing_and_releasing_after_a_flush(host: Host) -> None:
    """Whoever publishes next finds the table gone, and restores the others' ports with its own."""
    first = host.container("a" * 64, "8080:80")
    host.host.command("nft", "flush", "ruleset")
    second = host.container("b" * 64, "8081:80")
    with first.namespace.listen(80) as one, second.namespace.listen(80) as two:
        assert host.client.reaches("10.77.1.1", 8080, one) is not None
        assert host.client.reaches("10.77.1.1", 8081, two) is not None
        host.host.command("nft", "flush", "ruleset")
        host.host.run(host.manager.release, second.id, second.allocation)
        assert host.client.reaches("10.77.1.1", 8080, one) is not None
        assert host.client.fails_to_reach("10.77.1.1", 8081, two)


def test_a_new_daemon_takes_over(host: Host) -> None:
    """Another manager, told of the live containers by their records, serves them and gives out nothing of theirs."""
    web = host.container("a" * 64, "8080:80")
    gone = host.container("b" * 64, "8081:80")
    record = Allocation.from_record(web.allocation.to_record())
    assert record == web.allocation
    successor = host.host.run(NetworkManager, "ptnet0")
    try:
        host.host.run(successor.sync, {web.id: record})
        with web.namespace.listen(80) as server, gone.namespace.listen(80) as dead:
            assert host.client.reaches("10.77.1.1", 8080, server) is not None
            assert host.client.fails_to_reach("10.77.1.1", 8081, dead)
        fresh = host.host.run(successor.allocate, "c" * 64)
        assert (fresh.bridge_index, fresh.gateway) == (record.bridge_index, record.gateway)
        assert fresh.address != record.address
        host.host.run(successor.release, web.id, record)
        assert "8080" not in host.host.command("nft", "list", "table", "ip", "pyrt-ptnet0")
    finally:
        successor.close()


def test_foreign_rules_are_never_touched(host: Host) -> None:
    host.host.command("nft", FOREIGN)
    before = foreign_rules(host.host)
    web = host.container("a" * 64, "8080:80")
    host.host.command("nft", "delete", "table", "ip", "pyrt-ptnet0")
    host.host.run(host.manager.repair)
    host.host.run(host.manager.sync, {web.id: web.allocation})
    host.host.run(host.manager.release, web.id, web.allocation)
    assert foreign_rules(host.host) == before
    host.host.run(host.manager.remove)
    assert foreign_rules(host.host) == before
    assert host.host.command("nft", "list", "tables").splitlines() == [
        "table ip filter",
        "table ip pyrt-elsewhere",
        "table inet firewalld",
    ]
    assert not host.host.ip("link", "show", "type", "bridge")


def test_taken_port_leaves_nothing_taken(host: Host) -> None:
    with host.host.listen(9999):
        with pytest.raises(ConflictError, match=r"port 9999/tcp is already in use .*publish another port"):
            host.container("a" * 64, "8080:80", "9999:80")
    web = host.container("b" * 64, "8080:80")
    with pytest.raises(ConflictError, match="port 8080/tcp is already in use"):
        host.container("c" * 64, "8080:80")
    assert web.allocation.address == "172.30.0.3"  # round robin: the failed one had .2
    again = host.container("d" * 64, "9999:80")
    with again.namespace.listen(80) as server:
        assert host.client.reaches("10.77.1.1", 9999, server) is not None


def test_exhausted_addresses(empty: Namespace) -> None:
    manager = empty.run(NetworkManager, "ptnet0", address="10.5.0.1/29")
    try:
        made = {f"{n}": empty.run(manager.allocate, f"{n}") for n in range(5)}
        with pytest.raises(NetworkError, match=r"no free address in 10\.5\.0\.0/29: stop a container"):
            empty.run(manager.allocate, "x")
        empty.run(manager.release, "3", made["3"])
        assert empty.run(manager.allocate, "y").address == made["3"].address
    finally:
        manager.close()


def test_second_bridge_when_the_first_is_full(empty: Namespace) -> None:
    """A Linux bridge has 1,023 ports; containers on different ones reach each other, and both are published."""
    manager = empty.run(NetworkManager, "ptnet0")
    guests = []
    try:
        first = empty.run(manager.allocate, "0")
        full = [f"{first.address.rpartition('.')[0].rpartition('.')[0]}.{n >> 8}.{n & 255}" for n in range(3, 1023)]
        second = empty.run(manager.allocate, "1" * 64, ["8080:80"], in_use=full)
        assert (first.bridge, second.bridge) == ("ptnet0", "ptnet0-1")
        for number, allocation in enumerate((first, second)):
            guest = Namespace(f"guest{number}")
            guests.append(guest)
            create = (f"ptg{number}".encode(), allocation.bridge_index, guest.fd, b"eth0", allocation.mtu)
            assert empty.run(lib.pyrt_veth_create, *create) == 0
            configure = (b"eth0", be(allocation.address), allocation.prefix_length, be(allocation.gateway))
            assert guest.run(lib.pyrt_configure_interface, *configure) == 0
        empty.run(manager.publish, "1" * 64, second)
        with guests[1].listen(80) as server:
            assert guests[0].reaches(second.address, 80, server) == first.address
            assert guests[0].reaches(first.gateway, 8080, server) is not None
            assert empty.reaches("127.0.0.1", 8080, server) is not None
        empty.run(manager.release, "1" * 64, second)
        empty.run(manager.remove)
        assert not empty.ip("link", "show", "type", "bridge")
    finally:
        manager.close()
        for guest in guests:
            guest.close()


def test_subnet_avoids_the_hosts_routes(empty: Namespace) -> None:
    empty.command("ip", "link", "add", "d0", "type", "veth", "peer", "name", "d1")
    empty.command("ip", "link", "set", "d0", "up")
    empty.command("ip", "link", "set", "d1", "up")
    empty.command("ip", "address", "add", "172.30.77.1/24", "dev", "d0")
    empty.command("ip", "route", "add", "172.28.0.0/15", "dev", "d0")
    empty.command("ip", "route", "add", "0.0.0.0/1", "dev", "d0")  # a VPN's default route
    made = empty.run(bridge.ensure_bridge, "ptnet0")
    assert str(made.address) == "172.27.0.1/22"
    assert empty.run(bridge.ensure_bridge, "ptnet0").index == made.index
    with pytest.raises(NetworkError, match="already has a route into 172.30.0.0/16"):
        empty.run(bridge.ensure_bridge, "ptnet1", address=bridge.parse_address("172.30.0.1/16"))
    with pytest.raises(NetworkError, match=r"ptnet0 has the address 172\.27\.0\.1/22, not 172\.20\.0\.1/24"):
        empty.run(bridge.ensure_bridge, "ptnet0", address=bridge.parse_address("172.20.0.1/24"))
    with pytest.raises(NetworkError, match="d0 exists and is not a bridge"):
        empty.run(bridge.ensure_bridge, "d0")
    assert [link["ifname"] for link in empty.ip("link", "show", "type", "bridge")] == ["ptnet0"]


def test_bridge_believes_no_router_advertisement(empty: Namespace) -> None:
    empty.run(bridge.ensure_bridge, "ptnet0")
    settings = Path("/proc/sys/net/ipv6/conf/ptnet0")
    assert empty.run((settings / "accept_ra").read_text).strip() == "0"
    assert empty.run((settings / "disable_ipv6").read_text).strip() == "1"


def test_forwarding_is_switched_on_and_said(empty: Namespace) -> None:
    empty.run(Path("/proc/sys/net/ipv4/ip_forward").write_text, "0")
    manager = empty.run(NetworkManager, "ptnet0")
    try:
        empty.run(manager.prepare)
        assert empty.run(bridge.is_forwarding)
        assert any("net.ipv4.ip_forward" in notice for notice in manager.notices)
    finally:
        manager.close()


def test_nothing_for_child_processes_to_inherit(empty: Namespace) -> None:
    """libnftables opens its socket without close-on-exec."""
    before = set(os.listdir("/proc/self/fd"))
    manager = empty.run(NetworkManager, "ptnet0")
    try:
        empty.run(manager.prepare)
        opened = [int(name) for name in set(os.listdir("/proc/self/fd")) - before]
        assert opened and not any(os.get_inheritable(descriptor) for descriptor in opened if is_open(descriptor))
    finally:
        manager.close()


def is_open(descriptor: int) -> bool:
    return os.path.lexists(f"/proc/self/fd/{descriptor}")


def test_failed_prepare_leaves_nothing(empty: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyrt.network import nftables

    manager = empty.run(NetworkManager, "ptnet0")
    monkeypatch.setattr(nftables, "_TABLE", "add rule ip nothing here drop\n")
    with pytest.raises(NetworkError, match="refused the packet rules of table pyrt-ptnet0: .*No such file"):
        empty.run(manager.prepare)
    assert not empty.ip("link", "show", "type", "bridge")
    manager.close()


def test_veth_errors_are_the_kernels(empty: Namespace) -> None:
    made = empty.run(bridge.ensure_bridge, "ptnet0")
    guest = Namespace("guest")
    try:
        create = lib.pyrt_veth_create
        assert empty.run(create, b"ptv0", 9999, guest.fd, b"eth0", 1500) == -22  # EINVAL: no such bridge
        assert empty.run(create, b"ptv0", made.index, 0, b"eth0", 1500) == -22  # EINVAL: not a network namespace
        assert empty.run(create, b"", made.index, guest.fd, b"eth0", 1500) == -22
        assert empty.run(create, b"x" * 16, made.index, guest.fd, b"eth0", 1500) == -36  # ENAMETOOLONG
        assert empty.run(create, b"ptv0", made.index, guest.fd, b"eth0", 1500) == 0
        assert empty.run(create, b"ptv0", made.index, guest.fd, b"eth1", 1500) == -17  # EEXIST
        assert guest.run(lib.pyrt_configure_interface, b"eth9", be("10.0.0.2"), 24, 0) == -19
        assert guest.run(lib.pyrt_configure_interface, b"eth0", be("10.0.0.2"), 33, 0) == -22
        assert (
            guest.run(lib.pyrt_configure_interface, b"eth0", be("10.0.0.2"), 24, be("10.9.9.9")) == -101
        )  # unreachable
        assert [link["ifname"] for link in empty.ip("link")] == ["lo", "ptnet0", "ptv0"]
        assert [link["ifname"] for link in guest.ip("link")] == ["lo", "eth0"]
        assert empty.run(lib.pyrt_link_delete, b"ptv0") == 0
        assert empty.run(lib.pyrt_link_delete, b"ptv0") == -19
        assert empty.run(lib.pyrt_link_index, b"ptv0") == -19
    finally:
        guest.close()
