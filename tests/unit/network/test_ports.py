# SPDX-License-Identifier: Apache-2.0
"""Port specifications, and holding ports against everybody else on the host."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrt.errors import ConflictError, NetworkError, UsageError
from pyrt.network.ports import PortSpec, parse_port_spec, release, reserve


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("8080:80", PortSpec("0.0.0.0", 8080, 80, "tcp")),
        ("80", PortSpec("0.0.0.0", 0, 80, "tcp")),
        (":80", PortSpec("0.0.0.0", 0, 80, "tcp")),
        ("53/udp", PortSpec("0.0.0.0", 0, 53, "udp")),
        ("127.0.0.1:8080:80/tcp", PortSpec("127.0.0.1", 8080, 80, "tcp")),
        ("127.0.0.1::80", PortSpec("127.0.0.1", 0, 80, "tcp")),
        ("0.0.0.0:65535:1/udp", PortSpec("0.0.0.0", 65535, 1, "udp")),
    ],
)
def test_parse(text: str, spec: PortSpec) -> None:
    assert parse_port_spec(text) == spec


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "'' is not a port"),
        ("web", "'web' is not a port"),
        ("0", "'0' is not a port"),
        ("65536", "'65536' is not a port"),
        ("8080:", "'' is not a port"),
        ("8080:80:", "'8080' is not an IPv4 address"),
        ("-1:80", "ranges of ports"),
        ("8000-8005:80-85", "ranges of ports"),
        ("80/sctp", "must be tcp or udp, not 'sctp'"),
        ("80/", "must be tcp or udp, not ''"),
        ("80/TCP", "must be tcp or udp"),
        ("[::1]:8080:80", "only IPv4"),
        ("::1:8080:80", "only IPv4"),
        ("host:8080:80", "'host' is not an IPv4 address"),
        ("1.2.3:8080:80", "'1.2.3' is not an IPv4 address"),
        ("8080: 80", "' 80' is not a port"),
        ("٨٠", "is not a port"),
    ],
)
def test_bad_specs_are_one_clear_line(text: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_port_spec(text)
    message = str(caught.value)
    assert reason in message and message.startswith(f"cannot publish {text!r}: ") and "\n" not in message


@given(st.text(max_size=30))
def test_any_text_is_a_spec_or_a_usage_error(text: str) -> None:
    try:
        spec = parse_port_spec(text)
    except UsageError:
        return
    assert 0 <= spec.host_port < 65536 and 0 < spec.container_port < 65536


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    yield port


def loopback(port: int, protocol: str = "tcp") -> PortSpec:
    return PortSpec("127.0.0.1", port, 80, protocol)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_reserved_port_is_nobody_elses(free_port: int, protocol: str) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    mappings, held = reserve([loopback(free_port, protocol)])
    try:
        assert str(mappings[0]) == f"127.0.0.1:{free_port}->80/{protocol}"
        with pytest.raises(ConflictError, match=f"port {free_port}/{protocol} is already in use on 127.0.0.1"):
            reserve([loopback(free_port, protocol)])
        for address in ("127.0.0.1", "0.0.0.0"):
            with socket.socket(socket.AF_INET, kind) as other, pytest.raises(OSError, match="in use"):
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                other.bind((address, free_port))
                other.listen()
    finally:
        release(held)
    _, held = reserve([loopback(free_port, protocol)])
    release(held)


def test_reserved_port_refuses_connections(free_port: int) -> None:
    _, held = reserve([loopback(free_port)])
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", free_port), timeout=5)
    finally:
        release(held)


def closed_connection(port: int) -> None:
    """Leave a connection of the server's side in TIME_WAIT."""
    with socket.create_server(("127.0.0.1", port)) as server:
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            accepted.close()
            assert client.recv(1) == b""


def test_port_of_a_server_that_just_ended(free_port: int) -> None:
    closed_connection(free_port)
    with socket.socket() as naive, pytest.raises(OSError, match="in use"):
        naive.bind(("127.0.0.1", free_port))
    _, held = reserve([loopback(free_port)])
    try:
        with pytest.raises(ConflictError):
            reserve([loopback(free_port)])
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", free_port))  # sets SO_REUSEADDR, as most servers do
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", free_port), timeout=5)
    finally:
        release(held)


def test_port_of_a_server_with_so_reuseaddr(free_port: int) -> None:
    with socket.create_server(("127.0.0.1", free_port)):
        with pytest.raises(ConflictError, match="already in use"):
            reserve([loopback(free_port)])
    with socket.socket() as bound_only:
        bound_only.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound_only.bind(("127.0.0.1", free_port))
        _, held = reserve([loopback(free_port)])  # it can bind, but whoever listens first has the port
        try:
            with pytest.raises(OSError, match="in use"):
                bound_only.listen()
        finally:
            release(held)


def test_all_or_nothing(free_port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ConflictError):
            reserve([loopback(free_port), loopback(taken.getsockname()[1])])
    _, held = reserve([loopback(free_port)])
    release(held)


def test_picked_port() -> None:
    mappings, held = reserve([loopback(0), loopback(0), loopback(0, "udp")])
    try:
        ports = [mapping.host_port for mapping in mappings]
        assert all(49153 <= port <= 65535 for port in ports)
        assert len({(mapping.host_port, mapping.protocol) for mapping in mappings}) == 3
        assert [sock.getsockname() for sock in held] == [("127.0.0.1", port) for port in ports]
    finally:
        release(held)


def test_published_twice(free_port: int) -> None:
    with pytest.raises(UsageError, match=f"port {free_port}/tcp is published twice"):
        reserve([loopback(free_port), PortSpec("127.0.0.1", free_port, 81, "tcp")])


def test_address_of_another_host() -> None:
    with pytest.raises(NetworkError, match=r"cannot publish on 198\.51\.100\.7: this host has no such address"):
        reserve([PortSpec("198.51.100.7", 8080, 80, "tcp")])
