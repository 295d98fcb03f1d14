# SPDX-License-Identifier: Apache-2.0
"""Two questions to the kernel's packet filter that libnftables has no words for, over plain nfnetlink.

Has anybody changed a rule since I last looked, and: forget these UDP flows. A flow keeps the redirection of its first
packet for as long as packets come; a client that never pauses would talk to a container that is gone, forever.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Collection, Iterator

_NETLINK_NETFILTER = 12
_ACK, _REQUEST, _DUMP = 4, 1, 0x300
_ERROR, _DONE = 2, 3
_GETGEN, _NEWGEN, _GEN_ID = (10 << 8) | 16, (10 << 8) | 15, 1  # nfnetlink subsystem 10: nftables
_CT_NEW, _CT_GET, _CT_DELETE = 1 << 8, (1 << 8) | 1, (1 << 8) | 2  # subsystem 1: connection tracking
_TUPLE_ORIG, _TUPLE_REPLY, _TUPLE_IP, _TUPLE_PROTO = 1, 2, 1, 2
_IP_SRC, _IP_DST, _PROTO_NUMBER, _PROTO_DST_PORT = 1, 2, 1, 3
_TYPE_MASK = 0x3FFF


def generation() -> int:
    """Return the number of the rule set in force; every change by anybody increases it. Costs 20 µs."""
    with _open() as netlink:
        netlink.send(_message(_GETGEN, _REQUEST, socket.AF_UNSPEC))
        for kind, payload in _replies(netlink):
            if kind == _NEWGEN:
                return int.from_bytes(_attributes(payload[4:])[_GEN_ID], "big")
    raise OSError("the kernel did not tell the rule set's generation")


def forget_udp_flows(ports: Collection[int], container_address: str) -> int:
    """End the UDP flows to these ports of this host that lead to the container, or nowhere; return how many."""
    container = socket.inet_aton(container_address)
    with _open() as netlink:
        netlink.send(_message(_CT_GET, _REQUEST | _DUMP, socket.AF_INET))
        stale = [
            attributes[_TUPLE_ORIG]
            for kind, payload in _replies(netlink)
            if kind == _CT_NEW and _is_stale(attributes := _attributes(payload[4:]), ports, container)
        ]
        for original in stale:
            attribute = struct.pack("=HH", 4 + len(original), _TUPLE_ORIG | 0x8000) + original
            netlink.send(_message(_CT_DELETE, _REQUEST | _ACK, socket.AF_INET, attribute))
            try:
                for _ in _replies(netlink):
                    pass
            except FileNotFoundError:  # it expired meanwhile
                continue
    return len(stale)


def _is_stale(flow: dict[int, bytes], ports: Collection[int], container: bytes) -> bool:
    original, reply = _attributes(flow[_TUPLE_ORIG]), _attributes(flow[_TUPLE_REPLY])
    transport = _attributes(original[_TUPLE_PROTO])
    if transport[_PROTO_NUMBER][0] != socket.IPPROTO_UDP:
        return False
    if int.from_bytes(transport[_PROTO_DST_PORT], "big") not in ports:
        return False
    asked, answering = _attributes(original[_TUPLE_IP]), _attributes(reply[_TUPLE_IP])
    untouched = answering[_IP_SRC] == asked[_IP_DST] and answering[_IP_DST] == asked[_IP_SRC]
    return untouched or answering[_IP_SRC] == container


def _open() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    netlink.bind((0, 0))
    return netlink


def _message(kind: int, flags: int, family: int, attributes: bytes = b"") -> bytes:
    header = struct.pack("=IHHII", 20 + len(attributes), kind, flags, 1, 0)
    return header + struct.pack("=BBH", family, 0, 0) + attributes


def _replies(netlink: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Yield (type, payload) up to the end of a dump, an acknowledgement or an answer that stands alone."""
    while True:
        data = memoryview(netlink.recv(1 << 16))
        multi = False
        while len(data) >= 16:
            length, kind, flags = struct.unpack_from("=IHH", data)
            if length < 16 or length > len(data):
                raise OSError("a damaged netlink message")
            payload = bytes(data[16:length])
            if kind in (_ERROR, _DONE):
                (code,) = struct.unpack_from("=i", payload)
                if code:
                    raise OSError(-code, os.strerror(-code))
                return
            multi = bool(flags & 2)
            yield kind, payload
            data = data[(length + 3) & ~3 :]
        if not multi:
            return


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4 or length > len(data):
            raise OSError("a damaged netlink attribute")
        found[kind & _TYPE_MASK] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found
