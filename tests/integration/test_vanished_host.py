# SPDX-License-Identifier: Apache-2.0
"""A client whose host is gone, without a word: found by the kernel's probes, and no matter to anybody else meanwhile.

The instance lives in a network namespace of its own, in which a wall then goes up between client and daemon.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_tls import free_port
from tests.harness import Pyrt, client_path
from tests.integration.test_attach import connected, finish, line, say
from tests.networks import network, run_in
from tests.processes import wait_until

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

SIZE = 24 << 20
PIDFD_GETFD = 438
CUT = "table inet cut { chain input { type filter hook input priority 0; tcp dport %d drop; tcp sport %d drop; }; }"


class Walled:
    """An instance in a network namespace, whose daemon listens on TCP."""

    def __init__(self, netns: Path, wrapper: Path) -> None:
        self.netns = netns
        self.port = free_port()
        self.pyrt = Pyrt(wrapper)
        self.remote = ("-H", f"tcp://127.0.0.1:{self.port}")

    def start(self, bb_tar: bytes) -> None:
        self.pyrt.start("-d", *self.remote)
        wait_until(lambda: self.pyrt(*self.remote, "ps").status == 0, what="the daemon listening on TCP")
        self.pyrt.ok("import", "-", "bb", input=bb_tar)

    def put_up_wall(self) -> None:
        """Once everything sent so far is acknowledged, which peers take their time for: what waits is sent again."""
        wait_until(lambda: not any(map(unacknowledged, self.clients())), what="acknowledgement")
        run_in(self.netns, "nft", CUT % (self.port, self.port))

    def probe_soon(self) -> None:
        """Have the kernel ask each client over TCP after a second, in place of the minute that pyrt sets."""
        for client in self.clients():
            assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 60
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT):
                client.setsockopt(socket.IPPROTO_TCP, option, 1)

    def clients(self) -> Iterator[socket.socket]:
        """The supervisor's sockets of clients over TCP, each while the loop is at it."""
        pidfd = os.pidfd_open(self.pyrt.supervisor_pid)
        try:
            for name in os.listdir(f"/proc/{self.pyrt.supervisor_pid}/fd"):
                fd = ctypes.CDLL(None).syscall(PIDFD_GETFD, pidfd, int(name), 0)
                if fd < 0:
                    continue
                try:
                    found = socket.socket(fileno=fd)
                except OSError:  # it is none
                    os.close(fd)
                    continue
                with found:
                    if found.family == socket.AF_INET:
                        yield found
        finally:
            os.close(pidfd)


def unacknowledged(sock: socket.socket) -> int:
    """How many bytes have been sent, and not been acknowledged."""
    return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


@pytest.fixture
def walled(pyrt: Pyrt, bb_tar: bytes, tmp_path: Path) -> Iterator[Walled]:
    with network() as netns:
        wrapper = tmp_path / "pyrt"
        wrapper.write_text(f'#!/bin/sh\nexec nsenter --net={netns} {client_path()} "$@"\n')
        wrapper.chmod(0o755)
        made = Walled(netns, wrapper)
        try:
            made.start(bb_tar)
            yield made
        finally:
            made.pyrt.close()


def test_its_stdin_ends_and_nobody_else_notices(walled: Walled, probe: Path) -> None:
    pyrt, remote = walled.pyrt, walled.remote
    idle = pyrt.start(*remote, "run", "--name", "idle", "-i", "bb", "cat", stdin=subprocess.PIPE)
    say(idle, b"hello\n")
    assert line(idle) == b"hello\n"
    pyrt.detached("-i", "--name", "flood", "bb", "sh", "-c", f"read go; probe emit 1 {SIZE} 3; exit 7")
    far, near = pyrt.start(*remote, "attach", "-o", "flood"), pyrt.start("attach", "flood", stdin=subprocess.PIPE)
    connected(far)
    walled.put_up_wall()
    walled.probe_soon()
    say(near, b"go\n")
    status, out, _ = finish(near)
    assert status == 7 and pyrt.ok("wait", "flood").text == "7"
    emitted = subprocess.run([probe, "emit", "1", str(SIZE), "3"], check=True, capture_output=True).stdout
    assert hashlib.sha256(out).digest() == hashlib.sha256(emitted).digest()
    pyrt.wait_status("idle", "Exit 0", seconds=30)
    idle.send_signal(signal.SIGKILL)
    far.send_signal(signal.SIGKILL)
    pyrt.ok("rm", "idle", "flood")
