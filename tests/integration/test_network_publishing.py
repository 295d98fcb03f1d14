# SPDX-License-Identifier: Apache-2.0
"""Published ports, shown by traffic: who reaches a container by which address, and who must not."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrt.network import NetworkManager
from tests.topology import PATIENCE, Container, Host, plumb, received

pytestmark = [pytest.mark.root, pytest.mark.both_engines]

BRIDGE_NETFILTER = "/proc/sys/net/bridge/bridge-nf-call-iptables"


@pytest.fixture(params=["routed", "br_netfilter"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """Both ways a packet of a bridge can meet the rules: Docker's br_netfilter makes bridged ones pass them too."""
    made = Host()
    try:
        switch = made.host.run(Path(BRIDGE_NETFILTER).exists)
        if not switch and request.param == "br_netfilter":
            pytest.skip("this kernel has no br_netfilter")
        if switch:
            made.host.run(Path(BRIDGE_NETFILTER).write_text, "1" if request.param == "br_netfilter" else "0")
        yield made
    finally:
        made.close()


def test_published_port_from_everywhere(host: Host) -> None:
    web = host.container("a" * 64, "8080:80")
    neighbour = host.container("b" * 64)
    with web.namespace.listen(80) as server:
        assert host.client.reaches("10.77.1.1", 8080, server) == "10.77.1.2"  # the client's own address is seen
        assert host.other.reaches("10.77.2.1", 8080, server) == "10.77.2.2"
        assert host.client.reaches("10.77.2.1", 8080, server) == "10.77.1.2"
        assert host.host.reaches("10.77.1.1", 8080, server) is not None
        assert host.host.reaches("172.30.0.1", 8080, server) is not None
        through_loopback = host.host.reaches("127.0.0.1", 8080, server)
        assert through_loopback == web.allocation.gateway  # never 127.0.0.1, which programs trust
        assert neighbour.namespace.reaches("172.30.0.1", 8080, server) is not None
        assert neighbour.namespace.reaches("10.77.1.1", 8080, server) is not None
        assert neighbour.namespace.reaches(web.allocation.address, 80, server) == neighbour.allocation.address


def test_container_reaches_its_own_published_port(host: Host) -> None:
    web = host.container("a" * 64, "8080:80")
    with web.namespace.listen(80) as server:
        assert web.namespace.reaches("172.30.0.1", 8080, server) is not None
        assert web.namespace.reaches("10.77.1.1", 8080, server) is not None
        assert web.namespace.reaches("127.0.0.1", 80, server) == "127.0.0.1"


def test_loopback_only_is_loopback_only(host: Host) -> None:
    web = host.container("a" * 64, "127.0.0.1:8080:80/tcp")
    neighbour = host.container("b" * 64)
    with web.namespace.listen(80) as server:
        assert host.host.reaches("127.0.0.1", 8080, server) is not None
        assert host.client.fails_to_reach("10.77.1.1", 8080, server)
        assert host.host.fails_to_reach("10.77.1.1", 8080, server)
        assert neighbour.namespace.fails_to_reach("172.30.0.1", 8080, server)


@pytest.mark.parametrize("route_localnet", ["0", "1"])
def test_crafted_packet_to_loopback(host: Host, route_localnet: str) -> None:
    """A neighbour sends packets for 127.0.0.1 to the host's hardware address (moby#45610).

    Nothing gets in even where the administrator made 127/8 routable on that interface.
    """
    web = host.container("a" * 64, "127.0.0.1:5353:53/udp", "5354:53/udp")
    host.host.run(Path("/proc/sys/net/ipv4/conf/to-client/route_localnet").write_text, route_localnet)
    with web.namespace.udp(53) as server:
        host.client.send_crafted("10.77.1.1", "10.77.1.2", "10.77.1.1", 5354, b"control")
        assert received(server) == b"control"
        host.client.send_crafted("10.77.1.1", "10.77.1.2", "127.0.0.1", 5353, b"crafted")
        host.client.send_crafted("10.77.1.1", "10.77.1.2", "127.0.0.1", 5354, b"crafted")
        assert not received(server, patience=PATIENCE)
        web.namespace.send_crafted("172.30.0.1", web.allocation.address, "127.0.0.1", 5353, b"hairpin")
        assert not received(server, patience=PATIENCE)


def test_containers_cannot_use_the_routable_loopback(host: Host) -> None:
    """route_localnet on the bridge must not open the host's own loopback services to containers."""
    guest = host.container("a" * 64)
    own = guest.allocation.address
    with host.host.udp(9000, "127.0.0.1") as private, host.host.udp(9001) as public:
        guest.namespace.send_crafted("172.30.0.1", own, "172.30.0.1", 9001, b"control")
        assert received(public) == b"control"
        guest.namespace.send_crafted("172.30.0.1", own, "127.0.0.1", 9000, b"crafted")
        assert not received(private, patience=PATIENCE)
        guest.namespace.send_crafted("172.30.0.1", "127.0.0.1", "172.30.0.1", 9001, b"pretends to be the host")
        assert not received(public, patience=PATIENCE)


def test_published_on_one_address(host: Host) -> None:
    web = host.container("a" * 64, "10.77.2.1:8080:80")
    with web.namespace.listen(80) as server:
        assert host.other.reaches("10.77.2.1", 8080, server) == "10.77.2.2"
        assert host.other.fails_to_reach("10.77.1.1", 8080, server)
        assert host.client.fails_to_reach("10.77.1.1", 8080, server)
        assert host.host.fails_to_reach("127.0.0.1", 8080, server)


