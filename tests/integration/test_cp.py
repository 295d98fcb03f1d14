# SPDX-License-Identifier: Apache-2.0
"""cp: docker's rules at both ends, in running and stopped containers, and what a hostile container makes of it."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.archives import archive, directory, file, symlink, tree_hash
from tests.harness import Pyrt, Result
from tests.processes import wait_until
from tests.rcli_client import call
from tests.rootfs import PASSWD

pytestmark = [pytest.mark.root, pytest.mark.both_engines]

CONTAINERS = ["running", "exited", "created"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory of the client's, with a file and a tree to copy."""
    path = tmp_path / "home"
    (path / "tree" / "sub").mkdir(parents=True)
    (path / "tree" / "f").write_text("from here")
    (path / "tree" / "sub" / "g").write_text("deep")
    (path / "tree" / "l").symlink_to("f")
    (path / "plain").write_text("plain")
    return path


def make(pyrt: Pyrt, state: str, *flags: str) -> str:
    """A container named c: running, exited, or never started."""
    if state == "created":
        pyrt.ok("create", "--name", "c", *flags, "bb", "sh")
    elif state == "exited":
        pyrt.ok("run", "--name", "c", *flags, "bb", "sh", "-c", "mkdir /made; echo old > /made/old")
    else:
        pyrt.detached("--name", "c", *flags, "bb", "sh", "-c", "mkdir /made; echo old > /made/old; sleep 1000")
        wait_until(lambda: pyrt("cp", "c:/made/old", "-").status == 0, what="the container having written")
    return "c"


@pytest.fixture(autouse=True)
def gone_afterwards(pyrt: Pyrt) -> Iterator[None]:
    yield
    pyrt.end_commands()
    pyrt("rm", "-f", "c")


