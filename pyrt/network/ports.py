# SPDX-License-Identifier: Apache-2.0
"""Published ports: what `-p` means, and holding the host's side of a mapping while its container lives."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import NoReturn

from pyrt.errors import ConflictError, NetworkError, UsageError

ANY_ADDRESS = "0.0.0.0"
PICKED_PORTS = range(49153, 65536)  # docker 0.1.0's
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_FORM = "[ADDRESS:][HOSTPORT:]PORT[/tcp|/udp]"


@dataclass(frozen=True, slots=True)
class PortSpec:
    """One `-p` as the user wrote it; host_port 0 asks for a free one."""

    host_ip: str
    host_port: int
    container_port: int
    protocol: str


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of the host that leads to a port of a container; host_ip 0.0.0.0 means every address of the host."""

    host_ip: str
    host_port: int
    container_port: int
    protocol: str

    def __str__(self) -> str:
        return f"{self.host_ip}:{self.host_port}->{self.container_port}/{self.protocol}"


def parse_port_spec(text: str) -> PortSpec:
    """Read `8080:80`, `80`, `:80`, `127.0.0.1:8080:80/tcp`, `127.0.0.1::80/udp`; UsageError for anything else."""
    ports, slash, protocol = text.partition("/")
    protocol = protocol if slash else "tcp"
    if "[" in ports or ports.count(":") > 2:
        raise UsageError(f"cannot publish {text!r}: only IPv4 addresses can be published on")
    if protocol not in _KINDS:
        raise UsageError(f"cannot publish {text!r}: the protocol must be tcp or udp, not {protocol!r}")
    *before, container = ports.split(":")
    host_port = before[-1] if before else ""
    host_ip = before[0] if len(before) == 2 else ANY_ADDRESS
    try:
        host_ip = str(IPv4Address(host_ip))
    except AddressValueError:
        raise UsageError(f"cannot publish {text!r}: {host_ip!r} is not an IPv4 address; write {_FORM}") from None
    return PortSpec(host_ip, _port_number(text, host_port) if host_port else 0, _port_number(text, container), protocol)


def _port_number(spec: str, text: str) -> int:
    if "-" in text:
        raise UsageError(f"cannot publish {spec!r}: ranges of ports are not supported; give one -p for each port")
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise UsageError(f"cannot publish {spec!r}: {text!r} is not a port (1 to 65535); write {_FORM}")
    return int(text)


def reserve(specs: Sequence[PortSpec]) -> tuple[list[PortMapping], list[socket.socket]]:
    """Take the host's port of every spec, or none of them.

    Each comes with a socket that is bound but does not listen, so no other process can have the port while it is open,
    and a connection that no rule redirects is refused. The caller owns the sockets. ConflictError: a port is taken.
    """
    wanted = [(spec.protocol, spec.host_ip, spec.host_port) for spec in specs if spec.host_port]
    for entry in wanted:
        if wanted.count(entry) > 1:
            raise UsageError(f"port {entry[2]}/{entry[0]} is published twice")
    mappings: list[PortMapping] = []
    sockets: list[socket.socket] = []
    try:
        # Those with a fixed port first: a picked one must not take what the next spec asks for.
        for spec in sorted(specs, key=lambda spec: spec.host_port == 0):
            sockets.append(_hold(spec) if spec.host_port else _hold_any(spec))
            mappings.append(PortMapping(spec.host_ip, sockets[-1].getsockname()[1], spec.container_port, spec.protocol))
    except BaseException:
        release(sockets)
        raise
    return mappings, sockets


def release(sockets: Iterable[socket.socket]) -> None:
    """Give the ports back."""
    for held in sockets:
        held.close()


def _hold_any(spec: PortSpec) -> socket.socket:
    """Take a free port. From a random start, so that a port is not given to the next container at once."""
    start = random.randrange(len(PICKED_PORTS))
    for step in range(len(PICKED_PORTS)):
        try:
            return _bind(spec, PICKED_PORTS[(start + step) % len(PICKED_PORTS)])
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                _refuse(spec, error)
    raise NetworkError(
        f"no free {spec.protocol} port from {PICKED_PORTS[0]} to {PICKED_PORTS[-1]} on {spec.host_ip}: stop a container"
    )


def _hold(spec: PortSpec) -> socket.socket:
    try:
        return _bind(spec, spec.host_port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or spec.protocol != "tcp":
            _refuse(spec, error)
    try:
        return _bind_over_closed(spec)
    except OSError as error:
        _refuse(spec, error)


def _refuse(spec: PortSpec, error: OSError) -> NoReturn:
    port = f"{spec.host_port}/{spec.protocol}"
    if error.errno == errno.EADDRINUSE:
        raise ConflictError(
            f"port {port} is already in use on {spec.host_ip}: stop what uses it or publish another port"
        ) from error
    if error.errno == errno.EADDRNOTAVAIL:
        raise NetworkError(f"cannot publish on {spec.host_ip}: this host has no such address") from error
    raise NetworkError(f"cannot publish port {port} on {spec.host_ip}: {error.strerror}") from error


def _bind(spec: PortSpec, port: int) -> socket.socket:
    """Bind without SO_REUSEADDR: with it, another process that also sets it could bind and then listen."""
    held = socket.socket(socket.AF_INET, _KINDS[spec.protocol])
    try:
        if spec.protocol == "udp":  # packets reach it only while the rules are gone: do not queue them
            held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        held.bind((spec.host_ip, port))
    except BaseException:
        held.close()
        raise
    return held


def _bind_over_closed(spec: PortSpec) -> socket.socket:
    """Bind a TCP port that only closed connections (TIME_WAIT) of an earlier server still occupy.

    SO_REUSEADDR gets past those, but also past other sockets that set it and do not listen yet. Listening for a moment
    makes the kernel check against everything, at once and for good; with the option then cleared nobody can listen
    there later. shutdown() ends the listening and, the port having been asked for by number, keeps the port.
    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((spec.host_ip, spec.host_port))
        held.listen(1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        held.shutdown(socket.SHUT_RD)
    except BaseException:
        held.close()
        raise
    return held
