# SPDX-License-Identifier: Apache-2.0
"""What the client packs of its own side: names, links, attributes, and what is said when it cannot be read."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from pathlib import Path

import pytest

from tests.cli.conftest import NOBODY, Client
from tests.cli.fake_server import ANSWER, OPEN, PACK, STDIN, Peer

OWNERS, FOLLOW = 1, 2


def pack(client: Client, cwd: Path, path: str, flags: int = 0) -> dict[str, tarfile.TarInfo] | str:
    """The members by name as it stands in the archive; or the reason why there is none."""
    content: list[bytes] = []

    def script(peer: Peer) -> str:
        peer.call()
        peer.send(PACK, bytes([flags]) + path.encode())
        reason = peer.expect(ANSWER).decode()
        if not reason:
            content.append(peer.stdin())
        peer.exit()
        return reason

    result = client.run(script, "cp", path, "c:/dest", cwd=cwd)
    assert result.returncode == 0, result.stderr
    if client.value:
        reason: str = client.value
        return reason
    with tarfile.open(fileobj=io.BytesIO(content[0])) as archive:
        return {member.name: member for member in archive}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    (path / "d" / "sub").mkdir(parents=True)
    (path / "d" / "f").write_text("content")
    os.link(path / "d" / "f", path / "d" / "sub" / "same")
    (path / "d" / "l").symlink_to("../f")
    (path / "f").write_text("plain")
    (path / "to-d").symlink_to("d")
    (path / "to-f").symlink_to("f")
    (path / "gone").symlink_to("nowhere")
    os.mkfifo(path / "d" / "pipe")
    return path


WHOLE = {"d", "d/f", "d/l", "d/pipe", "d/sub", "d/sub/same"}


@pytest.mark.parametrize(
    ("path", "flags", "names"),
    [
        ("f", 0, {"f"}),
        ("d", 0, WHOLE),
        ("d/", 0, WHOLE),
        ("d/.", 0, {".", *(name[2:] for name in WHOLE - {"d"})}),
        ("./d", 0, WHOLE),
        ("d/sub/../../f", 0, {"f"}),
        ("to-f", 0, {"to-f"}),
        ("to-d", 0, {"to-d"}),
        ("to-d/", 0, {name.replace("d", "to-d", 1) for name in WHOLE}),
        ("to-d", FOLLOW, {name.replace("d", "to-d", 1) for name in WHOLE}),
        ("to-d/f", 0, {"f"}),
        ("gone", 0, {"gone"}),
        ("absent", 0, "cannot copy 'absent': No such file or directory"),
        ("gone", FOLLOW, "cannot copy 'gone': No such file or directory"),
        ("f/", 0, "cannot copy 'f/': Not a directory"),
        ("f/x", 0, "cannot copy 'f/x': Not a directory"),
    ],
)
def test_names_begin_with_what_was_asked_for(
    client: Client, home: Path, path: str, flags: int, names: set[str] | str
) -> None:
    members = pack(client, home, path, flags)
    assert (members if isinstance(members, str) else {name.rstrip("/") for name in members}) == names


def test_links_stay_links_and_following_is_for_the_source_alone(client: Client, home: Path) -> None:
    members = pack(client, home, "to-d", FOLLOW)
    assert not isinstance(members, str)
    assert members["to-d"].isdir()
    assert members["to-d/l"].linkname == "../f"
    assert members["to-d/sub/same"].islnk() and members["to-d/sub/same"].linkname == "to-d/f"
    single = pack(client, home, "to-f", FOLLOW)
    assert not isinstance(single, str)
    assert single["to-f"].isreg() and single["to-f"].size == 5


def test_attributes_go_along_with_owners_only(client: Client, home: Path) -> None:
    os.setxattr(home / "f", "user.x", b"v")
    plain, owned = pack(client, home, "f"), pack(client, home, "f", OWNERS)
    assert not isinstance(plain, str) and not isinstance(owned, str)
    assert "SCHILY.xattr.user.x" not in plain["f"].pax_headers
    assert owned["f"].pax_headers["SCHILY.xattr.user.x"] == "v"


def test_what_cannot_be_packed_is_told(client: Client, home: Path) -> None:
    def script(peer: Peer) -> None:
        peer.call()
        peer.send(PACK, b"\0d")
        assert peer.expect(ANSWER) == b""
        peer.stdin()
        peer.exit()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "d" / "socket"))
        result = client.run(script, "cp", "d", "c:/dest", cwd=home)
    assert result.stderr == b"'d/socket' is a socket, which no archive can hold: it is left out\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_cannot_be_read_ends_the_command_with_the_reason(nobody: tuple[Client, Path]) -> None:
    """An archive that ends early must not pass for a whole one."""
    client, home = nobody
    (home / "d").mkdir(mode=0o755)
    (home / "d" / "secret").touch(mode=0o600)

    def script(peer: Peer) -> None:
        peer.call()
        peer.send(PACK, b"\0d")
        assert peer.expect(ANSWER) == b""
        with pytest.raises((EOFError, ConnectionError)):
            peer.stdin()

    result = client.run(script, "cp", "d", "c:/dest", cwd=home, user=NOBODY, group=NOBODY)
    assert result.stderr == b"Error: cannot copy 'd': 'd/secret' cannot be opened: Permission denied\n"
    assert result.returncode == 125


@pytest.mark.parametrize("verb", ["run", "import", "x"])
def test_a_daemon_reads_trees_only_for_a_command_that_copies(client: Client, home: Path, verb: str) -> None:
    def script(peer: Peer) -> bytes:
        peer.call()
        peer.send(PACK, b"\0d")
        answer = peer.expect(ANSWER)
        peer.exit()
        return answer

    client.run(script, verb, "d", cwd=home)
    assert client.value == b"the daemon asked for a file that the command does not name"


def test_a_tree_then_standard_input(client: Client, home: Path) -> None:
    def script(peer: Peer) -> tuple[int, bytes]:
        peer.call()
        peer.send(PACK, b"\0d")
        peer.expect(ANSWER)
        size = len(peer.stdin())
        peer.send(OPEN, b"-")
        peer.expect(ANSWER)
        rest = peer.stdin()
        peer.exit()
        return size, rest

    client.run(script, "cp", "d", "-", cwd=home, stdin=b"typed")
    assert client.value[0] % 512 == 0
    assert client.value[1] == b"typed"


def test_a_daemon_that_breaks_off_leaves_no_child(client: Client, home: Path) -> None:
    (home / "d" / "big").write_bytes(bytes(30 << 20))

    def script(peer: Peer) -> None:
        peer.call()
        peer.send(PACK, b"\0d")
        peer.expect(ANSWER)
        peer.expect(STDIN)
        peer.exit(9)

    assert client.run(script, "cp", "d", "c:/x", cwd=home).returncode == 9
