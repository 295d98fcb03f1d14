# SPDX-License-Identifier: Apache-2.0
"""What the client unpacks on its own side: where it goes, what it may replace, and what a hostile archive cannot do."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.archives import END, archive, directory, file, hardlink, member, pax, symlink, tree_hash
from tests.cli.conftest import NOBODY, Client
from tests.cli.fake_server import ANSWER, FEED, UNPACK, Peer
from tests.processes import wait_until

OWNERS = 1
FILE = archive([file("src", b"new")])
TREE = archive([directory("src"), file("src/f", b"new"), directory("src/sub"), file("src/sub/g", b"deep")])
CONTENT = archive([directory("./"), file("./f", b"new"), directory("./sub"), file("./sub/g", b"deep")])


def feed(peer: Peer, data: bytes, *, piece: int = 100_000) -> None:
    """Send an archive to its end, and receive the client's word that it is unpacked; it may leave instead."""
    with contextlib.suppress(ConnectionError, EOFError):
        for start in range(0, len(data), piece):
            peer.send(FEED, data[start : start + piece])
        peer.send(FEED)
        assert peer.expect(ANSWER) == b""
        peer.exit()


def unpack(client: Client, cwd: Path, path: str, data: bytes, flags: int = 0, **options: Any) -> str:
    """What the client says: "" when all went well, else its error or remark."""

    def script(peer: Peer) -> None:
        peer.call()
        peer.send(UNPACK, bytes([flags]) + path.encode())
        assert peer.expect(ANSWER) == b""
        feed(peer, data)

    result = client.run(script, "cp", "c:/src", path, cwd=cwd, **options)
    said = result.stderr.decode().removesuffix("\n")
    assert (result.returncode, said.startswith("Error: ")) in ((0, False), (125, True))
    return said.removeprefix("Error: ")


def tree(top: Path) -> dict[str, str]:
    """Every path below, with a file's content, a link's target, or "/"."""
    found = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        found[name] = f"-> {path.readlink()}" if path.is_symlink() else "/" if path.is_dir() else path.read_text()
    return found


NEW = {"f": "new", "sub": "/", "sub/g": "deep"}
OLD = {"there": "/", "there/old": "old", "plain": "old"}


def beneath(name: str, entries: dict[str, str]) -> dict[str, str]:
    return {name: "/", **{f"{name}/{path}": content for path, content in entries.items()}}


# Docker's documented rules: what is copied, the destination as typed, and what is there afterwards or what is wrong.
PLACES = [
    (FILE, "absent", {"absent": "new"}),
    (FILE, "absent/", "no such directory"),
    (FILE, "absent/x", "no such directory"),
    (FILE, "plain", {"plain": "new"}),
    (FILE, "plain/", "not a directory"),
    (FILE, "plain/x", "not a directory"),
    (FILE, "there", {"there/src": "new"}),
    (FILE, "there/", {"there/src": "new"}),
    (FILE, "there/.", {"there/src": "new"}),
    (FILE, ".", {"src": "new"}),
    (TREE, "absent", beneath("absent", NEW)),
    (TREE, "absent/", beneath("absent", NEW)),
    (TREE, "absent/x", "no such directory"),
    (TREE, "plain", "cannot copy a directory to a file"),
    (TREE, "there", beneath("there/src", NEW)),
    (TREE, "there/", beneath("there/src", NEW)),
    (CONTENT, "absent", beneath("absent", NEW)),
    (CONTENT, "there", beneath("there", NEW)),
    (CONTENT, "plain", "cannot copy a directory to a file"),
    (CONTENT, ".", NEW),
]


@pytest.mark.parametrize(("data", "path", "outcome"), PLACES, ids=lambda value: value if isinstance(value, str) else "")
def test_what_becomes_of_source_and_destination(
    client: Client, tmp_path: Path, data: bytes, path: str, outcome: dict[str, str] | str
) -> None:
    home = tmp_path / "home"
    (home / "there").mkdir(parents=True)
    (home / "there" / "old").write_text("old")
    (home / "plain").write_text("old")
    answer = unpack(client, home, path, data)
    if isinstance(outcome, str):
        assert (answer, tree(home)) == (f"cannot copy to '{path}': {outcome}", OLD)
    else:
        assert (answer, tree(home)) == ("", OLD | outcome)


