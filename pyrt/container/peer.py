# SPDX-License-Identifier: Apache-2.0
"""Peers that have vanished without a word, while bytes wait for them: a host without power, a network that is gone.

Keep-alive probes find such a peer only while nothing waits to be acknowledged. The kernel's own answer to the rest,
TCP_USER_TIMEOUT, ends the connection of a peer that is there and merely does not read, too.
"""

from __future__ import annotations

import socket
import struct

LOOK_S = 30.0
UNHEARD_MS = 120_000
_UNANSWERED = 3  # one may always be under way
_INFO = struct.Struct("=8B13I")  # struct tcp_info up to tcpi_last_ack_recv (linux/tcp.h)


def may_vanish(sock: socket.socket) -> bool:
    """Say whether a connection leaves this host's memory at all."""
    return sock.family in (socket.AF_INET, socket.AF_INET6)


def has_vanished(sock: socket.socket, *, unheard_ms: int = UNHEARD_MS) -> bool:
    """Say whether a TCP peer has answered nothing that was sent to it for so long.

    One whose window is closed answers the kernel's questions whether it is open yet, and has not vanished.
    """
    try:
        info: tuple[int, ...] = _INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size))
    except OSError:  # it is closed, which epoll tells
        return False
    retransmits, probes, last_ack_ms = info[2], info[3], info[-1]
    return max(retransmits, probes) >= _UNANSWERED and last_ack_ms >= unheard_ms
