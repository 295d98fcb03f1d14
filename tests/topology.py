# SPDX-License-Identifier: Apache-2.0
"""A small internet in network namespaces, so that the machine's own network is never touched.

    client 10.77.1.2 ── 10.77.1.1 host 10.77.2.1 ── 10.77.2.2 other
                                  │ pyrt's bridge
                              containers

A namespace is a thread: what it runs sees that network alone, and all of it is gone when the thread ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from pyrt.core._namespaces import ffi, lib
from pyrt.engine.slots import link_name
from pyrt.network import Allocation, NetworkManager
from pyrt.network.ports import release

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
PATIENCE = 0.3  # seconds until a packet that should not arrive counts as lost
CERTAINLY = 10.0  # seconds until one that should arrive does
_libc = ctypes.CDLL(None, use_errno=True)


def be(address: str) -> int:
    """An address in network order, as the C functions take it."""
    return int(ffi.from_buffer("uint32_t *", socket.inet_aton(address))[0])


class Namespace:
    """A network namespace and the thread that lives in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._thread = ThreadPoolExecutor(max_workers=1)
        self.fd: int = self.run(self._enter)
        self.thread_id = self.run(threading.get_native_id)

    @staticmethod
    def _enter() -> int:
        if _libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        assert lib.pyrt_link_up_lo() == 0
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def run(self, function: Callable[..., T], *arguments: Any, **keywords: Any) -> T:
        """Call a function inside this namespace."""
        return self._thread.submit(function, *arguments, **keywords).result()

    def command(self, *words: str) -> str:
        """Run a program inside this namespace and return what it prints."""
        return self.run(subprocess.run, words, check=True, capture_output=True, text=True).stdout

    def ip(self, *words: str) -> Any:
        """What `ip` says about this namespace, as the oracle."""
        text = self.command("ip", "-j", "-d", *words)
        return json.loads(text) if text.strip() else []

    def close(self) -> None:
        self._thread.shutdown()
        os.close(self.fd)

    # --- traffic -----------------------------------------------------------------------------------------------------

    def listen(self, port: int, address: str = "0.0.0.0") -> socket.socket:
        """A TCP server's socket; the kernel completes connections by itself."""
        return self.run(socket.create_server, (address, port))

    def udp(self, port: int, address: str = "0.0.0.0") -> socket.socket:
        def bind() -> socket.socket:
            bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            bound.bind((address, port))
            bound.settimeout(CERTAINLY)
            return bound

        return self.run(bind)

    def connect(self, address: str, port: int, *, patience: float) -> socket.socket | None:
        """A TCP connection, or None if it is refused or nobody answers."""

        def attempt() -> socket.socket | None:
            try:
                return socket.create_connection((address, port), timeout=patience)
            except OSError:
                return None

        return self.run(attempt)

    def send_crafted(self, next_hop: str, source: str, destination: str, port: int, payload: bytes) -> None:
        """Send one UDP packet that this host's own routing would refuse to send, in a frame to `next_hop`."""
        with self.udp(0) as probe:  # makes the kernel resolve the next hop
            self.run(probe.sendto, b"", (next_hop, 9))
        deadline = time.monotonic() + 5
        while not (found := [entry for entry in self.ip("neigh") if entry["dst"] == next_hop and "lladdr" in entry]):
            assert time.monotonic() < deadline, f"{self.name} cannot resolve {next_hop}"
        neighbour = found[0]["lladdr"]
        own = self.ip("link", "show", "eth0")[0]["address"]
        udp = struct.pack("!HHHH", 4444, port, 8 + len(payload), 0) + payload
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, socket.IPPROTO_UDP, 0)
        ip += socket.inet_aton(source) + socket.inet_aton(destination)
        ip = ip[:10] + struct.pack("!H", _checksum(ip)) + ip[12:]
        frame = bytes.fromhex((neighbour + own).replace(":", "")) + b"\x08\x00" + ip + udp

        def send() -> None:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
                raw.bind(("eth0", 0))
                raw.send(frame)

        self.run(send)

    def reaches(self, address: str, port: int, server: socket.socket, *, patience: float = CERTAINLY) -> str | None:
        """Connect, and return the client's address as that very server sees it; None if it was not reached."""
        connection = self.connect(address, port, patience=patience)
        if connection is None:
            return None
        server.settimeout(patience)
        with connection:
            try:
                accepted, peer = server.accept()
            except TimeoutError:
                return None
            with accepted:
                accepted.sendall(b"both ways")
                return str(peer[0]) if connection.recv(64) == b"both ways" else None

    def fails_to_reach(self, address: str, port: int, server: socket.socket) -> bool:
        return self.reaches(address, port, server, patience=PATIENCE) is None


