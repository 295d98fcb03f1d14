# SPDX-License-Identifier: Apache-2.0
"""Whatever a container does to its files: diff tells exactly that, and a commit holds exactly that.

A tree A is the image, random operations in a container make B of it. Then diff lists the paths in which a plain
comparison of A and B finds a difference; the layer, applied to A as the image format says, is B; and an image made of
the container exports as the container does.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import shlex
import tarfile
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrt.image.changes import Change, Kind
from pyrt.image.packing import Stream
from tests.harness import Pyrt
from tests.images import with_members

pytestmark = pytest.mark.root

NAMES = ("a", "b", "c", ".h", "a b", "ü", "n\n", "-", "wh.x", "\\")
FIXED = ("etc/hosts", "etc/hostname", "etc/resolv.conf")  # else pyrt has to make them, and a plain comparison sees it


@dataclass(frozen=True, slots=True)
class Node:
    """What an archive says of one path; a file of several names says the same under each."""

    type: bytes
    mode: int
    uid: int
    gid: int
    mtime: str
    content: str
    link: str
    device: tuple[int, int]
    xattrs: tuple[tuple[str, str], ...]


Tree = dict[str, Node]


def read(archive: bytes) -> tuple[Tree, list[str]]:
    """The tree in an archive, and its names in order."""
    tree: Tree = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        members = opened.getmembers()
        for member in members:
            if member.islnk():
                tree[member.name] = tree[member.linkname]
                continue
            file = opened.extractfile(member) if member.isreg() else None
            tree[member.name] = Node(
                type=member.type,
                mode=member.mode,
                uid=member.uid,
                gid=member.gid,
                mtime=member.pax_headers.get("mtime", str(member.mtime)),
                content=hashlib.sha256(file.read()).hexdigest() if file else "",
                link=member.linkname,
                device=(member.devmajor, member.devminor),
                xattrs=tuple(
                    sorted(item for item in member.pax_headers.items() if item[0].startswith("SCHILY.xattr."))
                ),
            )
    return tree, [member.name for member in members]


def is_directory(tree: Tree, path: str) -> bool:
    return path in tree and tree[path].type == tarfile.DIRTYPE


def parent(path: str) -> str:
    return path.rpartition("/")[0] or "."


def difference(old: Tree, new: Tree) -> list[str]:
    """A plain comparison of two trees, as lines of diff."""
    changes = []
    for path in sorted(old.keys() | new.keys() - {"."}, key=lambda path: path.encode().split(b"/")):
        if path == ".":
            continue
        if path not in old:
            kind = Kind.ADDED
        elif path in new:
            if old[path] == new[path]:
                continue
            kind = Kind.MODIFIED
        elif is_directory(new, parent(path)):
            kind = Kind.DELETED
        else:
            continue  # what it was in is no directory any more, which has been told
        changes.append(str(Change(kind, b"/" + path.encode())))
    return changes


def remove(tree: Tree, path: str, *, itself: bool = True) -> None:
    for other in [other for other in tree if other.startswith(path + "/") or (itself and other == path)]:
        del tree[other]


def applied(layer: bytes, lower: Tree) -> Tree:
    """An image's layer put on top of a tree: first what it says of what was there, then what is in it."""
    tree = dict(lower)
    upper, names = read(layer)
    for name in names:
        directory, _, base = name.rpartition("/")
        if base == ".wh..wh..opq":
            remove(tree, directory, itself=False)
        elif base.startswith(".wh."):
            remove(tree, f"{directory}/{base[4:]}".lstrip("/"))
    for name in names:
        if name.rpartition("/")[2].startswith(".wh."):
            continue
        if not (is_directory(tree, name) and is_directory(upper, name)):
            remove(tree, name)
        tree[name] = upper[name]
    return tree


# --- what is done ---

names = st.sampled_from(NAMES)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
modes = st.sampled_from(("0755", "0700", "4711", "1777", "0000", "0644"))
owners = st.sampled_from(("0:0", "1:2", "70000:3000000"))
words = st.text("xyz", max_size=3)
times = st.sampled_from(("1999-01-01 00:00:00", "2038-01-20 00:00:00", "1960-01-01 00:00:00"))


