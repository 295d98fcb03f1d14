# SPDX-License-Identifier: Apache-2.0
"""Published ports through the command line: who reaches a container, what `ps` shows, what is left after its end."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from pyrt.core._namespaces import lib
from pyrt.errors import NetworkError
from pyrt.network import NetworkManager
from pyrt.network.ports import release
from tests.harness import Pyrt
from tests.processes import wait_until
from tests.topology import Namespace, be

pytestmark = [pytest.mark.root, pytest.mark.both_engines]

WEB = ("bb", "nc", "-ll", "-p", "80", "-e", "echo", "web")
ECHO = ("bb", "probe", "udp", "53")
PATIENCE = 0.5  # seconds until something that should not answer counts as silent


@pytest.fixture
def port() -> int:
    with socket.create_server(("0.0.0.0", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def host_address() -> str:
    """An address of this host that is neither loopback nor a bridge of pyrt's."""
    links = json.loads(subprocess.run(["ip", "-j", "-4", "addr"], check=True, capture_output=True).stdout)
    for link in links:
        for address in link["addr_info"]:
            if address["scope"] == "global" and not link["ifname"].startswith(("pyrt", "pt")):
                return str(address["local"])
    pytest.skip("this machine has no address of its own")


@dataclass(frozen=True, slots=True)
class Outside:
    """Another host on a cable of its own, and our address on that cable."""

    namespace: Namespace
    address: str


@pytest.fixture
def outside() -> Iterator[Outside]:
    away = Namespace("outside")
    peer = ("peer", "name", "eth0", "netns", str(away.thread_id))
    subprocess.run(["ip", "link", "add", "ptports0", "type", "veth", *peer], check=True)
    try:
        assert lib.pyrt_configure_interface(b"ptports0", be("10.79.0.1"), 24, 0) == 0
        assert away.run(lib.pyrt_configure_interface, b"eth0", be("10.79.0.2"), 24, be("10.79.0.1")) == 0
        yield Outside(away, "10.79.0.1")
    finally:
        subprocess.run(["ip", "link", "delete", "ptports0"], check=True)
        away.close()


def ask(address: str, port: int, *, patience: float = 5.0) -> str:
    """What a TCP server says, or "" when nobody answers."""
    try:
        with socket.create_connection((address, port), timeout=patience) as connection:
            return connection.recv(64).decode().strip()
    except OSError:
        return ""


def ask_udp(address: str, port: int, *, patience: float = 5.0) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(patience)
        try:
            asking.sendto(b"datagram", (address, port))
            data, sender = asking.recvfrom(64)
        except OSError:
            return ""
        assert sender == (address, port), "the answer comes from where the question went"
        return data.decode()


def ask_from_container(pyrt: Pyrt, address: str, port: int) -> str:
    return pyrt.run("bb", "nc", "-w", "2", address, str(port)).text


def bridge_address(pyrt: Pyrt) -> str:
    links = json.loads(
        subprocess.run(["ip", "-j", "-4", "addr", "show", pyrt.bridge], check=True, capture_output=True).stdout
    )
    return str(links[0]["addr_info"][0]["local"])


def until(answer: Callable[[], str], expected: str = "web") -> None:
    wait_until(lambda: answer() == expected, what="the server answering")


def ps_ports(pyrt: Pyrt) -> str:
    return pyrt.ok("ps", "--no-trunc").text


def test_reachable_from_everywhere(pyrt: Pyrt, port: int, host_address: str, outside: Outside) -> None:
    web = pyrt.detached("--name", "web", "-p", f"{port}:80", *WEB)
    until(lambda: ask("127.0.0.1", port))
    assert ask(host_address, port) == "web"
    assert ask(bridge_address(pyrt), port) == "web"
    assert outside.namespace.run(ask, outside.address, port) == "web"
    assert ask_from_container(pyrt, bridge_address(pyrt), port) == "web"
    assert ask_from_container(pyrt, host_address, port) == "web"
    assert f"0.0.0.0:{port}->80/tcp" in ps_ports(pyrt)
    pyrt.ok("rm", "-f", web)
    assert ask("127.0.0.1", port, patience=PATIENCE) == ""
    assert outside.namespace.run(ask, outside.address, port, patience=PATIENCE) == ""


def test_a_container_reaches_itself(pyrt: Pyrt, port: int, host_address: str) -> None:
    script = 'nc -ll -p 80 -e echo web & until [ "$(nc 127.0.0.1 80)" = web ]; do :; done; '
    script += f"nc -w 2 {host_address} {port}"
    assert pyrt.run("-p", f"{port}:80", "bb", "sh", "-c", script).text == "web"


