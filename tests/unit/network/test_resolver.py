# SPDX-License-Identifier: Apache-2.0
"""A container's resolv.conf and hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrt.network.resolver import hosts_file, read_config, resolv_conf


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "resolv.conf", tmp_path / "systemd.conf"


def test_servers_search_and_options_are_kept(files: tuple[Path, Path]) -> None:
    files[0].write_text(
        "# made by hand\nsearch a.example b.example\nnameserver 10.0.0.1\n nameserver 10.0.0.2\noptions ndots:2\n"
    )
    config = read_config(*files)
    assert config.servers == ("10.0.0.1", "10.0.0.2")
    assert resolv_conf(config) == (
        b"search a.example b.example\noptions ndots:2\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n"
    )


def test_behind_systemd_resolved(files: tuple[Path, Path]) -> None:
    files[0].write_text("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n")
    files[1].write_text("nameserver 192.0.2.53\nsearch lan\n")
    assert resolv_conf(read_config(*files)) == b"search lan\nnameserver 192.0.2.53\n"


def test_unreachable_servers_are_named(files: tuple[Path, Path]) -> None:
    files[0].write_text("nameserver 127.0.0.1\nnameserver fe80::1%eth0\nnameserver 10.0.0.1\nnameserver nonsense\n")
    config = read_config(*files)
    assert config.servers == ("10.0.0.1",)
    text = resolv_conf(config).decode()
    assert "# 127.0.0.1 is on the host's loopback, which a container cannot reach\n" in text
    assert "# fe80::1%eth0 is an IPv6 address, and containers have IPv4 only\n" in text
    assert "# nonsense is not an address\n" in text
    assert text.endswith("nameserver 10.0.0.1\n")


def test_no_resolver_at_all(files: tuple[Path, Path]) -> None:
    assert b"names are not resolved" in resolv_conf(read_config(*files))
    files[0].write_text("nameserver 127.0.0.53\n")  # and no systemd file beside it
    assert read_config(*files).servers == ()


def test_hosts() -> None:
    assert hosts_file("web", "172.30.0.2") == (
        b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n172.30.0.2\tweb\n"
    )
    assert hosts_file("alone", "").endswith(b"127.0.1.1\talone\n")
    assert hosts_file("localhost", "").count(b"localhost\n") == 1
