# SPDX-License-Identifier: Apache-2.0
"""The protocol of Docker 0.1.0, on TCP and on the unix socket: streams, terminals, errors."""

from __future__ import annotations

import hashlib
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrt.daemon.dispatch import commands
from tests import rcli_client
from tests.cli.test_tls import free_port
from tests.harness import Pyrt
from tests.integration.test_tcp import answers, stop_daemon
from tests.processes import wait_until
from tests.terminal import Terminal

pytestmark = pytest.mark.root

CLIENT = Path(rcli_client.__file__)
MEGABYTE = 1 << 20
CTRL_C = b"\x03"
ID = re.compile(r"[0-9a-f]{64}")
VERBS = commands().verbs
NEEDING_ARGUMENTS = [verb for verb in VERBS if getattr(commands().load(verb), "MINIMUM", 0)]


class Docker:
    """What `docker` was then: `docker("ps")` is all that the command showed."""

    def __init__(self, address: str, pyrt: Pyrt) -> None:
        self.address = address
        self.pyrt = pyrt

    def __call__(self, *argv: str, input: bytes = b"", timeout: float = 30) -> bytes:
        return rcli_client.call(self.address, *argv, input=input, timeout=timeout)

    def text(self, *argv: str, input: bytes = b"") -> str:
        return self(*argv, input=input).decode()

    def lines(self, *argv: str, input: bytes = b"") -> list[str]:
        return self.text(*argv, input=input).splitlines()

    def detached(self, *argv: str) -> str:
        identifier = self.text("run", "-d", *argv).removesuffix("\n")
        assert ID.fullmatch(identifier), identifier
        return identifier

    def dial(self, *argv: str, more: bytes = b"") -> socket.socket:
        """Begin a command and keep the connection open."""
        connection = rcli_client.dial(self.address)
        connection.sendall(rcli_client.line(argv) + more)
        return connection

    def terminal(self, *argv: str) -> Terminal:
        terminal = Terminal([sys.executable, str(CLIENT), self.address, *argv], env=self.pyrt.environment)
        self.pyrt.running.append((argv, terminal.process))
        return terminal


@pytest.fixture(scope="module")
def daemon(session_pyrt: Pyrt) -> Iterator[str]:
    """Replace the instance's daemon by one that listens on TCP too, for as long as this module takes; its HOST:PORT."""
    session_pyrt.ensure()
    stop_daemon(session_pyrt)
    address = f"127.0.0.1:{free_port()}"
    with open(session_pyrt.run_dir / "daemon.log", "ab") as log:
        process = subprocess.Popen(
            [session_pyrt.client, "-d", "-H", f"tcp://{address}"],
            env=session_pyrt.environment,
            cwd="/",
            stdout=log,
            stderr=log,
        )
    wait_until(lambda: session_pyrt.daemon_pid and answers(f"tcp://{address}"), what="the daemon listening on TCP")
    yield address
    process.terminate()
    process.wait(timeout=10)


@pytest.fixture
def docker(daemon: str, pyrt: Pyrt) -> Iterator[Docker]:
    """A client of the daemon on TCP. Containers stay, as they did then: they are removed afterwards."""
    yield Docker(daemon, pyrt)
    pyrt.remove_containers()


@pytest.fixture
def local(docker: Docker, pyrt: Pyrt) -> Docker:
    """The same protocol on the unix socket."""
    return Docker(str(pyrt.run_dir / "pyrt.sock"), pyrt)


@pytest.fixture(params=["tcp", "unix"])
def either(request: pytest.FixtureRequest, docker: Docker, local: Docker) -> Docker:
    return docker if request.param == "tcp" else local


def emitted(probe: Path, size: int, seed: int) -> bytes:
    return subprocess.run([probe, "emit", "1", str(size), str(seed)], check=True, capture_output=True).stdout


# --- run ---


def test_output_and_errors_come_the_same_way(either: Docker) -> None:
    assert either("run", "bb", "echo", "-n", "foobar") == b"foobar"
    assert sorted(either.lines("run", "bb", "sh", "-c", "echo out; echo err >&2")) == ["err", "out"]
    assert either("run", "bb", "sh", "-c", "exit 3") == b""


def test_stdin_is_what_follows_the_line(either: Docker) -> None:
    assert either("run", "-i", "bb", "cat", input=b"hello world") == b"hello world"
    assert either("run", "-i", "bb", "cat") == b""
    with either.dial(
        "run", "-i", "bb", "sh", "-c", "read a; echo got $a; read b; echo got $b", more=b"in the "
    ) as peer:
        peer.sendall(b"packet\n")
        assert peer.recv(99) == b"got in the packet\n"
        peer.sendall(b"later\n")
        assert rcli_client.read_all(peer) == b"got later\n"