def test_only_on_the_loopback(pyrt: Pyrt, port: int, host_address: str, outside: Outside) -> None:
    web = pyrt.detached("-p", f"127.0.0.1:{port}:80", *WEB)
    until(lambda: ask("127.0.0.1", port))
    assert ask(host_address, port, patience=PATIENCE) == ""
    assert outside.namespace.run(ask, outside.address, port, patience=PATIENCE) == ""
    assert ask_from_container(pyrt, bridge_address(pyrt), port) == ""
    pyrt.ok("rm", "-f", web)


def test_udp(pyrt: Pyrt, port: int, host_address: str, outside: Outside) -> None:
    echo = pyrt.detached("-p", f"{port}:53/udp", *ECHO)
    until(lambda: ask_udp("127.0.0.1", port, patience=PATIENCE), "datagram")
    assert ask_udp(host_address, port) == "datagram"
    assert outside.namespace.run(ask_udp, outside.address, port) == "datagram"
    assert ask("127.0.0.1", port, patience=PATIENCE) == "", "only udp"
    assert f"{port}->53/udp" in ps_ports(pyrt)
    pyrt.ok("rm", "-f", echo)
    assert ask_udp("127.0.0.1", port, patience=PATIENCE) == ""


def test_a_port_that_pyrt_picks_is_shown(pyrt: Pyrt) -> None:
    ids = [pyrt.detached("-p", "80", *WEB), pyrt.detached("-p", "127.0.0.1::80", *WEB)]
    shown = [int(text) for text in re.findall(r":(\d+)->80/tcp", ps_ports(pyrt))]
    assert len(set(shown)) == 2 and all(49153 <= number <= 65535 for number in shown)
    for number in shown:
        until(lambda number=number: ask("127.0.0.1", number))  # type: ignore[misc]
    pyrt.ok("rm", "-f", *ids)


def test_a_port_that_is_taken(pyrt: Pyrt, port: int) -> None:
    """By another program, by another container; and it stays theirs."""
    with socket.create_server(("127.0.0.1", port)):
        assert str(port) in pyrt("run", "-d", "-p", f"{port}:80", *WEB).error
    web = pyrt.detached("-p", f"{port}:80", *WEB)
    until(lambda: ask("127.0.0.1", port))
    assert str(port) in pyrt("run", "-d", "-p", f"{port}:80", *WEB).error
    with pytest.raises(OSError):
        socket.create_server(("0.0.0.0", port)).close()
    assert ask("127.0.0.1", port) == "web"
    pyrt.ok("rm", "-f", web)
    socket.create_server(("0.0.0.0", port)).close()


def test_it_stays_published_without_a_daemon_and_with_the_next(pyrt: Pyrt, port: int) -> None:
    web = pyrt.detached("-p", f"{port}:80", *WEB)
    until(lambda: ask("127.0.0.1", port))
    pyrt.kill_daemon()
    assert ask("127.0.0.1", port) == "web"
    assert f"{port}->80/tcp" in ps_ports(pyrt)
    assert ask("127.0.0.1", port) == "web"
    assert str(port) in pyrt("run", "-d", "-p", f"{port}:80", *WEB).error, "the next daemon knows that it is taken"
    pyrt.ok("rm", "-f", web)
    assert ask("127.0.0.1", port, patience=PATIENCE) == ""
    again = pyrt.detached("-p", f"{port}:80", *WEB)
    until(lambda: ask("127.0.0.1", port))
    pyrt.ok("rm", "-f", again)


def test_a_container_that_ended_frees_its_port(pyrt: Pyrt, port: int) -> None:
    done = pyrt.detached("-p", f"{port}:80", "bb", "true")
    pyrt.ok("wait", done)
    web = pyrt.detached("-p", f"{port}:80", *WEB)
    until(lambda: ask("127.0.0.1", port))
    pyrt.ok("rm", "-f", web, done)


def test_a_network_without_a_free_address() -> None:
    """Bridges are not configurable on the command line, so the manager is asked itself: a /30 holds one container."""
    host = Namespace("host")
    manager = host.run(NetworkManager, "ptports", address="172.30.0.1/30")
    try:
        first = host.run(manager.allocate, "a" * 64, ("8080:80",))
        with pytest.raises(NetworkError, match="no free address.*stop a container"):
            host.run(manager.allocate, "b" * 64, ("8081:80",))
        with host.run(socket.create_server, ("0.0.0.0", 8081)):
            pass  # what a refused allocation had taken is free again
        release(first.sockets)
        host.run(manager.release, "a" * 64, first)
        again = host.run(manager.allocate, "b" * 64, ("8080:80",))
        assert again.address == first.address
        release(again.sockets)
    finally:
        host.run(manager.close)
        host.close()