@pytest.mark.parametrize(
    ("target", "outcome"),
    [
        ("plain", {"plain": "new"}),
        ("there", {"there/src": "new"}),
        ("absent", {"absent": "new"}),
        ("deeper/../absent", {"absent": "new"}),
        ("loop", "Too many levels of symbolic links|Symbolic link loop"),  # glibc's word for it, and musl's
        ("/dev/null", "neither a file nor a directory"),
    ],
)
def test_a_destination_that_is_a_link_is_what_it_leads_to(
    client: Client, tmp_path: Path, target: str, outcome: dict[str, str] | str
) -> None:
    home = tmp_path / "home"
    (home / "there").mkdir(parents=True)
    (home / "deeper").mkdir()
    (home / "there" / "old").write_text("old")
    (home / "plain").write_text("old")
    (home / "loop").symlink_to("link")
    (home / "link").symlink_to(target)
    before = tree(home)
    answer = unpack(client, home, "link", FILE)
    if isinstance(outcome, str):
        assert re.fullmatch(f"cannot copy to 'link': .*({outcome})", answer)
        outcome = {}
    assert tree(home) == before | outcome


def test_what_is_copied_belongs_to_the_caller_and_drops_bits_meant_for_another(client: Client, tmp_path: Path) -> None:
    caller = os.geteuid()
    mine = member("src/mine", b"", mode=0o4755, uid=caller, gid=os.getegid())
    other = member("src/other", b"", mode=0o6755, uid=caller + 1, gid=caller + 1)
    device = member("src/null", type=b"3", device=(1, 3), mode=0o666)
    said = unpack(client, tmp_path, "d", archive([directory("src", mode=0o711), mine, other, device]))
    assert said == "1 device nodes were left out: only -a copies them"
    for name, mode in (("mine", 0o4755), ("other", 0o755), (".", 0o711)):
        status = (tmp_path / "d" / name).stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (mode, caller)
        assert status.st_mtime == 1_000_000_000
    assert not (tmp_path / "d" / "null").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_with_owners_root_gets_them_attributes_devices_and_holes(client: Client, tmp_path: Path) -> None:
    other = pax(SCHILY__xattr__user__x="v") + member("src/other", b"", mode=0o6755, uid=1234, gid=77)
    sparse = member("src/sparse", bytes(1 << 20) + b"end")
    device = member("src/null", type=b"3", device=(1, 3), mode=0o600, uid=5)
    assert unpack(client, tmp_path, "d", archive([directory("src"), other, sparse, device]), OWNERS) == ""
    status = (tmp_path / "d" / "other").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o6755, 1234, 77)
    assert os.getxattr(tmp_path / "d" / "other", "user.x") == b"v"
    assert (tmp_path / "d" / "sparse").read_bytes() == bytes(1 << 20) + b"end"
    assert (tmp_path / "d" / "sparse").stat().st_blocks * 512 < 1 << 19
    assert (tmp_path / "d" / "null").stat().st_rdev == os.makedev(1, 3)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("flags", [0, OWNERS])
def test_somebody_who_is_not_root_gets_what_he_may_have(nobody: tuple[Client, Path], flags: int) -> None:
    """Read-only directories are filled all the same, and owners that cannot be given are not."""
    client, home = nobody
    readonly = [directory("src", mode=0o555), directory("src/a", mode=0o500), file("src/a/f")]
    readonly.append(file("src/b", mode=0o400))
    foreign = member("src/theirs", b"x", mode=0o4755, uid=1234, gid=1234)
    assert unpack(client, home, "d", archive([*readonly, foreign]), flags, user=NOBODY, group=NOBODY) == ""
    for name, mode in ((".", 0o555), ("a", 0o500), ("a/f", 0o644), ("b", 0o400), ("theirs", 0o755)):
        status = (home / "d" / name).stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (mode, NOBODY), name
    answer = unpack(client, Path("/"), "/etc", FILE, flags, user=NOBODY, group=NOBODY)
    assert answer == "cannot copy to '/etc': 'src' cannot be made: Permission denied"


