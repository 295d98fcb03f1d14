# SPDX-License-Identifier: Apache-2.0
"""What the client gives when it is asked: variables by name, files by name, and to a remote daemon nothing else."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path

from tests.cli.conftest import Client
from tests.cli.fake_server import ANSWER, ASK, OPEN, STDIN, STDOUT, Peer


def open_file(peer: Peer, path: bytes) -> bytes:
    peer.send(OPEN, path)
    if reason := peer.expect(ANSWER):
        return b"refused: " + reason
    return peer.stdin()


def test_variables_that_are_set(client: Client) -> None:
    def script(peer: Peer) -> bytes:
        peer.call()
        peer.send(ASK, b"A\0MISSING\0EMPTY\0BYTES\0")
        answer = peer.expect(ANSWER)
        peer.exit()
        return answer

    client.run(script, env={b"A": b"x=y\nz", b"EMPTY": b"", b"BYTES": b"\xff", b"OTHER": b"secret"})
    assert client.value == b"A=x=y\nz\0EMPTY=\0BYTES=\xff\0"


def test_a_file_then_stdin_then_another_file(client: Client, tmp_path: Path) -> None:
    content = os.urandom(3_000_001)
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "empty").write_bytes(b"")

    def script(peer: Peer) -> list[bytes]:
        peer.call()
        found = [open_file(peer, name) for name in (b"a", b"-", str(tmp_path / "empty").encode())]
        peer.exit()
        return found

    client.run(script, cwd=tmp_path, stdin=b"typed" * 100_000)
    assert client.value == [content, b"typed" * 100_000, b""]


def test_files_that_cannot_be_read_have_a_reason(client: Client, tmp_path: Path) -> None:
    def script(peer: Peer) -> list[bytes]:
        peer.call()
        found = [open_file(peer, name) for name in (b"missing", b".", b"bad\xff")]
        peer.exit()
        return found

    client.run(script, cwd=tmp_path)
    assert client.value == [
        b"refused: cannot open 'missing': No such file or directory",
        b"refused: cannot open '.': Is a directory",
        b"refused: cannot open 'bad\xff': No such file or directory",
    ]


def test_progress_is_shown_while_a_file_is_sent_and_an_early_end_is_one(client: Client, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(20 << 20))

    def script(peer: Peer) -> None:
        peer.call()
        peer.send(OPEN, b"big")
        peer.expect(ANSWER)
        peer.expect(STDIN)
        peer.send(STDOUT, b"enough")
        peer.exit(9)

    result = client.run(script, cwd=tmp_path)
    assert (result.stdout, result.returncode) == (b"enough", 9)


def test_a_remote_daemon_gets_only_what_the_command_names(program: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"key")
    (tmp_path / "image.tar").write_bytes(b"tar")
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    found: list[bytes] = []

    def script() -> None:
        connection, _ = listener.accept()
        with connection:
            peer = Peer(connection)
            peer.call()
            peer.send(ASK, b"NAMED\0TERM\0SECRET\0")
            found.append(peer.expect(ANSWER))
            found.extend(open_file(peer, name) for name in (b"image.tar", b"secret"))
            peer.exit()

    thread = threading.Thread(target=script)
    thread.start()
    subprocess.run(
        [program, "-H", f"tcp://localhost:{port}", "import", "-e", "NAMED", "image.tar"],
        env={"NAMED": "1", "TERM": "vt100", "SECRET": "2"},
        cwd=tmp_path,
        check=True,
        timeout=20,
    )
    thread.join()
    listener.close()
    assert found == [
        b"NAMED=1\0TERM=vt100\0",
        b"tar",
        b"refused: the daemon asked for a file that the command does not name",
    ]
