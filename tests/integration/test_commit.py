# SPDX-License-Identifier: Apache-2.0
"""commit: an image of a container, which runs, has its history, and holds what the container held."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrt.image.packing import Stream
from tests.harness import Pyrt, start_instance
from tests.processes import wait_until

pytestmark = [pytest.mark.root, pytest.mark.both_engines]


@contextlib.contextmanager
def container(pyrt: Pyrt, name: str, *words: str) -> Iterator[str]:
    """A container that has ended, removed at the end."""
    pyrt("run", "--name", name, *words)
    try:
        yield name
    finally:
        pyrt.ok("rm", "-f", name)


def leftovers(pyrt: Pyrt) -> list[str]:
    return os.listdir(pyrt.root / "tmp")


def test_commit_then_run_the_new_image(pyrt: Pyrt) -> None:
    """Docker 0.1.0's first test."""
    with container(pyrt, "first", "bb", "touch", "/world"):
        image = pyrt.ok("commit", "first").text
        assert len(image) == 64
        assert pyrt.run(image, "ls", "/world").text == "/world"
        pyrt.ok("rmi", image)


def test_names(pyrt: Pyrt) -> None:
    with container(pyrt, "named", "bb", "touch", "/x"):
        one = pyrt.ok("commit", "named", "made").text
        two = pyrt.ok("commit", "named", "made", "v2").text
        three = pyrt.ok("commit", "named", "made:v3").text
        rows = [line.split()[:3] for line in pyrt.ok("images", "made").lines[1:]]
        assert rows == [["made", "latest", one[:16]], ["made", "v2", two[:16]], ["made", "v3", three[:16]]]
        for words, text in {
            ("made", "a/b"): "Illegal tag name: a/b",
            ("Ma:de:x",): "Illegal repository name: Ma:de",
            ("host",): "the name 'host' belongs to the built-in image; choose another one",
        }.items():
            result = pyrt("commit", "named", *words)
            assert (result.status, result.error) == (125, text)
        pyrt.ok("rmi", "made", "made:v2", "made:v3")
    assert pyrt("commit", "nothing").error == "No such container: nothing"
    assert pyrt("commit").text.startswith("Usage: pyrt commit")


def test_the_configuration_is_the_containers(pyrt: Pyrt) -> None:
    flags = ["-e", "A=1", "-e", "B=two words", "-u", "daemon", "-w", "/tmp", "-p", "8080/udp"]
    with container(pyrt, "configured", *flags, "bb", "sh", "-c", 'echo "$A $B $(id -un) $(pwd)"'):
        pyrt.ok("commit", "-m", "a message", "-a", "an author", "configured", "configured")
        assert pyrt.run("configured").text == "1 two words daemon /tmp"
        config = json.loads(
            (pyrt.root / "images" / f"{pyrt.ok('images', '-q', '--no-trunc', 'configured').text}.json").read_bytes()
        )
        assert config["config"]["ExposedPorts"] == {"8080/udp": {}}
        assert (config["author"], config["comment"]) == ("an author", "a message")
    with container(pyrt, "again", "-e", "B=3", "configured"):
        pyrt.ok("commit", "again", "again")
        assert pyrt.run("again").text == "1 3 daemon /tmp"
    pyrt.ok("rmi", "again", "configured")


def test_history_and_parents(pyrt: Pyrt) -> None:
    bb = pyrt.ok("images", "-q", "--no-trunc", "bb").text
    with container(pyrt, "one", "bb", "sh", "-c", "echo one > /one"):
        first = pyrt.ok("commit", "one").text
    with container(pyrt, "two", first, "sh", "-c", "echo two > /two"):
        second = pyrt.ok("commit", "two", "top").text
    lines = pyrt.ok("history", "--no-trunc", "top").lines[1:]
    assert [line.split()[0] for line in lines] == [second, first, bb]
    assert lines[0].endswith("sh -c echo two > /two") and lines[1].endswith("sh -c echo one > /one")
    listed = pyrt.ok("images", "-q", "--no-trunc").text
    assert first not in listed, "another image was made of it"
    assert first in pyrt.ok("images", "-a", "-q", "--no-trunc").text
    assert pyrt.run("top", "cat", "/one", "/two").lines == ["one", "two"]
    pyrt.ok("rmi", "top")
    assert first in pyrt.ok("images", "-q", "--no-trunc").text, "it is a head again"
    pyrt.ok("rmi", first)


EVERYTHING = r"""
    cd /
    rm -r /home; mkdir -p /home/new; rm /bin/yes; mv /usr /moved; rm /etc/group; mkdir /etc/group; echo x > /etc/group/x
    mkdir -m 1777 /d; echo content > /d/one; ln /d/one /d/two; ln -s ../nowhere /d/link; ln /d/link /d/link2
    chown 1234:99 /d/one; chmod 6755 /d/one; chown -h 77 /d/link; touch -d '1999-01-01' /d; ln /bin/busybox /d/box
    printf 'odd' > "$(printf '/d/odd\n\377\\')"; mknod /d/null c 1 3; mkfifo /d/fifo
    mkdir -p /root/a/b/c; chmod 700 /root/a; chown 5:6 /root/a/b
    truncate -s 10M /sparse; echo end >> /sparse; touch -r /etc /d/e; chmod 711 /etc; touch -d '2000-02-02' /
"""


