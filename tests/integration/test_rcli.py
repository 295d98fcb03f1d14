# SPDX-License-Identifier: Apache-2.0
"""The protocol of Docker 0.1.0, on TCP and on the unix socket: every verb through a client that knows nothing else."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import re
import select
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyrt as package
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


# --- images ---


def test_import_from_the_raw_stdin(either: Docker, bb_tar: bytes) -> None:
    identifier = either.text("import", "-", "imported", "v1", input=bb_tar).strip()
    assert ID.fullmatch(identifier)
    header, *rows = either.lines("images", "imported")
    assert header.split() == ["REPOSITORY", "TAG", "ID", "CREATED", "PARENT"]
    assert [row.split()[:3] for row in rows] == [["imported", "v1", identifier[:16]]]
    assert either("run", "imported:v1", "echo", "in") == b"in\n"
    either("rm", *either.lines("ps", "-a", "-q"))
    assert either("rmi", "imported:v1") == b""
    assert either("images", "-q", "imported") == b""


def test_import_from_a_url(docker: Docker, bb_tar: bytes) -> None:
    """Without a scheme it is http, as it was; what is said on the way comes before the id."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(bb_tar)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            for scheme in ("", "http://"):
                source = f"{scheme}127.0.0.1:{server.server_port}/bb.tar"
                *said, identifier = docker.lines("import", source, "fetched")
                assert ID.fullmatch(identifier)
                assert all(line.startswith("Downloading ") for line in said)
                assert docker("rmi", identifier) == b""
        finally:
            server.shutdown()
    assert docker("images", "-q", "fetched") == b""


def test_files_cannot_be_sent(docker: Docker) -> None:
    assert docker("import", "/etc/passwd", "x") == (
        b"Error: cannot open '/etc/passwd': a client of Docker 0.1.0 cannot send files; use - and its stdin\n"
    )