def look(pyrt: Pyrt, path: str) -> dict[str, tuple[str, int, int, str]]:
    """What is in the container there: mode, owner, group, content or target, by the last parts of the names."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(pyrt.ok("cp", "-a", f"c:{path}", "-").out)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            content = file.read().decode() if file else member.linkname
            found[member.name.rstrip("/")] = (f"{member.mode:o}", member.uid, member.gid, content)
    return found


def contents(pyrt: Pyrt, path: str) -> dict[str, str]:
    return {name: content for name, (_, _, _, content) in look(pyrt, path).items()}


def cp(pyrt: Pyrt, home: Path, *words: str, input: bytes | None = None) -> Result:
    return pyrt("cp", *words, cwd=str(home), input=input)


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: member for member in tar}


@pytest.mark.parametrize("state", CONTAINERS)
def test_in_and_out_again(pyrt: Pyrt, home: Path, state: str) -> None:
    make(pyrt, state)
    for words in (
        ("plain", "c:/root/new"),
        ("tree", "c:/root"),
        ("tree/.", "c:root/merged"),
        ("plain", "c:/root/merged/"),
    ):
        assert cp(pyrt, home, *words).status == 0, words
    assert cp(pyrt, home, "c:/root", "back").status == 0
    back = home / "back"
    assert (back / "new").read_text() == (back / "merged" / "plain").read_text() == "plain"
    for top in (back / "tree", back / "merged"):
        assert (top / "f").read_text() == "from here" and (top / "sub" / "g").read_text() == "deep"
        assert (top / "l").readlink() == Path("f")
    assert (back / "tree" / "f").stat().st_mtime == (home / "tree" / "f").stat().st_mtime
    if state == "exited":
        assert cp(pyrt, home, "c:/made/old", "-").status == 0
    if state != "running":  # it is the container's own layer, and no other, that was written to
        pyrt.ok("start", "c")
        pyrt("wait", "c")
        assert cp(pyrt, home, "c:/root/new", "again").status == 0
        assert (home / "again").read_text() == "plain"


def test_errors_are_one_line_and_change_nothing(pyrt: Pyrt, home: Path) -> None:
    make(pyrt, "exited")
    before = tree_hash(home)
    for words, text in {
        ("c:/nowhere", "x"): "No such container:path: c:/nowhere",
        ("c:/made/old/x", "x"): "c:/made/old/x: not a directory",
        ("c:/made/old/", "x"): "c:/made/old/: not a directory",
        ("c:/made", "plain"): "cannot copy to 'plain': cannot copy a directory to a file",
        ("c:/made/old", "no/where"): "cannot copy to 'no/where': no such directory",
        ("c:/made/old", "new/"): "cannot copy to 'new/': no such directory",
        ("plain", "c:/no/where"): "No such container:path: c:/no/where",
        ("plain", "c:/new/"): "No such container:path: c:/new/",
        ("tree", "c:/made/old"): "c:/made/old: cannot copy a directory to a file",
        ("plain", "c:/made/old/"): "c:/made/old/: not a directory",
        ("absent", "c:/"): "cannot copy 'absent': No such file or directory",
        ("plain", "c:/dev/absent/x"): "No such container:path: c:/dev/absent/x",
        ("nobody:/x", "x"): "No such container: nobody",
        ("plain", "nobody:/x"): "No such container: nobody",
        ("c:/made", "c:/x"): "cannot copy from one container to another: copy to - and from - instead",
        ("plain", "x"): "one of the two has to be CONTAINER:PATH",
        ("plain", "./c:x"): "one of the two has to be CONTAINER:PATH",
        ("", "c:/x"): "a path must not be empty",
    }.items():
        result = cp(pyrt, home, *words)
        assert (result.error, result.status, result.out) == (text, 125, b""), words
    assert tree_hash(home) == before
    assert pyrt.ok("diff", "c").lines == ["A /made", "A /made/old"]
    assert pyrt("cp", "c:/x").status == 125


def test_an_archive_on_stdout_and_one_on_stdin(pyrt: Pyrt, home: Path) -> None:
    make(pyrt, "running")
    found = members(cp(pyrt, home, "c:/made", "-").out)
    assert {name.rstrip("/") for name in found} == {"made", "made/old"}
    assert set(members(cp(pyrt, home, "c:/made/old", "-").out)) == {"old"}
    data = archive([directory("a"), file("a/f", b"streamed"), file(".wh.old", b"kept")])
    assert cp(pyrt, home, "-", "c:/made", input=data).status == 0
    assert cp(pyrt, home, "-", "c:/made", input=gzip.compress(archive([file("z", b"packed")]))).status == 0
    assert contents(pyrt, "/made") == {
        "made": "",
        "made/.wh.old": "kept",
        "made/a": "",
        "made/a/f": "streamed",
        "made/old": "old\n",
        "made/z": "packed",
    }
    assert cp(pyrt, home, "-", "c:/made/old", input=data).error == "c:/made/old: not a directory"
    assert cp(pyrt, home, "-", "c:/new", input=data).error == "No such container:path: c:/new"
    assert "not a tar archive" in cp(pyrt, home, "-", "c:/made", input=b"x" * 2000).error


def test_owners_and_modes(pyrt: Pyrt, home: Path) -> None:
    """Without -a it belongs to root there, and to whoever calls here; what changes hands loses its set-id bits."""
    make(pyrt, "running")
    os.chown(home / "plain", 1234, 77)
    (home / "plain").chmod(0o4755)
    os.setxattr(home / "plain", "user.x", b"v")
    assert cp(pyrt, home, "plain", "c:/made/a").status == 0
    assert cp(pyrt, home, "-a", "plain", "c:/made/b").status == 0
    found = look(pyrt, "/made")
    assert found["made/a"] == ("755", 0, 0, "plain")
    assert found["made/b"] == ("4755", 1234, 77, "plain")
    assert cp(pyrt, home, "c:/made/b", "x").status == 0
    assert cp(pyrt, home, "-a", "c:/made/b", "y").status == 0
    x, y = (home / "x").stat(), (home / "y").stat()
    assert (x.st_uid, x.st_gid, stat.S_IMODE(x.st_mode)) == (os.geteuid(), os.getegid(), 0o755)
    assert (y.st_uid, y.st_gid, stat.S_IMODE(y.st_mode)) == (1234, 77, 0o4755)
    assert os.listxattr(home / "x") == [] and os.getxattr(home / "y", "user.x") == b"v"


def test_links_at_either_end(pyrt: Pyrt, home: Path) -> None:
    """A link is copied as one unless -L says otherwise; a destination is what its link leads to, in the container."""
    make(pyrt, "running")
    links = {"link": "/made/old", "up": "/made", "out": "../../../../../../../../etc/passwd"}
    data = archive([symlink(target, name) for name, target in links.items()])
    assert cp(pyrt, home, "-", "c:/made", input=data).status == 0
    assert cp(pyrt, home, "c:/made/link", "l").status == 0
    assert cp(pyrt, home, "-L", "c:/made/link", "f").status == 0
    assert cp(pyrt, home, "-L", "c:/made/out", "p").status == 0
    assert (home / "l").readlink() == Path("/made/old")
    assert (home / "f").read_text() == "old\n"
    assert (home / "p").read_bytes() == PASSWD
    assert cp(pyrt, home, "plain", "c:/made/link").status == 0
    assert cp(pyrt, home, "plain", "c:/made/up").status == 0
    assert cp(pyrt, home, "plain", "c:/made/out").status == 0
    assert contents(pyrt, "/etc/passwd") == {"passwd": "plain"}
    assert cp(pyrt, home, "tree/l", "c:/made/l").status == 0
    assert contents(pyrt, "/made") == {
        "made": "",
        "made/l": "f",
        "made/old": "plain",
        "made/plain": "plain",
        **{f"made/{name}": target for name, target in links.items()},
    }


def test_volumes_are_there_while_it_runs(pyrt: Pyrt, home: Path, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "read").mkdir()
    make(pyrt, "running", "-v", f"{tmp_path}/volume:/data", "-v", f"{tmp_path}/read:/ro:ro")
    assert cp(pyrt, home, "tree", "c:/data").status == 0
    assert (tmp_path / "volume" / "tree" / "sub" / "g").read_text() == "deep"
    assert cp(pyrt, home, "c:/data/tree/f", "f").status == 0
    assert "Read-only file system" in cp(pyrt, home, "plain", "c:/ro").error
    pyrt.ok("stop", "c")
    assert "No such container:path" in cp(pyrt, home, "c:/data/tree", "x").error
    assert cp(pyrt, home, "plain", "c:/data").status == 0
    assert not (tmp_path / "volume" / "plain").exists()


def test_the_kernels_own_file_systems_are_left_alone(pyrt: Pyrt, home: Path) -> None:
    make(pyrt, "running")
    for path in ("/proc", "/proc/sys/kernel/core_pattern", "/sys/kernel"):
        assert "Operation not permitted" in cp(pyrt, home, "plain", f"c:{path}").error, path
    (home / "root" / "proc").mkdir(parents=True)
    (home / "root" / "etc").mkdir()
    (home / "root" / "etc" / "new").write_text("new")
    assert cp(pyrt, home, "root/.", "c:/").status == 0
    assert contents(pyrt, "/etc/new") == {"new": "new"}
    found = members(cp(pyrt, home, "c:/proc", "-").out)
    assert [name.rstrip("/") for name in found] == ["proc"]


def test_a_read_only_root_is_that(pyrt: Pyrt, home: Path) -> None:
    make(pyrt, "created", "--read-only")
    assert cp(pyrt, home, "plain", "c:/x").error == "container c has a read-only root"
    pyrt.ok("rm", "c")
    pyrt.detached("--name", "c", "--read-only", "bb", "sleep", "1000")
    assert cp(pyrt, home, "plain", "c:/x").error.endswith("Read-only file system")


def test_a_start_waits_until_what_is_copied_is_there(pyrt: Pyrt, home: Path) -> None:
    """Two mounts of one writable layer must not meet."""
    pyrt.ok("create", "--name", "c", "bb", "cat", "/late")
    copy = pyrt.start("cp", "-", "c:/", stdin=-1)
    assert copy.stdin
    data = archive([file("late", b"in time" * 200_000)])
    copy.stdin.write(data[:600_000])
    copy.stdin.flush()
    start = pyrt.start("start", "-a", "c")
    copy.stdin.write(data[600_000:])
    copy.stdin.close()
    copy.stdin = None
    out, err = start.communicate(timeout=20)
    assert (start.returncode, err, copy.wait(20)) == (0, b"", 0)
    assert out == b"in time" * 200_000


def test_a_client_that_is_killed_leaves_nothing_half_written(pyrt: Pyrt, home: Path) -> None:
    make(pyrt, "running")
    copy = pyrt.start("cp", "-", "c:/made", stdin=-1)
    assert copy.stdin
    copy.stdin.write(archive([file("old", bytes(5_000_000))])[:3_000_000])
    copy.stdin.flush()
    wait_until(lambda: len(contents(pyrt, "/made")) == 3, what="the temporary file")
    copy.kill()
    wait_until(lambda: contents(pyrt, "/made") == {"made": "", "made/old": "old\n"}, what="it being gone")


def test_a_full_disk_inside(pyrt: Pyrt, home: Path) -> None:
    """/dev/shm is small: what did not fit is not there."""
    make(pyrt, "running")
    (home / "big").write_bytes(b"x" * (70 << 20))
    assert "No space left on device" in cp(pyrt, home, "big", "c:/dev/shm").error
    assert contents(pyrt, "/dev/shm") == {"shm": ""}


HOSTILE = """
mkdir -p /w/d/e; echo inside > /w/d/e/f; ln -s CANARY /w/s
touch /ready
exec /bin/probe exchange /w/d /w/s
"""


def test_a_container_that_swaps_directories_with_links(pyrt: Pyrt, home: Path, tmp_path: Path) -> None:
    """CVE-2018-15664. The host's canary is not written to, and what is in it is never what comes out."""
    canary = tmp_path / "canary"
    (canary / "e").mkdir(parents=True)
    (canary / "e" / "f").write_text("secret of the host")
    before = tree_hash(canary)
    pyrt.detached("--name", "c", "bb", "sh", "-c", HOSTILE.replace("CANARY", str(canary)))
    wait_until(lambda: pyrt("cp", "c:/ready", "-").status == 0, what="the swapping to have begun")
    (home / "e").mkdir()
    (home / "e" / "f").write_text("from outside")
    outcomes = set()
    for number in range(100):
        result = cp(pyrt, home, "e" if number % 2 else "e/f", "c:/w/d" if number % 2 else "c:/w/d/e/f")
        outcomes.add(("in", result.status))
        out = home / f"out{number}"
        result = cp(pyrt, home, "c:/w" if number % 2 else "c:/w/d/e/f", out.name)
        outcomes.add(("out", result.status))
        for path in [out, *out.rglob("*")] if result.status == 0 else []:
            if path.is_file() and not path.is_symlink():
                assert path.read_text() in ("inside\n", "from outside")
    assert tree_hash(canary) == before
    assert pyrt.status_of("c").startswith("Up"), "it ceased to swap"
    assert {("in", 0), ("out", 0)} <= outcomes, "not one copy succeeded: nothing was tried"