def test_a_file_is_replaced_whole_or_not_at_all(client: Client, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "plain").write_text("old")
    whole = archive([file("src", os.urandom(3_000_000))])
    assert "truncated" in unpack(client, home, "plain", whole[:1_000_000])
    assert tree(home) == {"plain": "old"}


@pytest.mark.parametrize("how", ["exit", "vanish", "interrupt"])
def test_nothing_half_written_stays_when_the_daemon_or_the_user_breaks_off(
    client: Client, tmp_path: Path, how: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "plain").write_text("old")
    begun, ended = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.call()
        peer.send(UNPACK, b"\0plain")
        assert peer.expect(ANSWER) == b""
        peer.send(FEED, archive([file("src", bytes(3_000_000))])[:900_000])
        wait_until(lambda: len(list(home.iterdir())) == 2, what="the temporary file")
        begun.set()
        if how == "exit":
            peer.exit(7)
        elif how == "interrupt":
            assert ended.wait(20)

    process, server = client.start(script, "cp", "c:/src", "plain", cwd=home)
    assert begun.wait(20)
    if how == "interrupt":
        process.send_signal(2)
    _, err = process.communicate(timeout=20)
    ended.set()
    server.result()
    assert (process.returncode, err) == {
        "exit": (7, b""),
        "vanish": (125, b"Error: lost the connection to the pyrt daemon\n"),
        "interrupt": (-2, b""),
    }[how]
    wait_until(lambda: tree(home) == {"plain": "old"}, what="the temporary file being removed")


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ([directory("src"), symlink("../canary", "src/l"), file("src/l/f")], "written through a symbolic link"),
        ([directory("src"), file("src/../../canary/f")], "leaves"),
        ([directory("src"), file("/canary/f")], "does not belong to what is copied"),
        ([directory("src"), file("other")], "does not belong to what is copied"),
        ([directory("src"), hardlink("src/../../canary/f", "src/x")], "leaves"),
        ([directory("src"), hardlink("canary/f", "src/x")], "does not belong to what is copied"),
        ([directory("src"), symlink("../canary/f", "src/l"), file("src/l"), file("src/l/x")], "no directory"),
    ],
)
@pytest.mark.parametrize("there", [False, True])
def test_an_archive_does_not_get_out(
    client: Client, tmp_path: Path, members: list[bytes], text: str, there: bool
) -> None:
    home = tmp_path / "home"
    (home / "canary").mkdir(parents=True)
    (home / "canary" / "f").write_text("secret")
    if there:
        (home / "d").mkdir()
    before = tree_hash(home / "canary")
    if there and "belong" in text:  # into a directory the archive's names are its own, and lie in it
        said = unpack(client, home, "d", archive(members))
        assert not said or "hard link" in said
    else:
        assert text in unpack(client, home, "d", archive(members))
    assert tree_hash(home / "canary") == before
    assert {path.name for path in home.iterdir()} <= {"canary", "d"}


def test_names_of_layers_mean_nothing_here(client: Client, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "gone").write_text("stays")
    names = [".wh.gone", ".wh..wh..opq", ".wh..wh.plnk"]
    assert unpack(client, tmp_path, "d", archive([directory("./"), *[file(f"./{name}") for name in names]])) == ""
    assert tree(tmp_path / "d") == {"gone": "stays", **dict.fromkeys(names, "inside")}


