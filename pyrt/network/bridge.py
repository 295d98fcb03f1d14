# SPDX-License-Identifier: Apache-2.0
"""The bridge that containers hang on: finding or making it, its subnet, and the kernel settings that go with it.

Plain netlink from csrc/bridge.c rather than pyroute2, whose import alone would cost the daemon 114 ms and 30 MB.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network, NetmaskValueError
from pathlib import Path

from pyrt.core._namespaces import ffi, lib
from pyrt.errors import NetworkError, UsageError
from pyrt.network.addresses import usable_range

DEFAULT_NAME = "pyrt0"
DEFAULT_MTU = 1500
# A /22 has 1,021 addresses for containers, more than a Linux bridge has use for: each bridge gets one of its pool's.
POOLS = tuple(
    IPv4Network(text)
    for text in (*(f"172.{n}.0.0/16" for n in range(30, 19, -1)), *(f"10.{n}.0.0/16" for n in range(213, 221)))
)
POOL_PREFIX = POOLS[0].prefixlen
BRIDGE_PREFIX = 22
SYSCTL = Path("/proc/sys/net")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge that is up; `created` if this call made it, rather than found it."""

    name: str
    index: int
    address: IPv4Interface
    created: bool = False


def check_name(name: str) -> str:
    """Return the name if an interface and an nft table can both have it; 11 characters, to leave room for `-NNN`."""
    if not _NAME.fullmatch(name) or len(name) > 11:
        raise UsageError(f"{name!r} cannot be a bridge's name: use up to 11 letters, digits, '-', '_', '.'")
    return name


def parse_address(text: str) -> IPv4Interface:
    """Read a bridge's address, like 172.30.0.1/22."""
    try:
        interface = IPv4Interface(text)
        usable_range(interface.network)
    except (AddressValueError, NetmaskValueError, NetworkError):
        raise UsageError(f"{text!r} is not a bridge address: write ADDRESS/PREFIX, like 172.30.0.1/22") from None
    if interface.ip in (interface.network.network_address, interface.network.broadcast_address):
        raise UsageError(f"{text!r} is not a bridge address: {interface.ip} stands for the network itself")
    return interface


def ensure_bridge(name: str = DEFAULT_NAME, *, address: IPv4Interface | None = None, mtu: int = 0) -> Bridge:
    """Find the bridge or make it, and bring it up.

    Without an address a found bridge keeps its own, and a new one gets the first /22 of a private network that no route
    or address of this host overlaps. mtu 0 means the default route's, at most 1500. A failure leaves no new bridge.
    """
    index = lib.pyrt_bridge_find(name.encode())
    if index == -errno.EEXIST:
        raise NetworkError(f"interface {name} exists and is not a bridge: give pyrt's bridge another name")
    created = index == -errno.ENODEV
    if created:
        address = address or _free_address()
        _require_free(address.network)
        _check(lib.pyrt_bridge_create(name.encode(), mtu or default_mtu()), f"make bridge {name}")
        index = lib.pyrt_bridge_find(name.encode())
    _check(index, f"find bridge {name}")
    try:
        bridge = Bridge(name, index, _settle_address(name, index, address), created)
        _apply_settings(name)
        # Only the address may exist already: the kernel brings the link up all the same.
        prefix_length = bridge.address.network.prefixlen
        result = lib.pyrt_configure_interface(name.encode(), _be(bridge.address.ip), prefix_length, 0)
        if result != -errno.EEXIST:
            _check(result, f"configure bridge {name}")
    except BaseException:
        if created:
            lib.pyrt_link_delete(name.encode())
        raise
    return bridge


def _settle_address(name: str, index: int, wanted: IPv4Interface | None) -> IPv4Interface:
    present = address_of(index)
    if present is None:
        return wanted or _free_address()
    if wanted is not None and wanted != present:
        raise NetworkError(f"bridge {name} has the address {present}, not {wanted}: remove it or configure {present}")
    usable_range(present.network)
    return present


def address_of(index: int) -> IPv4Interface | None:
    """Return an interface's first IPv4 address."""
    address = ffi.new("uint32_t *")
    prefix_length = lib.pyrt_address_get(index, address)
    if prefix_length in (-errno.ENODATA, -errno.ENODEV):
        return None
    _check(prefix_length, "read the addresses of an interface")
    return IPv4Interface((bytes(ffi.buffer(address)), prefix_length))