def test_an_archive_that_breaks_off(docker: Docker, bb_tar: bytes) -> None:
    assert docker("import", "-", "broken", input=bb_tar[: len(bb_tar) // 2]).startswith(b"Error: ")
    assert docker("images", "-q", "broken") == b""


# --- containers ---


def test_ps(docker: Docker) -> None:
    name = docker.detached("bb", "sleep", "1000")
    header, row = docker.lines("ps")
    assert header.split()[:6] == ["ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "COMMENT"]
    columns = [header.index(column) for column in ("ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "COMMENT")]
    cells = [row[start:end].strip() for start, end in zip(columns, columns[1:], strict=False)]
    assert cells[:3] == [name[:16], "bb", "sleep 1000"]
    assert cells[3].endswith(" ago") and cells[4].startswith("Up ")
    assert docker.lines("stop", name[:8]) == [name]
    assert docker("ps", "-q") == b""
    assert "Exit 137" in docker.text("ps", "-a")
    assert docker("rm", name) == b""


def test_logs(docker: Docker) -> None:
    name = docker.detached("bb", "sh", "-c", "echo one; echo two >&2; sleep 1000")
    wait_until(lambda: docker.lines("logs", name) == ["one", "two"], what="its log")
    docker("kill", name)
    assert docker.lines("logs", name) == ["one", "two"], "one that has ended"


def test_info(docker: Docker, local: Docker) -> None:
    counts = docker.lines("info")[:3]
    assert counts[:2] == ["containers: 0", f"version: {package.__version__}"]
    assert re.fullmatch(r"images: [1-9]\d*", counts[2])
    docker.detached("bb", "true")
    assert docker.lines("info")[0] == "containers: 1" and local.lines("info")[0] == "containers: 1"


def test_inspect(either: Docker) -> None:
    name = either.detached("-e", "A=1", "bb", "sleep", "1000")
    text = either.text("inspect", name)
    described = json.loads(text)
    assert described["Id"] == name and text.startswith('{\n    "')
    (image,) = {line.split()[2] for line in either.lines("images", "bb")[1:]}
    assert json.loads(either.text("inspect", "bb"))["id"].startswith(image)
    assert either("inspect", "nosuch") == b"", "0.1.0 said nothing of what there is not"
    either("kill", name)


def test_port(docker: Docker) -> None:
    name = docker.detached("-p", "4444", "-p", "5555", "bb", "sleep", "1000")
    ports = [docker.text("port", name, private) for private in ("4444", "5555")]
    assert all(49153 <= int(public) <= 65535 for public in ports) and ports[0] != ports[1]
    assert docker("port", name, "99") == f"Error: No private port '99' allocated on {name}\n".encode()
    docker("kill", name)


def test_tag_and_history(docker: Docker) -> None:
    assert docker("tag", "bb", "other", "v1") == b""
    try:
        header, row = docker.lines("history", "other:v1")
        assert re.split(r" {2,}", header) == ["ID", "CREATED", "CREATED BY"]
        (identifier,) = docker.lines("images", "-q", "other")
        assert row.split()[0] == identifier and " ago" in row and row.endswith("pyrt import")
        assert docker("tag", "bb", "a:b", "v1").startswith(b"Error: Illegal repository name: a:b")
        assert docker("tag", "bb", "other", "a/b").startswith(b"Error: Illegal tag name: a/b")
    finally:
        assert docker("rmi", "other:v1") == b""


def test_following_a_log(docker: Docker) -> None:
    name = docker.detached("bb", "sh", "-c", "echo one; sleep 1000")
    with docker.dial("logs", "-f", name) as peer:
        peer.shutdown(socket.SHUT_WR)
        assert peer.recv(99) == b"one\n"
        docker("kill", name)
        assert rcli_client.read_all(peer) == b""


def test_attach(either: Docker) -> None:
    name = either.detached("-i", "bb", "cat")
    with either.dial("attach", name, more=b"first\n") as peer:
        assert peer.recv(99) == b"first\n"
        with either.dial("attach", "-o", name) as other:
            other.shutdown(socket.SHUT_WR)
            wait_until(lambda: echoed(peer, other), what="the second client being attached")
        peer.shutdown(socket.SHUT_WR)
        assert rcli_client.read_all(peer) == b""
    assert either("wait", name) == b"0\n"
    assert either("attach", name).startswith(b"Error: ")


def echoed(speaker: socket.socket, listener: socket.socket) -> bool:
    """Whether what one client types reaches both."""
    speaker.sendall(b"again\n")
    assert speaker.recv(99) == b"again\n"
    return bool(select.select([listener], [], [], 0.05)[0]) and listener.recv(99).endswith(b"again\n")


def test_attach_to_a_terminal(docker: Docker) -> None:
    name = docker.detached("-i", "-t", "bb", "sh")
    with docker.terminal("attach", name) as terminal:
        wait_until(lambda: prompted(terminal), what="the shell's answer")
        terminal.send(b"exit 5\r")
        assert terminal.wait() == 0
    assert docker("wait", name) == b"5\n"


def prompted(terminal: Terminal) -> bool:
    terminal.send(b"\r")
    try:
        return bool(terminal.expect(b"# ", seconds=0.2))
    except AssertionError:
        return False


def test_the_life_of_a_container(docker: Docker) -> None:
    name = docker.text("create", "-i", "bb", "sh", "-c", "echo run >> /runs; wc -l < /runs; cat").strip()
    assert docker.lines("start", name[:10]) == [name]
    wait_until(lambda: docker("logs", name) == b"1\n", what="its output")
    assert docker.lines("restart", "-t", "0", name) == [name]
    wait_until(lambda: docker("logs", name) == b"1\n2\n", what="both runs' output")
    assert docker.lines("stop", name) == [name]
    assert docker("start", "-i", name, input=b"typed\n") == b"3\ntyped\n"
    assert docker("rename", name, "other") == b""
    assert docker("kill", "other") == b"", "0.1.0 said nothing of one that does not run"
    assert docker("rm", "other") == b""
    assert docker("start", name) == f"Error: No such container: {name}\n".encode()


def test_several_arguments(docker: Docker) -> None:
    names = [docker.detached("bb", "sh", "-c", f"exit {status}") for status in (1, 2)]
    assert docker("wait", *names) == b"1\n2\n"
    assert docker.lines("rm", names[0], "nosuch", names[1]) == ["Error: No such container: nosuch"]
    assert docker("ps", "-a", "-q") == b""


def test_diff_and_export(either: Docker, probe: Path, tmp_path: Path) -> None:
    script = "probe emit 1 3000000 4 > /data; echo x >> /etc/passwd; rm /bin/yes"
    name = either.detached("bb", "sh", "-c", script)
    assert either("wait", name) == b"0\n"
    assert sorted(set(either.lines("diff", name)) & {"A /data", "C /etc/passwd", "D /bin/yes"}) == [
        "A /data",
        "C /etc/passwd",
        "D /bin/yes",
    ]
    archive = either("export", name)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        (member,) = [member for member in tar if member.name.strip("./") == "data"]
        content = tar.extractfile(member)
        assert content and content.read() == emitted(probe, 3_000_000, 4)
        assert not [found for found in tar.getnames() if found.endswith("bin/yes")]
    assert either("import", "-", "again", input=archive).count(b"\n") == 1
    assert either("run", "again", "sha256sum", "/data").split()[0].decode() == (
        hashlib.sha256(emitted(probe, 3_000_000, 4)).hexdigest()
    )
    either("rm", *either.lines("ps", "-a", "-q"))
    assert either("rmi", "again") == b""
    assert either("diff", "nosuch") == b"Error: No such container: nosuch\n"


def test_an_export_nobody_reads_to_the_end(either: Docker, pyrt: Pyrt) -> None:
    name = either.detached("bb", "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=64 2>/dev/null")
    either("wait", name)
    with either.dial("export", name) as peer:
        assert peer.recv(512)
    assert either("rm", name) == b""


def test_pause(docker: Docker) -> None:
    name = docker.detached("bb", "sleep", "1000")
    assert docker.lines("pause", name) == [name]
    assert "(Paused)" in docker.text("ps")
    assert docker.lines("unpause", name) == [name]
    docker("kill", name)


def test_top_and_stats(docker: Docker) -> None:
    name = docker.detached("bb", "sleep", "1000")
    header, process = docker.lines("top", name)
    assert header.split()[-1] == "CMD" and process.endswith("sleep 1000")
    header, row = docker.lines("stats", "-no-stream", name)
    assert header.startswith("ID ") and row.startswith(name[:16])
    docker("kill", name)


def test_events_as_they_happen(either: Docker) -> None:
    with either.dial("events") as peer:
        peer.shutdown(socket.SHUT_WR)
        shown = b""
        while b" container die " not in shown:
            name = either.detached("bb", "true")
            either("wait", name)
            if select.select([peer], [], [], 0.5)[0]:
                shown += peer.recv(1 << 16)
        assert f" container start {name} ".encode() in shown


# --- everything else a client may say ---


def test_no_verb_is_missing() -> None:
    """But login, pull and push."""
    verbs = "attach diff export help history images import info inspect kill logs port ps restart rm rmi run start"
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