def command(form: str, *arguments: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """`%` in the form stands for an argument, quoted; paths become relative ones that look like no flag."""
    return st.tuples(*arguments).map(lambda given: form.replace("%", "{}").format(*map(shlex.quote, given)))


def writing(how: str) -> st.SearchStrategy[str]:
    return st.tuples(words, path.map(shlex.quote)).map(
        lambda given: f"[ ! -p {given[1]} ] && echo {given[0]} {how} {given[1]}"
    )


path = paths.map(lambda text: f"./{text}")
OPERATIONS = st.one_of(
    writing(">"),
    writing(">>"),
    command("mkdir -p %", path),
    command("rm -rf %", path),
    command("mv % %", path, path),
    command("mv -T % %", path, path),
    command("ln -f % %", path, path),
    command("ln -sfn % %", path, path),
    command("timeout 1 cp -a % %", path, path),  # opening a fifo waits for its other end
    command("chmod % %", modes, path),
    command("chown -h % %", owners, path),
    command("touch -d % %", times, path),
    command("touch -r / %", path),
    command("mkfifo -m 0620 %", path),
    command("mknod % c 1 3", path),
    command("probe xattr % user.note %", path, words),
    path.map(lambda text: f"rm -rf {shlex.quote(text)} && mkdir {shlex.quote(text)}"),
    path.map(lambda text: f"rm -rf {shlex.quote(text)} && echo new > {shlex.quote(text)}"),
)


@dataclass(frozen=True, slots=True)
class Made:
    """An entry of the image, made in order; what does not fit with those before it is left out."""

    path: str
    type: bytes
    mode: int
    owner: tuple[int, int]
    content: bytes
    target: str


ENTRIES = st.builds(
    Made,
    path=paths,
    type=st.sampled_from((tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE)),
    mode=st.sampled_from((0o755, 0o700, 0o4711)),
    owner=st.sampled_from(((0, 0), (1, 2))),
    content=st.binary(max_size=3),
    target=paths,
)


def image(base: bytes, entries: list[Made]) -> bytes:
    """The archive of a root with these entries in /t, and whatever pyrt mounts something on."""
    made: dict[str, bytes] = {}
    members = []
    for name in (*FIXED, "t"):
        info = tarfile.TarInfo(name)
        info.type = tarfile.DIRTYPE if name == "t" else tarfile.REGTYPE
        info.mode = 0o755
        members.append((info, b""))
    for entry in entries:
        if entry.path in made or any(made.get(above) != tarfile.DIRTYPE for above in parents(entry.path)):
            continue
        if entry.type == tarfile.LNKTYPE and made.get(entry.target) != tarfile.REGTYPE:
            continue
        info = tarfile.TarInfo(f"t/{entry.path}")
        info.type, info.mode, (info.uid, info.gid) = entry.type, entry.mode, entry.owner
        info.linkname = f"t/{entry.target}" if entry.type == tarfile.LNKTYPE else entry.target
        info.mtime = 1_000_000_000
        members.append((info, entry.content if entry.type == tarfile.REGTYPE else b""))
        info.size = len(members[-1][1])
        made[entry.path] = entry.type
    return with_members(base, members)


def parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:size]) for size in range(1, len(parts))]


@given(entries=st.lists(ENTRIES, max_size=15), operations=st.lists(OPERATIONS, max_size=12))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_diff_and_commit(pyrt: Pyrt, bb_tar: bytes, entries: list[Made], operations: list[str]) -> None:
    pyrt.ok("import", "-", "random", input=image(bb_tar, entries))
    pyrt.ok("create", "--name", "untouched", "random", "true")
    script = "".join(f"{{ {operation}; }} 2>/dev/null\n" for operation in operations)
    pyrt.ok("run", "--name", "touched", "random", "sh", "-c", f"cd /t\n{script}true")
    try:
        old, _ = read(pyrt.ok("export", "untouched").out)
        exported = pyrt.ok("export", "touched").out
        new, _ = read(exported)
        assert pyrt.ok("diff", "touched").out.decode() == "".join(f"{line}\n" for line in difference(old, new))
        assert applied(layer_of(pyrt), old) == new
        pyrt.ok("commit", "touched", "committed")
        pyrt.ok("create", "--name", "again", "committed", "true")
        assert pyrt.ok("export", "again").out == exported
        assert pyrt.ok("diff", "again").out == b""
    finally:
        pyrt("rm", "-f", "untouched", "touched", "again")
        pyrt("rmi", "committed", "random")


def layer_of(pyrt: Pyrt) -> bytes:
    """What a commit of the container `touched` takes as its layer."""
    id = next(line for line in pyrt.ok("ps", "-a", "-q", "--no-trunc", "--filter", "name=touched").lines)
    fd = os.open(pyrt.root / "containers" / id / "diff", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with Stream(["--layer", "--upper", str(fd)], [fd]) as stream:
            return b"".join(stream)
    finally:
        os.close(fd)


def test_the_comparison_itself() -> None:
    """The oracle finds what it should."""
    file = Node(tarfile.REGTYPE, 0o644, 0, 0, "1", "x", "", (0, 0), ())
    directory = dataclasses.replace(file, type=tarfile.DIRTYPE)
    old = {".": directory, "d": directory, "d/x": directory, "d/x/y": file, "e": directory, "e/f": file, "s": file}
    new = {".": file, "d": directory, "e": file, "s": dataclasses.replace(file, uid=1), "n": file}
    assert difference(old, new) == ["D /d/x", "C /e", "A /n", "C /s"]
