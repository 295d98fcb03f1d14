# SPDX-License-Identifier: Apache-2.0
"""-H tcp://: the real daemon over TCP, plain on the loopback and with TLS; the same bytes, terminals and statuses."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from tests import rcli_client
from tests.cli.test_tls import Certificates, certificates, free_port
from tests.harness import Pyrt
from tests.processes import wait_gone, wait_until

pytestmark = pytest.mark.root

__all__ = ["certificates"]

MEGABYTE = 1 << 20
Listen = Callable[..., str]


@pytest.fixture
def listen(pyrt: Pyrt) -> Iterator[Listen]:
    """Replace the instance's daemon by one that listens on TCP too; give its address. Afterwards the usual one is back.

    Containers and supervisor go on meanwhile, as with every daemon that is replaced.
    """

    def start(*options: str) -> str:
        stop_daemon(pyrt)
        address = f"tcp://127.0.0.1:{free_port()}"
        pyrt.start("-d", "-H", address, *options)
        wait_until(lambda: pyrt.daemon_pid and answers(address), what="the daemon listening on TCP")
        return address

    yield start
    stop_daemon(pyrt)
    pyrt.end_commands()
    pyrt.ok("ps")


def stop_daemon(pyrt: Pyrt) -> None:
    if pid := pyrt.daemon_pid:
        os.kill(pid, signal.SIGTERM)
        for _, process in pyrt.running:
            if process.pid == pid:
                process.wait(timeout=10)
                return
        wait_gone(pid)


def answers(address: str) -> bool:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def emitted(probe: Path, size: int, seed: int) -> bytes:
    return subprocess.run([probe, "emit", "1", str(size), str(seed)], check=True, capture_output=True).stdout


def digest_of(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while data := stream.read(1 << 18):
        digest.update(data)
    return digest.hexdigest()


@pytest.fixture(params=["plain", "tls"])
def over_tcp(request: pytest.FixtureRequest, listen: Listen, certificates: Certificates) -> list[str]:
    """The client's options: plain TCP, or TLS with certificates on both sides."""
    if request.param == "plain":
        return ["-H", listen()]
    return ["-H", listen(*certificates.options("daemon")), *certificates.options("user")]