def test_files_and_directories_do_not_replace_each_other(client: Client, tmp_path: Path) -> None:
    (tmp_path / "d" / "src" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "src" / "f").mkdir()
    answer = unpack(client, tmp_path, "d", TREE)
    assert answer == "cannot copy to 'd': 'src/f' is a directory there: a file cannot replace it"
    (tmp_path / "d" / "src" / "f").rmdir()
    (tmp_path / "d" / "src" / "sub").rmdir()
    (tmp_path / "d" / "src" / "sub").symlink_to("/etc")
    answer = unpack(client, tmp_path, "d", TREE)
    assert answer == "cannot copy to 'd': 'src/sub' is no directory there: a directory cannot replace it"


@pytest.mark.parametrize(
    ("argv", "path"),
    [
        (("run", "i", "rm", "{}"), "{}"),
        (("cp", "c:/x", "{}x"), "{}"),
        (("cp", "c:/x", "y"), "{}"),
        (("x", "cp", "{}"), "{}"),
    ],
)
def test_a_daemon_writes_only_where_a_command_that_copies_names_the_place(
    client: Client, tmp_path: Path, argv: tuple[str, ...], path: str
) -> None:
    target = str(tmp_path / "target")

    def script(peer: Peer) -> bytes:
        peer.call()
        peer.send(UNPACK, b"\0" + path.format(target).encode())
        answer = peer.expect(ANSWER)
        peer.exit()
        return answer

    client.run(script, *(word.format(target) for word in argv))
    assert client.value == b"the daemon asked for a place to write to that the command does not name"
    assert not Path(target).exists()


def test_frames_that_make_no_sense(client: Client, tmp_path: Path) -> None:
    scripts: list[Callable[[Peer], object]] = [
        lambda peer: peer.send(UNPACK, b"\0"),
        lambda peer: peer.send(UNPACK, b""),
        lambda peer: peer.send(UNPACK, b"\0" + b"x" * 4096),
        lambda peer: peer.send(UNPACK, b"\0d").send(UNPACK, b"\0d"),
        lambda peer: peer.send(22, b"\1").send(UNPACK, b"\0d"),
    ]
    for number, play in enumerate(scripts):

        def script(peer: Peer, play: Callable[[Peer], object] = play) -> None:
            peer.call()
            play(peer)
            try:
                while True:
                    peer.receive()
            except (EOFError, ConnectionError):
                pass

        result = client.run(script, "cp", "c:/x", "d", cwd=tmp_path)
        assert result.stderr == b"Error: the pyrt daemon sent an UNPACK that makes no sense\n", number
        assert result.returncode == 125


def test_a_client_that_cannot_go_on_says_so_while_it_is_fed(client: Client, tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        peer.call()
        peer.send(UNPACK, b"\0d")
        peer.expect(ANSWER)
        data = b"no archive" * 30_000
        with pytest.raises(ConnectionError):
            for _ in range(500):  # much more than pipes and sockets hold
                peer.send(FEED, data)

    result = client.run(script, "cp", "c:/x", "d", cwd=tmp_path)
    assert result.stderr == b"Error: cannot copy to 'd': this is not a tar archive\n"
    assert result.returncode == 125


def test_a_hundred_megabytes_over_tcp(program: str, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 100
    listener = socket.create_server(("127.0.0.1", 0))
    answers: list[bytes] = []

    def script() -> None:
        connection, _ = listener.accept()
        with connection:
            peer = Peer(connection)
            peer.call()
            peer.send(UNPACK, b"\0big")
            answers.append(peer.expect(ANSWER))
            feed(peer, archive([file("src", data)]), piece=1 << 18)

    thread = threading.Thread(target=script)
    thread.start()
    address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    subprocess.run([program, "-H", address, "cp", "c:/src", "big"], cwd=tmp_path, check=True, timeout=60)
    thread.join()
    listener.close()
    assert answers == [b""]
    assert (tmp_path / "big").read_bytes() == data


def test_an_archive_without_entries_makes_nothing(client: Client, tmp_path: Path) -> None:
    assert unpack(client, tmp_path, "d", END) == ""
    assert not (tmp_path / "d").exists()