def conflicts(network: IPv4Network) -> bool:
    """Whether a route or an address of this host overlaps this network."""
    return bool(
        _check(lib.pyrt_route_conflict(_be(network.network_address), network.prefixlen), "read the host's routes")
    )


def _require_free(network: IPv4Network) -> None:
    if conflicts(network):
        raise NetworkError(f"the host already has a route into {network}: configure another bridge network")


def _free_address() -> IPv4Interface:
    for pool in POOLS:
        if not conflicts(pool):
            return IPv4Interface((int(pool.network_address) + 1, BRIDGE_PREFIX))
    raise NetworkError("every default bridge network overlaps a route of this host: configure one that is free")


def attach(link_name: str, bridge: Bridge) -> bool:
    """Make an interface a port of the bridge again; False if there is no such interface."""
    result = lib.pyrt_link_set_master(link_name.encode(), bridge.index)
    if result == -errno.ENODEV:
        return False
    _check(result, f"attach {link_name} to bridge {bridge.name}")
    return True


def delete(name: str) -> None:
    """Remove a bridge; nothing happens if there is none."""
    result = lib.pyrt_link_delete(name.encode())
    if result != -errno.ENODEV:
        _check(result, f"remove bridge {name}")


def index_of(name: str) -> int:
    """Return an interface's index, 0 if it does not exist.

    Asks by ioctl: netlink would wait for the lock that every change of a link anywhere on the host holds.
    """
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def default_mtu() -> int:
    """Return the MTU of the interface of the default route, at most 1500: a tunnel below must not need fragments."""
    try:
        for line in Path("/proc/thread-self/net/route").read_text().splitlines()[1:]:
            name, destination, *_ = line.split()
            if destination == "00000000":
                return min(DEFAULT_MTU, int(Path(f"/sys/class/net/{name}/mtu").read_text()))
    except (OSError, ValueError):
        pass
    return DEFAULT_MTU


def _apply_settings(name: str) -> None:
    """IPv6 off, so that no container can advertise itself as the host's router (CVE-2020-13401); 127/8 routable, so
    that what the host sends to a port published on 127.0.0.1 can leave through the bridge. The rules in nftables.py
    keep that door shut from the other side."""
    _write(SYSCTL / "ipv6/conf" / name / "accept_ra", "0", missing_ok=True)
    _write(SYSCTL / "ipv6/conf" / name / "disable_ipv6", "1", missing_ok=True)
    _write(SYSCTL / "ipv4/conf" / name / "route_localnet", "1")


def is_forwarding() -> bool:
    """Whether this host forwards IPv4 packets between its interfaces."""
    return (SYSCTL / "ipv4/ip_forward").read_text().strip() != "0"


def ensure_forwarding() -> bool:
    """Let the host forward between the bridge and its other interfaces; True if that had to be switched on."""
    if is_forwarding():
        return False
    _write(SYSCTL / "ipv4/ip_forward", "1")
    return True


def raise_neighbour_limits() -> bool:
    """Make room for thousands of containers: the kernel's neighbour table, one for all namespaces, holds 1,024.

    True if something had to be changed.
    """
    changed = False
    for name, least in (("gc_thresh3", 65536), ("gc_thresh2", 32768), ("gc_thresh1", 16384)):
        path = SYSCTL / "ipv4/neigh/default" / name
        try:
            if int(path.read_text()) < least:
                path.write_text(str(least))
                changed = True
        except OSError:  # only the first network namespace has these
            break
    return changed


def _write(path: Path, value: str, *, missing_ok: bool = False) -> None:
    try:
        path.write_text(value)
    except OSError as error:
        if not (missing_ok and error.errno == errno.ENOENT):
            raise NetworkError(f"cannot set {path} to {value}: {error.strerror}") from error


def _be(address: IPv4Address) -> int:
    """An address as C has it in memory: the four bytes in network order."""
    return int(ffi.from_buffer("uint32_t *", socket.inet_aton(str(address)))[0])


def _check(result: int, what: str) -> int:
    if result < 0:
        raise NetworkError(f"cannot {what}: {os.strerror(-result)}") from OSError(-result, os.strerror(-result))
    return result
