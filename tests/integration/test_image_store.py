# SPDX-License-Identifier: Apache-2.0
"""The store with the real extractor: an image that works, and refused ones that leave nothing."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyrt.errors import ImageError
from pyrt.image import Graph
from tests.archives import archive, file
from tests.rootfs import busybox_tar

pytestmark = pytest.mark.root


def leftovers(root: Path) -> list[str]:
    return [name for directory in ("tmp", "layers", "images") for name in os.listdir(root / directory)]


def test_busybox_image_runs(tmp_path: Path) -> None:
    graph = Graph(tmp_path)
    packed = gzip.compress(busybox_tar(), compresslevel=1)
    base = graph.create(packed[i : i + 65536] for i in range(0, len(packed), 65536))
    top = graph.create([archive([file("etc/.wh.group"), file("etc/motd", b"hello\n")])], parent=base)
    merged = tmp_path / "merged"
    merged.mkdir()
    lower = ":".join(str(path) for path in graph.lower_dirs(Graph(tmp_path).get(top.id)))
    script = (
        f"mount -t overlay o -o ro,lowerdir={lower} {merged} && chroot {merged} /bin/sh -c 'cat /etc/motd; ls /etc'"
    )
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["hello", "motd", "passwd"]
    graph.delete(base.id)
    assert graph.lower_dirs(top)[-1].is_dir()
    graph.delete(top.id)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("stream", [archive([file("a"), file("../b")]), archive([file("a")])[:700], b"", b"x" * 9999])
def test_refused_archives_leave_nothing(tmp_path: Path, stream: bytes) -> None:
    graph = Graph(tmp_path)
    with pytest.raises(ImageError):
        graph.create([stream])
    assert leftovers(tmp_path) == []


def test_full_disk_leaves_nothing_and_the_next_import_works(tmp_path: Path) -> None:
    script = """
import sys; from pathlib import Path
from pyrt.errors import ImageError; from pyrt.image import Graph; from tests.archives import archive, file
root = Path(sys.argv[1]); graph = Graph(root)
try: graph.create([archive([file(f"f{i}", bytes(100_000)) for i in range(30)])])
except ImageError as error: print(error)
print(list((root / "tmp").iterdir()), graph.layers.all(), graph.map())
print(graph.create([archive([file("small")])]).comment or "stored")
"""
    mount = 'mount -t tmpfs -o size=1m t "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "-m", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, script]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    first, second, third = done.stdout.splitlines()
    assert first.startswith("no space left on the disk after ")
    assert (second, third) == ("[] [] {}", "stored")