def test_what_is_exported_is_the_same(pyrt: Pyrt) -> None:
    with container(pyrt, "original", "bb", "sh", "-c", EVERYTHING):
        image = pyrt.ok("commit", "original", "copy").text
        with container(pyrt, "copy", "copy", "true"):
            assert pyrt.ok("diff", "copy").out == b""
            assert pyrt.ok("export", "copy").out == pyrt.ok("export", "original").out
            second = pyrt.ok("commit", "copy").text
            with container(pyrt, "third", second, "true"):
                assert pyrt.ok("export", "third").out == pyrt.ok("export", "original").out
            pyrt.ok("rmi", second)
        pyrt.ok("rmi", image)


def test_a_link_to_a_file_of_the_image(pyrt: Pyrt, bb_tar: bytes) -> None:
    """The container's file is a copy; the image's other name of it stays what it was. So it is after a commit, too."""
    pyrt.ok("run", "--name", "linked", "bb", "sh", "-c", "echo x > /a; ln /a /b")
    pyrt.ok("commit", "linked", "linked")
    with container(pyrt, "changed", "linked", "sh", "-c", "echo y >> /a; cat /b; stat -c %h /a"):
        assert pyrt.ok("logs", "changed").lines == ["x", "1"]
        pyrt.ok("commit", "changed", "changed")
        assert pyrt.run("changed", "sh", "-c", "cat /a /b").lines == ["x", "y", "x"]
    pyrt.ok("rmi", "changed", "linked")
    pyrt.ok("rm", "linked")


def test_a_running_container_stands_still_meanwhile(pyrt: Pyrt) -> None:
    """Two files that are always changed one after the other are never more than one step apart."""
    counting = "while :; do i=$((i+1)); echo $i > /a; echo $i > /z; done"
    script = f"dd if=/dev/zero of=/ballast bs=1M count=30 2>/dev/null; i=0; echo ready; {counting}"
    identifier = pyrt.detached("--name", "busy", "bb", "sh", "-c", script)
    wait_until(lambda: pyrt.ok("logs", identifier).text == "ready", what="its start")
    for _ in range(3):
        image = pyrt.ok("commit", "busy").text
        a, z = (int(number or 0) for number in pyrt.run(image, "sh", "-c", "echo $(cat /a); echo $(cat /z)").lines)
        assert a == 0 or z == 0 or 0 <= a - z <= 1, (a, z)
        pyrt.ok("rmi", image)
    before = pyrt.ok("export", "busy").out
    wait_until(lambda: pyrt.ok("export", "busy").out != before, what="it going on")
    pyrt.ok("rmi", pyrt.ok("commit", "--pause=false", "busy").text)
    pyrt.ok("rm", "-f", "busy")


def test_the_host_image_cannot_be_a_parent(pyrt: Pyrt) -> None:
    with container(pyrt, "machine", "host", "true"):
        assert "the machine's own" in pyrt("commit", "machine").error


def test_removed_meanwhile(pyrt: Pyrt) -> None:
    """No image, or one that has all of it."""
    script = "mkdir /many; cd /many; i=0; while [ $i -lt 500 ]; do echo $i > $i; i=$((i+1)); done"
    pyrt.ok("run", "--name", "going", "bb", "sh", "-c", script)
    process = pyrt.start("commit", "going", "going")
    pyrt.ok("rm", "going")
    out, err = process.communicate(timeout=20)
    if process.returncode == 0:
        assert len(pyrt.run("going", "ls", "/many").lines) == 500
        pyrt.ok("rmi", "going")
    else:
        assert err in (b"Error: container going was removed meanwhile\n", b"Error: No such container: going\n")
        assert "going" not in pyrt.ok("images").text
    wait_until(lambda: not leftovers(pyrt), what="its remains going")


def test_a_client_that_leaves(pyrt: Pyrt) -> None:
    with container(pyrt, "big", "bb", "dd", "if=/dev/urandom", "of=/big", "bs=1M", "count=100"):
        before = pyrt.ok("images", "-a", "-q").out
        process = pyrt.start("commit", "big")
        wait_until(lambda: leftovers(pyrt), what="its beginning")
        process.kill()
        wait_until(lambda: not leftovers(pyrt), what="it being undone")
        assert pyrt.ok("images", "-a", "-q").out == before


def test_a_full_disk(bb_tar: bytes, tmp_path: Path, pyrt: Pyrt) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={64 << 20}", "small", disk], check=True)
    try:
        small = start_instance(pytest.fail, root=disk / "r")
        try:
            small.ok("import", "-", "bb", input=bb_tar)
            small.ok("run", "--name", "big", "bb", "dd", "if=/dev/urandom", "of=/big", "bs=1M", "count=35")
            layers = os.listdir(small.root / "layers")
            result = small("commit", "big", "big", timeout=60)
            assert result.status == 125 and result.error.startswith("no space left on the disk after ")
            assert not leftovers(small) and os.listdir(small.root / "layers") == layers
            assert "big" not in small.ok("images").text
            small.ok("run", "--rm", "bb", "true")
        finally:
            small.close()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_whiteouts_are_those_of_image_layers(pyrt: Pyrt) -> None:
    """What other runtimes read: .wh. names, and .wh..wh..opq in a directory that hides all below it."""
    with container(pyrt, "deleted", "bb", "sh", "-c", "rm -r /etc/group /bin/yes /home; mkdir /home; echo x > /home/x"):
        directory = next(pyrt.root.glob("containers/*/diff/home/x")).parent.parent
        words = ["--layer", "--upper", str(fd := os.open(directory, os.O_RDONLY))]
        with Stream(words, [fd]) as stream, tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            names = archive.getnames()
        os.close(fd)
        assert {"etc/.wh.group", "bin/.wh.yes", "home/.wh..wh..opq", "home/x"} < set(names)
