# SPDX-License-Identifier: Apache-2.0
"""Address arithmetic and allocation, the ancestor's cases first."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrt.errors import NetworkError
from pyrt.network.addresses import IPAllocator, usable_range


def numbers(addresses: Iterable[IPv4Address]) -> set[int]:
    return set(map(int, addresses))


@pytest.mark.parametrize(
    ("network", "first", "last"),
    [
        ("192.168.0.0/24", "192.168.0.1", "192.168.0.254"),
        ("10.0.0.0/8", "10.0.0.1", "10.255.255.254"),
        ("10.1.2.4/30", "10.1.2.5", "10.1.2.6"),
        ("192.168.128.0/17", "192.168.128.1", "192.168.255.254"),
        ("172.30.0.0/22", "172.30.0.1", "172.30.3.254"),
    ],
)
def test_usable_range(network: str, first: str, last: str) -> None:
    assert usable_range(IPv4Network(network)) == (int(IPv4Address(first)), int(IPv4Address(last)))


@pytest.mark.parametrize("network", ["10.0.0.0/31", "10.0.0.0/32"])
def test_too_small(network: str) -> None:
    with pytest.raises(NetworkError, match="too small"):
        usable_range(IPv4Network(network))


def test_allocates_until_exhausted_then_reuses_what_is_released() -> None:
    allocator = IPAllocator(IPv4Interface("192.168.0.1/29"))
    live: list[IPv4Address] = []
    for expected in range(2, 7):
        live.append(allocator.allocate(numbers(live)))
        assert live[-1] == IPv4Address(f"192.168.0.{expected}")
    with pytest.raises(NetworkError, match=r"no free address in 192\.168\.0\.0/29: stop a container"):
        allocator.allocate(numbers(live))
    live.remove(IPv4Address("192.168.0.4"))
    assert allocator.allocate(numbers(live)) == IPv4Address("192.168.0.4")


def test_released_address_is_not_the_next_one() -> None:
    allocator = IPAllocator(IPv4Interface("192.168.0.1/24"))
    assert len({allocator.allocate([]) for _ in range(253)}) == 253
    assert allocator.allocate([]) == IPv4Address("192.168.0.2")


def test_gateway_in_the_middle_is_left_out() -> None:
    allocator = IPAllocator(IPv4Interface("10.0.0.3/29"))
    assert allocator.capacity == 5
    assert {allocator.allocate([]) for _ in range(5)} == {IPv4Address(f"10.0.0.{n}") for n in (1, 2, 4, 5, 6)}


@pytest.mark.parametrize("address", ["10.0.0.0/29", "10.0.0.7/29"])
def test_gateway_that_is_no_host_address(address: str) -> None:
    with pytest.raises(NetworkError, match="cannot be an address"):
        IPAllocator(IPv4Interface(address))


@given(st.integers(22, 30), st.integers(0, 1000), st.sets(st.integers(0, 1023), max_size=64))
def test_never_hands_out_what_is_taken(prefix: int, before: int, offsets: set[int]) -> None:
    network = IPv4Network((int(IPv4Address("10.20.0.0")), prefix))
    allocator = IPAllocator(IPv4Interface((int(network.network_address) + 1, prefix)))
    taken = {network.network_address + offset for offset in offsets if offset < network.num_addresses}
    for _ in range(before % 5):
        allocator.allocate([])
    try:
        address = allocator.allocate(numbers(taken))
    except NetworkError:
        assert taken >= set(network.hosts()) - {allocator.gateway}
    else:
        assert address in network
        assert address not in taken | {allocator.gateway, network.network_address, network.broadcast_address}
