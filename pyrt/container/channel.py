# SPDX-License-Identifier: Apache-2.0
"""The messages between daemon and supervisor: JSON objects with descriptors, on a SOCK_SEQPACKET socket.

Requests carry `op` and `seq`, replies the same `seq`, what the supervisor says unasked `event`. A LaunchSpec may be a
part of one. A message too large for one packet travels in a memfd, which is then the first of its descriptors.
"""

from __future__ import annotations

import array
import errno
import json
import os
import socket
from collections.abc import Sequence
from typing import Any

from pyrt.engine.spec import fields

PACKET_MAX_BYTES = 64 << 10  # well below the kernel's default socket buffer (net.core.wmem_default, 208 KiB)
STARVED = "starved"  # a field of what arrived without its descriptors
FDS_MAX = 250  # of the kernel's 253 (SCM_MAX_FD)

Message = dict[str, Any]


class Channel:
    """One end of the connection. Owns its socket; descriptors to send are borrowed, received ones are the caller's."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Raises OSError when the peer is gone, BlockingIOError when it has not read what was sent before."""
        data = json.dumps(message, default=fields, separators=(",", ":")).encode()
        if len(data) <= PACKET_MAX_BYTES:
            socket.send_fds(self.socket, [data], list(fds), socket.MSG_NOSIGNAL)
            return
        memfd = os.memfd_create("pyrt-message", os.MFD_CLOEXEC)
        try:
            with open(memfd, "wb", closefd=False) as file:
                file.write(data)
            socket.send_fds(self.socket, [b"@"], [memfd, *fds], socket.MSG_NOSIGNAL)
        finally:
            os.close(memfd)

    def receive(self) -> tuple[Message, list[int]] | None:
        """Return a message and its descriptors, None at the end. Raises BlockingIOError on a non-blocking socket.

        Where this process has no room for the descriptors there are none, and the message has a field STARVED.
        """
        space = socket.CMSG_SPACE(FDS_MAX * array.array("i").itemsize)
        data, controls, flags, _ = self.socket.recvmsg(PACKET_MAX_BYTES, space, socket.MSG_CMSG_CLOEXEC)
        received = array.array("i")
        for level, kind, content in controls:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received.frombytes(content[: len(content) - len(content) % received.itemsize])
        fds = list(received)
        if not data:
            return None
        starved = flags & socket.MSG_CTRUNC
        if starved:
            for fd in fds[data == b"@" :]:
                os.close(fd)
            del fds[data == b"@" :]
        if data == b"@":
            if not fds:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            with open(fds.pop(0), "rb") as file:
                file.seek(0)
                data = file.read()
        message = json.loads(data)
        if starved:
            message[STARVED] = True
        return message, fds

    def close(self) -> None:
        self.socket.close()