def test_run_both_ways(pyrt: Pyrt, over_tcp: list[str], probe: Path) -> None:
    result = pyrt(*over_tcp, "run", "--rm", "bb", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (result.status, result.out, result.err) == (7, b"out\n", b"err\n")
    data = emitted(probe, 2 * MEGABYTE, 13)
    assert pyrt(*over_tcp, "run", "--rm", "-i", "bb", "cat", input=data).out == data
    assert pyrt(*over_tcp, "run", "--rm", "-i", "bb", "true", input=data).status == 0
    assert pyrt(*over_tcp, "run", "--rm", "bb", "/nope").status == 127
    assert pyrt(*over_tcp, "nonsense").error


def test_everything_else(pyrt: Pyrt, over_tcp: list[str], bb_tar: bytes, tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_bytes(bb_tar)
    assert pyrt(*over_tcp, "import", str(tmp_path / "image.tar"), "remote").status == 0
    assert pyrt(*over_tcp, "import", "-", "remote2", input=bb_tar).status == 0
    identifier = pyrt(*over_tcp, "run", "-d", "-e", "LANG", "remote", "sh", "-c", "echo $LANG; exit 3").text
    assert pyrt(*over_tcp, "wait", identifier).text == "3"
    assert pyrt(*over_tcp, "logs", identifier).out == b"C.UTF-8\n"
    assert pyrt.ok("logs", identifier).out == b"C.UTF-8\n", "the same container over the unix socket"
    assert pyrt(*over_tcp, "rm", identifier).status == 0
    for name in ("remote", "remote2"):
        assert pyrt(*over_tcp, "rmi", name).status == 0


def test_a_terminal(pyrt: Pyrt, over_tcp: list[str]) -> None:
    with pyrt.pty(*over_tcp, "run", "--rm", "-it", "bb", "probe", "winch", rows=24, columns=80) as terminal:
        terminal.expect(b"size 24 80")
        terminal.resize(50, 132)
        terminal.expect(b"size 50 132")
        terminal.send(b"\r")
        assert terminal.wait() == 0
    with pyrt.pty(*over_tcp, "run", "-it", "--name", "left", "bb", "cat") as terminal:
        terminal.send(b"hello\r")
        terminal.expect(b"hello\r\nhello\r\n")
        terminal.send(b"\x10\x11")
        assert terminal.wait() == 0
    assert pyrt.status_of("left").startswith("Up")
    pyrt.ok("rm", "-f", "left")


def test_signals(pyrt: Pyrt, over_tcp: list[str]) -> None:
    command = pyrt.start(*over_tcp, "run", "--rm", "bb", "sh", "-c", "trap 'exit 9' TERM; echo ready; sleep 60 & wait")
    assert command.stdout and command.stdout.readline() == b"ready\n"
    command.terminate()
    assert command.wait(timeout=20) == 9


def test_a_hundred_megabytes_are_the_same_as_over_the_unix_socket(pyrt: Pyrt, over_tcp: list[str], probe: Path) -> None:
    size = 100 * MEGABYTE
    with subprocess.Popen([probe, "emit", "1", str(size), "31"], stdout=subprocess.PIPE) as oracle:
        assert oracle.stdout
        expected = digest_of(oracle.stdout)
    for options in ([], over_tcp):
        command = pyrt.start(*options, "run", "--rm", "bb", "probe", "emit", "1", str(size), "31")
        assert command.stdout
        assert digest_of(command.stdout) == expected
        assert command.wait(timeout=20) == 0


def test_a_client_that_goes_away_is_noticed(pyrt: Pyrt, over_tcp: list[str]) -> None:
    command = pyrt.start(*over_tcp, "run", "--name", "alone", "bb", "sh", "-c", "while echo y; do :; done")
    assert command.stdout and command.stdout.read(2) == b"y\n"
    command.kill()
    command.wait(timeout=20)
    assert pyrt.status_of("alone").startswith("Up")
    pyrt.ok("rm", "-f", "alone")


def test_docker_010_behind_tls(listen: Listen, certificates: Certificates, probe: Path) -> None:
    """Its client knows none, but something in front of it may. The end of input is a half-close of the TCP below."""
    host, _, port = listen(*certificates.options("daemon")).removeprefix("tcp://").rpartition(":")
    context = ssl.create_default_context(cafile=certificates.directory / "ca.crt")
    context.load_cert_chain(certificates.directory / "user.crt", certificates.directory / "user.key")
    data = emitted(probe, 10_000, 3)
    with context.wrap_socket(socket.create_connection((host, int(port)), timeout=20), server_hostname=host) as secured:
        secured.sendall(rcli_client.line(["run", "--rm", "-i", "bb", "cat"]) + data)
        socket.socket.shutdown(secured, socket.SHUT_WR)  # SSLSocket's own would end the decryption too
        assert rcli_client.read_all(secured) == data


def test_who_cannot_prove_who_they_are_gets_nothing(pyrt: Pyrt, listen: Listen, certificates: Certificates) -> None:
    address = listen(*certificates.options("daemon"))
    marker = pyrt.root / "containers"
    for options in (
        [],
        certificates.options("stranger"),
        certificates.options("daemon"),
        certificates.options("user", ca="other"),
    ):
        result = pyrt("-H", address, *options, "run", "--rm", "bb", "echo", "in")
        assert result.status == 125 and result.out == b"", str(result)
        assert result.err.startswith(b"Error: ") and result.err.count(b"\n") == 1, str(result)
        assert not list(marker.iterdir())
    assert pyrt("-H", address, *certificates.options("user"), "run", "--rm", "bb", "echo", "in").out == b"in\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--tls"], "--tls needs all of"),
        (["--tlskey=/x"], "mean nothing without --tls"),
        (["--tls", "--tlscacert=/nope", "--tlscert=/nope", "--tlskey=/nope"], "No such file"),
    ],
)
def test_a_clients_wrong_combinations(pyrt: Pyrt, words: list[str], text: str) -> None:
    result = pyrt("-H", "tcp://127.0.0.1:1", *words, "version")
    assert result.status == 125 and text in result.error


@pytest.mark.parametrize("address", ["tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:99999", "http://x:1", "tcp://:80"])
def test_addresses_that_are_none(pyrt: Pyrt, address: str) -> None:
    assert pyrt("-H", address, "version").status == 125
    assert pyrt("-d", "-H", address).status == 125


def test_nobody_there_and_no_daemon_started_for_it(pyrt: Pyrt) -> None:
    result = pyrt("-H", f"tcp://127.0.0.1:{free_port()}", "ps")
    assert result.status == 125 and "cannot reach the pyrt daemon" in result.error