def _checksum(header: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - ((total + (total >> 16)) & 0xFFFF)


def received(server: socket.socket, *, patience: float = CERTAINLY) -> bytes | None:
    """The next datagram's payload; None if none comes."""
    server.settimeout(patience)
    try:
        return server.recv(64)
    except TimeoutError:
        return None


@dataclass
class Container:
    """A stand-in for a container: a namespace plumbed exactly as a real one is."""

    id: str
    namespace: Namespace
    allocation: Allocation


class Host:
    """The topology, and a NetworkManager at its centre."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        try:
            self.host, self.client, self.other = (self.namespace(name) for name in ("host", "client", "other"))
            self._cable(self.client, "eth0", "10.77.1.2", "10.77.1.1", "to-client")
            self._cable(self.other, "eth0", "10.77.2.2", "10.77.2.1", "to-other")
            self.manager = self.host.run(NetworkManager, "ptnet0", address="172.30.0.1/24")
            self._stack.callback(self.manager.close)
        except BaseException:
            self._stack.close()
            raise

    def namespace(self, name: str) -> Namespace:
        made = Namespace(name)
        self._stack.callback(made.close)
        return made

    def _cable(self, end: Namespace, name: str, address: str, host_address: str, host_name: str) -> None:
        peer = ("peer", "name", name, "netns", str(end.thread_id))
        self.host.command("ip", "link", "add", host_name, "type", "veth", *peer)
        assert self.host.run(lib.pyrt_configure_interface, host_name.encode(), be(host_address), 24, 0) == 0
        assert end.run(lib.pyrt_configure_interface, name.encode(), be(address), 24, be(host_address)) == 0
        self.host.ip("link", "show", host_name)  # the kernel puts the carrier into effect: no first packet is lost

    def container(self, container_id: str, *port_specs: str) -> Container:
        allocation = self.host.run(self.manager.allocate, container_id, port_specs)
        self._stack.callback(release, allocation.sockets)
        namespace = self.namespace(container_id)
        self.host.run(plumb, container_id, allocation, namespace)
        self.host.run(self.manager.set_link, container_id, link_name(container_id))
        self.host.run(self.manager.publish, container_id, allocation)
        return Container(container_id, namespace, allocation)

    def close(self) -> None:
        self._stack.close()


def plumb(container_id: str, allocation: Allocation, namespace: Namespace) -> None:
    """What supervisor and init do for a container. Runs in the host's namespace."""
    name = link_name(container_id).encode()
    assert lib.pyrt_veth_create(name, allocation.bridge_index, namespace.fd, b"eth0", allocation.mtu) == 0
    with open_sysctls() as proc:
        assert namespace.run(lib.pyrt_disable_ipv6, proc, b"eth0") == 0
    result = namespace.run(
        lib.pyrt_configure_interface,
        b"eth0",
        be(allocation.address),
        allocation.prefix_length,
        be(allocation.gateway),
    )
    assert result == 0


@contextlib.contextmanager
def open_sysctls() -> Iterator[int]:
    descriptor = os.open("/proc/sys", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
