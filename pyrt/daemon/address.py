# SPDX-License-Identifier: Apache-2.0
"""Addresses of a daemon: `unix://PATH` and `tcp://HOST:PORT`, and the TLS files that go with the second."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyrt.errors import UsageError

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A socket in the file system."""

    path: str

    def __str__(self) -> str:
        return f"unix://{self.path}"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host, by name or number, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"


def parse_address(text: str) -> UnixAddress | TcpAddress:
    """Read the value of -H. Raises UsageError."""
    if text.startswith("unix:///"):
        return UnixAddress(text.removeprefix("unix://"))
    match = re.fullmatch(r"tcp://(\[([0-9a-fA-F:.]+)\]|[^\[\]:/\s]+):(\d{1,5})", text, re.ASCII)
    if not match or int(match[3]) > 65535:
        raise UsageError(f"-H {text!r}: expected unix:///PATH or tcp://HOST:PORT")
    return TcpAddress(match[2] or match[1], int(match[3]))


def resolve(address: TcpAddress) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    """Return every (family, address) of a host to listen on. Raises UsageError for a name that has none."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"-H {address}: cannot resolve the host: {error}") from None
    return list(dict.fromkeys((family, (str(where[0]), int(where[1]))) for family, _, _, _, where in found))


def is_loopback(host: str) -> bool:
    """Say whether a numeric address reaches this host only."""
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


@dataclass(frozen=True, slots=True)
class Tls:
    """The three files that authenticate both sides; without all of them there is no TLS at all."""

    ca: str
    certificate: str
    key: str

    def context(self, *, server: bool) -> ssl.SSLContext:
        """Load the files. Both sides have to show a certificate of the CA; the client checks the host's name too."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            what = f"--tlscacert {self.ca}"
            context.load_verify_locations(self.ca)
            what = f"--tlscert {self.certificate}, --tlskey {self.key}"
            # an encrypted key would make OpenSSL ask the terminal
            context.load_cert_chain(self.certificate, self.key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise UsageError(f"{what}: {error.strerror if isinstance(error, OSError) else error}") from None
        return context


def tls_of(wanted: bool, ca: str, certificate: str, key: str) -> Tls | None:
    """Check the combination of the --tls options. Raises UsageError for every wrong one."""
    if not wanted:
        if ca or certificate or key:
            raise UsageError("--tlscacert, --tlscert and --tlskey mean nothing without --tls")
        return None
    if not (ca and certificate and key):
        raise UsageError("--tls needs all of --tlscacert, --tlscert and --tlskey: both sides are authenticated")
    return Tls(ca, certificate, key)