def test_nothing_of_a_booby_trapped_root_is_used(pyrt: Pyrt, home: Path) -> None:
    """Names that a C library, a decompressor or Python would look for lead to a trap; nobody may step on it."""
    trap = b"#!/bin/sh\necho sprung > /sprung\n"
    names = ["usr/bin/xz", "usr/bin/gzip", "usr/bin/tar", "bin/tar", "lib/libnss_files.so.2", "etc/ld.so.preload"]
    tree = archive([file(name, trap, mode=0o755) for name in names] + [symlink("/dev/zero", "etc/nsswitch.conf")])
    make(pyrt, "exited")
    assert cp(pyrt, home, "-", "c:/", input=tree).status == 0
    assert cp(pyrt, home, "-", "c:/", input=lzma.compress(archive([file("x")]))).status == 0
    assert cp(pyrt, home, "-a", "c:/", "whole").status == 0
    assert cp(pyrt, home, "tree", "c:/").status == 0
    assert (home / "whole" / "usr/bin/xz").read_bytes() == trap
    assert "No such container:path" in cp(pyrt, home, "c:/sprung", "-").error
    assert not Path("/sprung").exists()


def test_names_that_are_only_names(pyrt: Pyrt, home: Path) -> None:
    make(pyrt, "running")
    names = [".wh.f", "-rf", "new\nline", "c:d", "nön-\udcff", "x" * 255, " "]
    (home / "odd").mkdir()
    for name in names:
        (home / "odd" / name).write_text(name.encode("utf-8", "surrogateescape").hex())
    assert cp(pyrt, home, "odd", "c:/made").status == 0
    assert cp(pyrt, home, "c:/made/odd", "back").status == 0
    assert {path.name: path.read_text() for path in (home / "back").iterdir()} == {
        name: name.encode("utf-8", "surrogateescape").hex() for name in names
    }
    assert cp(pyrt, home, "--", "./odd/c:d", "c:/made").status == 0
    assert cp(pyrt, home, "odd/nön-\udcff", "c:/made/nön-\udcff").status == 0
    assert cp(pyrt, home, "c:/made/nön-\udcff", "bytes").status == 0


def test_a_client_of_docker_0_1_0_copies_archives_only(pyrt: Pyrt, home: Path) -> None:
    make(pyrt, "exited")
    address = f"{pyrt.run_dir}/pyrt.sock"
    assert set(members(call(address, "cp", "c:/made/old", "-"))) == {"old"}
    assert call(address, "cp", "-", "c:/made", input=archive([file("new", b"raw")])) == b""
    assert contents(pyrt, "/made/new") == {"new": "raw"}
    for words in (("c:/made/old", str(home / "x")), (str(home / "plain"), "c:/made")):
        assert call(address, "cp", *words).startswith(b"Error: a client of Docker 0.1.0 cannot copy files; use -")
    assert not (home / "x").exists()


def test_how_much_was_copied_is_said_on_a_terminal(pyrt: Pyrt, home: Path) -> None:
    make(pyrt, "exited")
    with pyrt.pty("cp", "c:/made/old", str(home / "x")) as terminal:
        terminal.expect(f"Successfully copied 4B to {home}/x\r\n".encode())
    with pyrt.pty("cp", "-q", "c:/made/old", str(home / "y")) as terminal:
        assert terminal.process.wait(10) == 0
        assert not terminal.output
