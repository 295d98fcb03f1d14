# SPDX-License-Identifier: Apache-2.0
"""Every verb through a client that knows the protocol of Docker 0.1.0 and nothing else."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import re
import select
import socket
import tarfile
import threading
from pathlib import Path

import pytest

import pyrt as package
from tests import rcli_client
from tests.harness import Pyrt
from tests.integration.test_rcli import ID, Docker, daemon, docker, either, emitted, local
from tests.processes import wait_until
from tests.terminal import Terminal

pytestmark = pytest.mark.root

__all__ = ["daemon", "docker", "either", "local"]


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


def test_commit(docker: Docker) -> None:
    name = docker.detached("bb", "sh", "-c", "echo kept > /kept")
    assert docker("wait", name) == b"0\n"
    identifier = docker.text("commit", name, "committed", "v2").strip()
    assert ID.fullmatch(identifier)
    assert docker("run", "committed:v2", "cat", "/kept") == b"kept\n"
    assert [line.split()[0] for line in docker.lines("history", "committed:v2")[1:]][0] == identifier[:16]
    docker("rm", *docker.lines("ps", "-a", "-q"))
    assert docker("rmi", "committed:v2") == b""
    assert docker("commit", "nosuch") == b"Error: No such container: nosuch\n"


def test_cp_is_for_archives_only(docker: Docker) -> None:
    name = docker.detached("bb", "sh", "-c", "echo one > /one")
    docker("wait", name)
    with tarfile.open(fileobj=io.BytesIO(docker("cp", f"{name}:/one", "-"))) as tar:
        assert tar.getnames() == ["one"]
    assert docker("cp", f"{name}:/one", "/tmp").startswith(b"Error: a client of Docker 0.1.0 cannot copy files")
    assert docker("cp", "/etc/passwd", f"{name}:/").startswith(b"Error: a client of Docker 0.1.0 cannot copy files")


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
