# SPDX-License-Identifier: Apache-2.0
"""The packet rules of one pyrt instance: one nft table of its own, named after its bridge, and nothing outside it.

Ports are elements of two maps, so publishing is adding elements, one transaction a container, and the number of rules
does not grow. Every change goes through libnftables inside this process.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network
from typing import Any

from pyrt.errors import NetworkError
from pyrt.network import netfilter
from pyrt.network._nftables import ffi, lib
from pyrt.network.ports import ANY_ADDRESS, PortMapping

Target = tuple[str, PortMapping]
"""A container's address and one of its mappings."""

# Why, rule by rule:
# - guard: route_localnet (bridge.py) lets 127/8 in from the bridge; only what the host itself sent may use it.
# - prerouting: only packets for an address of this host, so no forwarded connection is ever captured; never 127/8,
#   which from outside can only be a crafted route. A mapping for one address goes before one for all.
# - output: the same for connections the host makes; here 127/8 is legitimate.
# - postrouting: a container must not see 127.0.0.1 as its peer, nor another container that came by a published port:
#   it would answer past the host, with an address the other end does not know.
# - forward: nothing reaches a container from outside that was not redirected to it or belongs to a connection it has.
#   The last rule drops: an accept here does not overrule another table's drop, but a drop is final.
_TABLE = """
add table ip {table}
delete table ip {table}
table ip {table} {{
  set bridges {{ type ifname; elements = {{ {bridges} }} }}
  set subnets {{ type ipv4_addr; flags interval; elements = {{ {subnets} }} }}
  map published {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  map published_on {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
  chain guard {{
    type filter hook prerouting priority raw; policy accept;
    iifname @bridges ip daddr 127.0.0.0/8 drop
    iifname @bridges ip saddr 127.0.0.0/8 drop
  }}
  chain to_container {{
    meta l4proto {{ tcp, udp }} dnat ip to ip daddr . meta l4proto . th dport map @published_on
    meta l4proto {{ tcp, udp }} dnat ip to meta l4proto . th dport map @published
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr != 127.0.0.0/8 fib daddr type local jump to_container
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    fib daddr type local jump to_container
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname @bridges ct status dnat ip saddr 127.0.0.0/8 masquerade
    oifname @bridges ct status dnat ip saddr @subnets masquerade
    oifname != @bridges ip saddr @subnets masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    oifname != @bridges accept
    ct state established,related accept
    iifname @bridges accept
    ct status dnat accept
    drop
  }}
}}
"""


class NftError(NetworkError):
    """libnftables or the kernel refused a change; nothing of its transaction was applied."""


class Ruleset:
    """The table of the instance whose bridge is `bridge_name`. Thread-safe. Acts on the network namespace it is used in
    first."""

    def __init__(self, bridge_name: str) -> None:
        self.table = f"pyrt-{bridge_name}"
        self._lock = threading.Lock()
        self._context: Any = None  # owned; made when first needed
        self._structure: str | None = None
        self._seen_intact = 0  # the kernel's generation of rules at that time

    def replace(self, bridges: Sequence[tuple[str, IPv4Network]], targets: Iterable[Target]) -> None:
        """Make the table exactly this, in one transaction, whatever it was before."""
        script = _TABLE.format(
            table=self.table,
            bridges=", ".join(f'"{name}"' for name, _ in bridges),
            subnets=", ".join(str(network) for _, network in bridges),
        )
        self._run(script + self._elements("add", targets))
        self._structure = self._list_structure()

    def publish(self, targets: Iterable[Target]) -> None:
        """Redirect these ports; all of them or, with NftError, none."""
        self._run(self._elements("add", targets))

    def withdraw(self, targets: Sequence[Target]) -> None:
        """Stop redirecting these ports; those that are not redirected are no error."""
        # Adding what exists is no change, and makes deleting what does not exist one that succeeds.
        self._run(self._elements("add", targets) + self._elements("delete", targets))

    def remove(self) -> None:
        """Delete the table."""
        self._run(f"add table ip {self.table}\ndelete table ip {self.table}")
        self._structure = None

    def is_intact(self) -> bool:
        """Whether the rules are still those that replace() made. Says nothing about the published ports.

        While nobody has changed any rule on the host since the last time, this costs 20 µs.
        """
        now = netfilter.generation()
        if self._structure is None or now == self._seen_intact:
            return self._structure is not None
        intact = self._list_structure() == self._structure
        self._seen_intact = now if intact else 0
        return intact

    def close(self) -> None:
        """Free the library's context; the table stays."""
        with self._lock:
            if self._context is not None:
                lib.nft_ctx_free(self._context)
            self._context = None

    def _elements(self, verb: str, targets: Iterable[Target]) -> str:
        everywhere: list[str] = []
        somewhere: list[str] = []
        for address, mapping in targets:
            key = f"{mapping.protocol} . {mapping.host_port}"
            value = f" : {address} . {mapping.container_port}" if verb == "add" else ""
            if mapping.host_ip == ANY_ADDRESS:
                everywhere.append(key + value)
            else:
                somewhere.append(f"{mapping.host_ip} . {key}{value}")
        return "".join(
            f"{verb} element ip {self.table} {name} {{ {', '.join(elements)} }}\n"
            for name, elements in (("published", everywhere), ("published_on", somewhere))
            if elements
        )

    def _list_structure(self) -> str | None:
        try:
            return self._run(f"list table ip {self.table}")
        except NftError:
            return None

    def _run(self, script: str) -> str:
        if not script:
            return ""
        with self._lock:
            if self._context is None:
                self._context = _new_context()
            failed = lib.nft_run_cmd_from_buffer(self._context, script.encode())
            output = ffi.string(lib.nft_ctx_get_output_buffer(self._context)).decode(errors="replace")
            error = ffi.string(lib.nft_ctx_get_error_buffer(self._context)).decode(errors="replace")
        if failed:
            reason = error.partition("Error: ")[2].partition("\n")[0] or error.strip() or "no reason given"
            raise NftError(f"the kernel refused the packet rules of table {self.table}: {reason}")
        return str(output)


def _new_context() -> Any:
    """A libnftables context. The library opens its socket without close-on-exec, so that is set here."""
    before = _descriptors()
    context = lib.nft_ctx_new(lib.NFT_CTX_DEFAULT)
    if context == ffi.NULL:
        raise NftError("cannot open nftables: does this kernel have nf_tables, and is this process root?")
    for name, _ in _descriptors() - before:
        fcntl.fcntl(int(name), fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    lib.nft_ctx_buffer_output(context)
    lib.nft_ctx_buffer_error(context)
    lib.nft_ctx_output_set_flags(context, lib.NFT_CTX_OUTPUT_STATELESS | lib.NFT_CTX_OUTPUT_TERSE)
    return context


def _descriptors() -> set[tuple[str, str]]:
    """This process's open sockets: (descriptor, what it is)."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the descriptor that listed the directory, or one another thread closed
            continue
        if target.startswith("socket:"):
            found.add((name, target))
    return found
