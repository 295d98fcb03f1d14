# SPDX-License-Identifier: Apache-2.0
"""tcp://: only on the loopback without TLS, and with TLS only between two that have proved who they are."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import Instance


@dataclass(frozen=True, slots=True)
class Certificates:
    """A directory with CAs and what they signed."""

    directory: Path

    def options(self, name: str, *, ca: str = "ca") -> list[str]:
        files = {"tlscacert": f"{ca}.crt", "tlscert": f"{name}.crt", "tlskey": f"{name}.key"}
        return ["--tls", *(f"--{option}={self.directory}/{file}" for option, file in files.items())]

    def openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.directory, check=True, capture_output=True)

    def make_ca(self, name: str) -> None:
        self.openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
            *("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt"),
            *("-addext", "keyUsage=keyCertSign"),
        )

    def make(self, name: str, *, ca: str, usage: str, host: str = "") -> None:
        (self.directory / "ext").write_text(
            f"extendedKeyUsage={usage}\n" + (f"subjectAltName={host}\n" if host else "")
        )
        self.openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr"),
        )
        self.openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.crt", "-CAkey", f"{ca}.key", "-CAcreateserial"),
            *("-days", "2", "-extfile", "ext", "-out", f"{name}.crt"),
        )


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("tls"))
    made.make_ca("ca")
    made.make_ca("other")
    made.make("daemon", ca="ca", usage="serverAuth", host="DNS:localhost,IP:127.0.0.1")
    made.make("elsewhere", ca="ca", usage="serverAuth", host="DNS:example.org")
    made.make("user", ca="ca", usage="clientAuth")
    made.make("stranger", ca="other", usage="clientAuth")
    return made


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


Start = Callable[..., str]


@pytest.fixture
def daemon(instance: Instance) -> Iterator[Start]:
    """Start the daemon on a TCP address; give the address."""
    running: list[subprocess.Popen[str]] = []

    def start(*options: str, host: str = "127.0.0.1") -> str:
        address = f"tcp://{host}:{free_port()}"
        running.append(instance.daemon("-H", address, *options))
        assert any("listening on tcp" in line for line in instance.lines), instance.lines
        return address

    yield start
    for process in running:
        process.terminate()
        process.communicate(timeout=20)


def test_both_prove_who_they_are(instance: Instance, daemon: Start, certificates: Certificates) -> None:
    address = daemon(*certificates.options("daemon"))
    result = instance.run("-H", address, *certificates.options("user"), "version")
    assert (result.stdout, result.stderr, result.returncode) == ("Version:0.1.0\n", "", 0)
    by_name = address.replace("127.0.0.1", "localhost")
    assert instance.run("-H", by_name, *certificates.options("user"), "help", "version").returncode == 0


@pytest.mark.parametrize("name", ["stranger", "daemon"])
def test_a_client_without_the_right_certificate_is_refused(
    instance: Instance, daemon: Start, certificates: Certificates, name: str
) -> None:
    """Of another CA; or of ours, but made for a server."""
    address = daemon(*certificates.options("daemon"))
    result = instance.run("-H", address, *certificates.options(name), "version")
    assert (result.stdout, result.returncode) == ("", 125)
    assert result.stderr.startswith("Error: ") and "TLS" in result.stderr and result.stderr.count("\n") == 1


def test_a_client_without_any_certificate_is_refused(
    instance: Instance, daemon: Start, certificates: Certificates
) -> None:
    address = daemon(*certificates.options("daemon"))
    host, port = address.removeprefix("tcp://").split(":")
    context = ssl.create_default_context(cafile=certificates.directory / "ca.crt")
    with socket.create_connection((host, int(port))) as plain, pytest.raises((ssl.SSLError, ConnectionError)):
        with context.wrap_socket(plain, server_hostname="localhost") as secured:
            if not secured.recv(1):
                raise ConnectionResetError
    assert instance.run("-H", address, "version").returncode == 125  # and no TLS at all


@pytest.mark.parametrize(("name", "ca"), [("elsewhere", "ca"), ("daemon", "other")])
def test_a_daemon_that_is_not_the_one_we_meant_gets_nothing(
    instance: Instance, daemon: Start, certificates: Certificates, name: str, ca: str
) -> None:
    address = daemon(*certificates.options(name))
    result = instance.run("-H", address, *certificates.options("user", ca=ca), "version")
    assert (result.stdout, result.returncode) == ("", 125)
    assert result.stderr.startswith("Error: no TLS connection") and result.stderr.count("\n") == 1


def test_a_host_by_name_without_tls(instance: Instance, daemon: Start) -> None:
    address = daemon()
    assert instance.run("-H", address, "version").stdout == "Version:0.1.0\n"
    assert instance.run("-H", address.replace("127.0.0.1", "localhost"), "version").stdout == "Version:0.1.0\n"
    assert instance.run("-H", address.replace("127.0.0.1", socket.gethostname()), "version").returncode in (0, 125)
    result = instance.run("-H", "tcp://no-such-host.invalid:1", "version")
    assert result.returncode == 125
    assert result.stderr.startswith("Error: cannot reach the pyrt daemon at tcp://no-such-host.invalid:1: ")


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_off_the_loopback_without_tls_the_daemon_does_not_start(instance: Instance, host: str) -> None:
    result = instance.run("-d", "-H", f"tcp://{host}:{free_port()}")
    assert result.returncode == 125
    assert "not a loopback address" in result.stderr
    assert not (instance.run_dir / "pyrt.sock").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--tls"], "--tls needs all of"),
        (["--tls", "--tlscacert={}/ca.crt"], "--tls needs all of"),
        (["--tlskey={}/daemon.key"], "mean nothing without --tls"),
        (["--tls", "--tlscacert={}/no", "--tlscert={}/daemon.crt", "--tlskey={}/daemon.key"], "No such file"),
        (["--tls", "--tlscacert={}/ca.crt", "--tlscert={}/no", "--tlskey={}/daemon.key"], "No such file"),
        (["--tls", "--tlscacert={}/ca.crt", "--tlscert={}/daemon.crt", "--tlskey={}/user.key"], "--tlskey"),
        (["--tls", "--tlscacert={}/ca.key", "--tlscert={}/daemon.crt", "--tlskey={}/daemon.key"], "--tlscacert"),
    ],
)
def test_every_wrong_combination_fails_to_start(
    instance: Instance, certificates: Certificates, words: list[str], text: str
) -> None:
    options = [word.format(certificates.directory) for word in words]
    result = instance.run("-d", "-H", f"tcp://127.0.0.1:{free_port()}", *options)
    assert result.returncode == 125
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ") and text in last
    assert not (instance.run_dir / "pyrt.sock").exists()


def test_tls_needs_a_tcp_address(instance: Instance, certificates: Certificates) -> None:
    result = instance.run("-d", *certificates.options("daemon"))
    assert result.returncode == 125
    assert "--tls needs -H tcp://" in result.stderr
