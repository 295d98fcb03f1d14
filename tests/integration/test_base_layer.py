# SPDX-License-Identifier: Apache-2.0
"""Where an image has no place for what every container has mounted, a layer below all others has one."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.archives import END, file, symlink
from tests.harness import Pyrt

pytestmark = pytest.mark.root


@pytest.fixture
def bare(pyrt: Pyrt, bb_tar: bytes) -> Iterator[str]:
    """An image with a shell, and neither /etc nor /proc, /sys, /dev."""
    with tarfile.open(fileobj=io.BytesIO(bb_tar)) as archive:
        content = archive.extractfile("bin/busybox")
        assert content
        busybox = content.read()
    names = ("sh", "cat", "ls", "true", "mkdir", "rm", "hostname")
    links = b"".join(symlink("busybox", f"bin/{name}") for name in names)
    pyrt.ok("import", "-", "bare", input=file("bin/busybox", busybox, mode=0o755) + links + END)
    yield "bare"
    pyrt.ok("rmi", "bare")


def own_layer(pyrt: Pyrt, container: str) -> list[str]:
    return os.listdir(pyrt.root / "containers" / container / "diff")


def base_file(pyrt: Pyrt, name: str) -> Path:
    return pyrt.root / "base" / name


@pytest.mark.both_engines
def test_nothing_is_made_in_the_containers_own_layer(pyrt: Pyrt, bare: str) -> None:
    script = "ls /etc; ls -d /proc/1 /sys/fs; cat /etc/hostname; hostname"
    container = pyrt.ok("create", bare, "sh", "-c", script).text
    lines = pyrt.ok("start", "-a", container).lines
    assert lines == ["hostname", "hosts", "resolv.conf", "/proc/1", "/sys/fs", container[:12], container[:12]]
    assert own_layer(pyrt, container) == [] and pyrt.ok("diff", container).out == b""
    with tarfile.open(fileobj=io.BytesIO(pyrt.ok("export", container).out)) as archive:
        assert {"etc/hosts", "proc", "sys", "dev"} < set(archive.getnames())
    pyrt.ok("rm", container)


def test_nothing_of_a_container_gets_there(pyrt: Pyrt, bare: str) -> None:
    script = "echo mine > /etc/hosts; echo more > /etc/more; rm /etc/hostname; mkdir /dev/x /sys/x; true"
    container = pyrt.detached(bare, "sh", "-c", script)
    assert pyrt.ok("wait", container).text == "0"
    assert own_layer(pyrt, container) == ["etc"] and pyrt.ok("diff", container).lines == ["A /etc", "A /etc/more"]
    assert base_file(pyrt, "etc/hosts").read_bytes() == b""
    assert sorted(os.listdir(pyrt.root / "base" / "etc")) == ["hostname", "hosts", "resolv.conf"]
    assert not any(os.listdir(pyrt.root / "base" / name) for name in ("dev", "sys", "proc"))
    image = pyrt.ok("commit", container, "committed").text
    assert pyrt.run("committed", "ls", "/etc").lines == ["hostname", "hosts", "more", "resolv.conf"]
    pyrt.ok("rm", container)
    pyrt.ok("rmi", image)


def test_what_an_image_has_is_what_counts(pyrt: Pyrt, bb_tar: bytes) -> None:
    layer = bb_tar.rstrip(b"\0")
    layer += bytes(-len(layer) % 512) + file("etc/hosts", b"of the image\n", mode=0o600) + END
    pyrt.ok("import", "-", "hosted", input=layer)
    container = pyrt.ok("create", "hosted", "true").text
    pyrt.ok("start", "-a", container)
    with tarfile.open(fileobj=io.BytesIO(pyrt.ok("export", container).out)) as archive:
        assert (archive.getmember("etc/hosts").size, archive.getmember("etc/hosts").mode) == (13, 0o600)
    pyrt.ok("rm", container)
    pyrt.ok("rmi", "hosted")


def test_no_resolver_without_a_network(pyrt: Pyrt, bare: str) -> None:
    assert pyrt.run("--network", "none", bare, "ls", "/etc").lines == ["hostname", "hosts"]


def test_a_read_only_root_needs_nothing_made(pyrt: Pyrt, bare: str) -> None:
    assert pyrt.run("--read-only", bare, "sh", "-c", "cat /etc/hostname; ! mkdir /x 2>/dev/null").status == 0