def test_without_i_nothing_that_is_sent_arrives(either: Docker) -> None:
    assert either("run", "bb", "cat", input=bytes(4 * MEGABYTE)) == b""


def test_a_half_close_ends_nothing_but_the_input(either: Docker) -> None:
    """A client whose stdin is /dev/null half-closes at once."""
    assert either("run", "bb", "sh", "-c", "sleep 0.3; echo done") == b"done\n"
    name = either.detached("bb", "sh", "-c", "sleep 0.3; exit 4")
    assert either("wait", name) == b"4\n"


def test_large_output_is_exact(either: Docker, probe: Path) -> None:
    size = 64 * MEGABYTE
    with either.dial("run", "bb", "probe", "emit", "1", str(size), "5") as peer:
        digest, count = hashlib.sha256(), 0
        while data := peer.recv(1 << 18):
            digest.update(data)
            count += len(data)
    assert count == size
    assert digest.digest() == hashlib.sha256(emitted(probe, size, 5)).digest()


def test_large_input_is_exact(either: Docker, probe: Path) -> None:
    data = emitted(probe, 16 * MEGABYTE, 8)
    shown = either("run", "-i", "bb", "sh", "-c", "cat | sha256sum", input=data)
    assert shown.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_flags_as_they_were_written(docker: Docker) -> None:
    name = docker.detached("-e=A=1", "-e", "B=2", "-e", "HOME_OF_NOBODY", "-u=daemon", "-m", "67108864", "bb", "env")
    docker("wait", name)
    assert {"A=1", "B=2"} < set(docker.lines("logs", name))
    assert "HOME_OF_NOBODY" not in docker.text("logs", name)
    assert docker.lines("ps", "-a", "-q", "-notrunc") == [name]


# --- terminals ---


def test_a_shell_on_a_terminal(docker: Docker) -> None:
    with docker.terminal("run", "-i", "-t", "bb", "sh") as terminal:
        before = terminal.modes()
        terminal.expect(b"# ")
        assert terminal.modes() != before, "raw mode"
        terminal.send(b"echo up; cat\r")
        terminal.expect(b"\nup\r\n")
        terminal.send(b"hello\r")
        terminal.expect(b"hello\r\nhello\r\n")  # cat has answered: Ctrl-C is for it, not for the shell
        terminal.send(CTRL_C)
        terminal.expect(b"# ")
        terminal.send(b"stty size; echo status $?\r")
        terminal.expect(b"24 80\r\nstatus 0\r\n")
        terminal.send(b"exit\r")
        assert terminal.wait() == 0
        assert terminal.modes() == before


def test_hanging_up_leaves_a_terminals_container_running(local: Docker, pyrt: Pyrt) -> None:
    with local.terminal("run", "-i", "-t", "bb", "sh", "-c", "echo up; cat") as terminal:
        terminal.expect(b"up\r\n")
        terminal.send(b"hello\r")
        terminal.expect(b"hello\r\nhello\r\n")
        terminal.process.kill()
        terminal.process.wait(timeout=10)
    (name,) = local.lines("ps", "-q")
    assert pyrt.status_of(name).startswith("Up")
    assert local("kill", name) == b""


# --- everything else a client may say ---


def test_no_verb_is_missing() -> None:
    """But login, pull and push."""
    verbs = (
        "attach commit diff export help history images import info inspect kill logs port ps restart rm rmi run start"
    )
    assert set(verbs.split()) | {"stop", "tag", "version", "wait"} <= set(VERBS)


def test_version_and_help(either: Docker) -> None:
    assert either.lines("version")[0].startswith("Version:")
    overview = either.text()
    assert overview == either.text("help") and "\n  run " in overview
    assert either.text("help", "ps").startswith("Usage: pyrt ps ")


@pytest.mark.parametrize("verb", NEEDING_ARGUMENTS)
def test_too_few_arguments_are_no_error(docker: Docker, verb: str) -> None:
    """In 0.1.0 `run` without arguments ended the daemon."""
    assert docker.text(verb).startswith(f"Usage: pyrt {verb} ")
    assert docker("version").startswith(b"Version:")


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["frobnicate"], "No such command: frobnicate"),
        (["CmdPs"], "No such command: CmdPs"),
        (["help", "nosuch"], "No such command: nosuch"),
        (["run", "nosuch", "true"], "No such image: nosuch"),
        (["run", "bb"], "Command not specified"),
        (["logs", "nosuch"], "No such container: nosuch"),
        (["kill", "nosuch"], "No such container: nosuch"),
        (["rmi", "nosuch"], "No such image: nosuch"),
        (["run", "bb", "/nosuch"], "Unable to locate /nosuch"),
    ],
)
def test_errors(docker: Docker, argv: list[str], text: str) -> None:
    assert docker.text(*argv) == f"Error: {text}\n"
