# SPDX-License-Identifier: Apache-2.0
"""What a container's /etc/resolv.conf and /etc/hosts say, made from the host's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from pathlib import Path

HOST_FILE = Path("/etc/resolv.conf")
SYSTEMD_FILE = Path("/run/systemd/resolve/resolv.conf")  # the servers behind systemd-resolved's 127.0.0.53
SYSTEMD_STUBS = frozenset({"127.0.0.53", "127.0.0.54"})


@dataclass(frozen=True, slots=True)
class ResolverConfig:
    """The parts of a resolv.conf that matter, and the servers a container could not reach, each with the reason."""

    servers: tuple[str, ...]
    settings: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


def read_config(host_file: Path = HOST_FILE, systemd_file: Path = SYSTEMD_FILE) -> ResolverConfig:
    """Return the host's resolvers as a container sees them; a missing file is an empty one.

    The files are read again when they have changed.
    """
    return _read_config(host_file, systemd_file, _version(host_file), _version(systemd_file))


def _version(path: Path) -> tuple[int, int, int]:
    """What of a file differs after every change."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0, 0
    return status.st_ino, status.st_mtime_ns, status.st_size


@lru_cache(maxsize=4)
def _read_config(host_file: Path, systemd_file: Path, *versions: tuple[int, int, int]) -> ResolverConfig:
    text = _read(host_file)
    listed = _values(text, "nameserver")
    if listed and SYSTEMD_STUBS.issuperset(listed) and systemd_file.exists():
        text = _read(systemd_file)
        listed = _values(text, "nameserver")
    skipped = [(server, reason) for server in listed if (reason := _unreachable(server))]
    refused = {server for server, _ in skipped}
    settings = [line for line in text.splitlines() if line.split(None, 1)[:1] in (["search"], ["domain"], ["options"])]
    return ResolverConfig(
        tuple(dict.fromkeys(server for server in listed if server not in refused)),
        tuple(line.strip() for line in settings),
        tuple(dict.fromkeys(skipped)),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _values(text: str, keyword: str) -> list[str]:
    lines = (line.split() for line in text.splitlines())
    return [words[1] for words in lines if len(words) > 1 and words[0] == keyword]


def _unreachable(server: str) -> str:
    """Say why a container cannot use this server, or return an empty string."""
    try:
        address = IPv4Address(server)
    except AddressValueError:
        try:
            IPv6Address(server.split("%")[0])
        except AddressValueError:
            return "is not an address"
        return "is an IPv6 address, and containers have IPv4 only"
    if address.is_loopback or address.is_unspecified:
        return "is on the host's loopback, which a container cannot reach"
    return ""


def resolv_conf(config: ResolverConfig) -> bytes:
    """Return a container's /etc/resolv.conf; servers left out are named in comments, with the reason."""
    lines = [f"# {server} {reason}" for server, reason in config.skipped]
    lines += [*config.settings, *(f"nameserver {server}" for server in config.servers)]
    if not config.servers:
        lines.append("# no resolver of this host can be reached from a container: names are not resolved")
    return "".join(f"{line}\n" for line in lines).encode()


def hosts_file(hostname: str, address: str) -> bytes:
    """Return a container's /etc/hosts; without an address the container's own name is its loopback."""
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    if hostname and hostname != "localhost":
        lines.append(f"{address or '127.0.1.1'}\t{hostname}")
    return "".join(f"{line}\n" for line in lines).encode()