def test_one_port_for_two_containers_by_address(host: Host) -> None:
    one = host.container("a" * 64, "10.77.1.1:8080:80")
    two = host.container("b" * 64, "10.77.2.1:8080:81")
    with one.namespace.listen(80) as first, two.namespace.listen(81) as second:
        assert host.client.reaches("10.77.1.1", 8080, first) == "10.77.1.2"
        assert host.client.reaches("10.77.2.1", 8080, second) == "10.77.1.2"


def test_udp(host: Host) -> None:
    web = host.container("a" * 64, "5353:53/udp")
    with web.namespace.udp(53) as server:
        for namespace, address in (
            (host.client, "10.77.1.1"),
            (host.host, "127.0.0.1"),
            (host.host, "10.77.1.1"),
            (web.namespace, "172.30.0.1"),
        ):
            with namespace.udp(0) as asking:
                asking.connect((address, 5353))
                asking.send(b"question")
                question, peer = server.recvfrom(64)
                server.sendto(b"answer to " + question, peer)
                assert asking.recv(64) == b"answer to question"  # connected: it came from the address that was asked


def test_udp_client_that_never_pauses(host: Host) -> None:
    """One client socket: sending before the port is published, then to one container, then to its successor."""
    with host.client.udp(4000) as asking:
        asking.connect(("10.77.1.1", 5353))
        asking.send(b"nobody there")
        first = host.container("a" * 64, "5353:53/udp")
        with first.namespace.udp(53) as server:
            send_again(asking, b"one")
            assert received(server) == b"one"
        host.host.run(host.manager.release, first.id, first.allocation)
        second = host.container("b" * 64, "5353:53/udp")
        with second.namespace.udp(53) as server:
            send_again(asking, b"two")
            assert received(server) == b"two"


def send_again(client: socket.socket, payload: bytes) -> None:
    """Send, past the refusal of an earlier packet that is reported only now."""
    client.settimeout(PATIENCE)
    with contextlib.suppress(ConnectionRefusedError, TimeoutError):
        client.recv(1)
    client.send(payload)


def test_container_address_is_not_reachable_from_outside(host: Host) -> None:
    web = host.container("a" * 64, "8080:80")
    with web.namespace.listen(80) as server, web.namespace.listen(81) as other:
        assert host.client.fails_to_reach(web.allocation.address, 80, server)
        assert host.client.fails_to_reach(web.allocation.address, 81, other)
        assert host.host.reaches(web.allocation.address, 81, other) is not None


def test_traffic_to_other_hosts_is_not_captured(host: Host) -> None:
    """docker 0.1.0 redirected everything to a published port, even what it only forwarded, and what the host sent."""
    web = host.container("a" * 64, "8080:80", "8081:80")
    with host.other.listen(8080) as server, web.namespace.listen(80):
        assert host.client.reaches("10.77.2.2", 8080, server) == "10.77.1.2"
        assert host.host.reaches("10.77.2.2", 8080, server) == "10.77.2.1"
        assert web.namespace.reaches("10.77.2.2", 8080, server) == "10.77.2.1"


def test_outbound_is_masqueraded(host: Host) -> None:
    guest = host.container("a" * 64)
    with host.other.listen(7000) as server:
        assert guest.namespace.reaches("10.77.2.2", 7000, server) == "10.77.2.1"


def test_released_port_leads_nowhere(host: Host) -> None:
    web = host.container("a" * 64, "8080:80")
    with web.namespace.listen(80) as server:
        assert host.client.reaches("10.77.1.1", 8080, server) is not None
        host.host.run(host.manager.release, web.id, web.allocation)
        assert host.client.fails_to_reach("10.77.1.1", 8080, server)
        assert host.host.fails_to_reach("127.0.0.1", 8080, server)
    with host.host.listen(8080) as server:  # the port is the host's again
        assert host.client.reaches("10.77.1.1", 8080, server) == "10.77.1.2"


def test_two_instances_side_by_side(host: Host) -> None:
    one = host.container("a" * 64, "8080:80")
    second = host.host.run(NetworkManager, "ptnet1", address="172.30.1.1/24")
    allocation = host.host.run(second.allocate, "b" * 64, ["8081:80"])
    two = Container("b" * 64, host.namespace("two"), allocation)
    try:
        host.host.run(plumb, two.id, allocation, two.namespace)
        host.host.run(second.publish, two.id, allocation)
        with one.namespace.listen(80) as first, two.namespace.listen(80) as server:
            assert host.client.reaches("10.77.1.1", 8080, first) == "10.77.1.2"
            assert host.client.reaches("10.77.1.1", 8081, server) == "10.77.1.2"
            assert one.namespace.reaches("10.77.1.1", 8081, server) is not None
            assert one.namespace.fails_to_reach(allocation.address, 80, server)  # instances are apart
        host.host.run(second.release, two.id, allocation)
        host.host.run(second.remove)
        with one.namespace.listen(80) as first:
            assert host.client.reaches("10.77.1.1", 8080, first) == "10.77.1.2"
    finally:
        second.close()
        for held in allocation.sockets:
            held.close()
