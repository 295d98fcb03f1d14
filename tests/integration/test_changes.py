# SPDX-License-Identifier: Apache-2.0
"""diff: what a container has changed of its image."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Pyrt
from tests.images import directory, file, hardlink, link, with_members

pytestmark = [pytest.mark.root, pytest.mark.both_engines]


def changes(pyrt: Pyrt, script: str, *flags: str, image: str = "bb") -> list[str]:
    """What a container says it has changed after running a script in it; the same while it runs and afterwards."""
    identifier = pyrt.detached(*flags, image, "sh", "-c", f"cd /; {script}\necho done; exec sleep 1000")
    with pyrt.start("logs", "-f", identifier) as logs:
        assert logs.stdout is not None and logs.stdout.readline() == b"done\n"
        logs.kill()
    running = pyrt.ok("diff", identifier).lines
    pyrt.ok("kill", identifier)
    stopped = pyrt.ok("diff", identifier[:12]).lines
    assert running == stopped
    pyrt.ok("rm", identifier)
    return stopped


@pytest.fixture
def layered(pyrt: Pyrt, bb_tar: bytes) -> Iterator[str]:
    members = [
        directory("dir"),
        directory("dir/sub"),
        file("dir/a", b"a"),
        file("dir/sub/b", b"b"),
        file("one", b"same file"),
        hardlink("two", "one"),
        file("bin/whale", b"#!"),
        link("name", "one"),
    ]
    pyrt.ok("import", "-", "layered", input=with_members(bb_tar, members))
    yield "layered"
    pyrt.ok("rmi", "layered")


def test_nothing_changed(pyrt: Pyrt) -> None:
    """Whatever pyrt needed to make to mount its own files on is not told: bb has no /etc/hosts."""
    assert changes(pyrt, "true") == []


def test_added_changed_and_deleted(pyrt: Pyrt) -> None:
    script = "echo x > /newfile; echo x >> /etc/passwd; rm /bin/yes; mkdir -p /home/bob/a/b; touch /home/bob/a/b/c"
    assert changes(pyrt, script) == [
        "C /bin",
        "D /bin/yes",
        "C /etc/passwd",
        "C /home/bob",
        "A /home/bob/a",
        "A /home/bob/a/b",
        "A /home/bob/a/b/c",
        "A /newfile",
    ]


def test_a_deleted_whale_is_a_whale(pyrt: Pyrt, layered: str) -> None:
    """Docker 0.1.0 stripped the letters of `.wh.` instead of the prefix, and showed `ale`."""
    assert changes(pyrt, "rm bin/whale", image=layered) == ["C /bin", "D /bin/whale"]


def test_a_deleted_directory_is_told_once(pyrt: Pyrt, layered: str) -> None:
    assert changes(pyrt, "rm -r dir", image=layered) == ["D /dir"]


def test_a_directory_that_hides_the_one_below(pyrt: Pyrt, layered: str) -> None:
    script = "rm -r dir; mkdir -p dir/sub; echo new > dir/a; touch dir/sub/c"
    assert changes(pyrt, script, image=layered) == ["C /dir", "C /dir/a", "C /dir/sub", "D /dir/sub/b", "A /dir/sub/c"]


def test_a_renamed_directory(pyrt: Pyrt, layered: str) -> None:
    expected = ["D /dir", "A /moved", "A /moved/a", "A /moved/sub", "A /moved/sub/b"]
    assert changes(pyrt, "mv dir moved", image=layered) == expected


def test_one_kind_in_place_of_another(pyrt: Pyrt, layered: str) -> None:
    script = "rm -r dir one name; echo x > dir; mkdir one; touch one/x; mkfifo name"
    assert changes(pyrt, script, image=layered) == ["C /dir", "C /name", "C /one", "A /one/x"]


def test_what_was_touched_and_is_the_same_is_not_told(pyrt: Pyrt, layered: str) -> None:
    assert changes(pyrt, "chown 0 dir/a; chmod 644 dir/sub/b; : 1<>one", image=layered) == []


def test_owners_modes_times_and_bytes(pyrt: Pyrt, layered: str) -> None:
    script = (
        "chown 7 dir/a; chmod 600 one; touch -d '2001-01-01 00:00' two; touch -r bin/whale x; echo '!#' > bin/whale"
    )
    told = changes(
        pyrt, script + "; touch -r x bin/whale; rm x; touch -r dir/sub dir; chmod 700 dir/sub", image=layered
    )
    assert told == ["C /bin/whale", "C /dir/a", "C /dir/sub", "C /one", "C /two"]


def test_a_hard_link(pyrt: Pyrt, layered: str) -> None:
    assert changes(pyrt, "ln one three", image=layered) == ["A /three"]


def test_volumes_are_no_changes(pyrt: Pyrt, layered: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    flags = ["-v", f"{tmp_path}:/made/for/it", "-v", f"{tmp_path}/file:/dir/file", "-v", f"{tmp_path}:/other"]
    assert changes(pyrt, "touch /made/for/it/x", *flags, image=layered) == []
    assert changes(pyrt, "touch /made/here", *flags, image=layered) == ["A /made", "A /made/here"]


def test_names_that_would_break_a_line(pyrt: Pyrt) -> None:
    script = "touch \"$(printf '/tmp/a\\nD b\\t\\033[1m\\\\')\" \"$(printf '/tmp/\\377')\" /tmp/ü"
    assert changes(pyrt, script) == ["C /tmp", "A /tmp/a\\nD b\\t\\033[1m\\\\", "A /tmp/ü", "A /tmp/\\377"]


def test_depth_without_end(pyrt: Pyrt) -> None:
    """Three chains, each as long as a path may be, put into each other: deeper than any path reaches."""
    chain = "/".join(["d" * 30] * 100)
    script = f"for i in 1 2 3; do mkdir -p $i/{chain}; done; touch 1/{chain}/end; mv 1 2/{chain}; mv 2 3/{chain}"
    told = changes(pyrt, script)
    assert (told[0], told[-1], len(told)) == ("A /3", f"A /3/{chain}/2/{chain}/1/{chain}/end", 304)


def test_the_host_image(pyrt: Pyrt) -> None:
    assert changes(pyrt, "rm /etc/os-release; touch /etc/hostname-not", image="host") == [
        "C /etc",
        "A /etc/hostname-not",
        "D /etc/os-release",
    ]


def test_no_such_container(pyrt: Pyrt) -> None:
    result = pyrt("diff", "nothing")
    assert (result.status, result.error) == (125, "No such container: nothing")
    assert pyrt("diff").text.startswith("Usage: pyrt diff")


def test_a_container_that_writes_all_the_time(pyrt: Pyrt) -> None:
    script = "while :; do mkdir -p d/e; touch d/e/f; rm -r d; ln -s /etc d; rm d; done"
    identifier = pyrt.detached("bb", "sh", "-c", f"cd /tmp; {script}")
    for _ in range(20):
        lines = pyrt.ok("diff", identifier).lines
        assert all(line.split("/")[1] == "tmp" for line in lines), lines
    pyrt.ok("rm", "-f", identifier)
    assert os.path.exists("/etc/passwd")


def test_into_a_closed_pipe(pyrt: Pyrt) -> None:
    """The program that tells the changes ends, too: the leak ledger would see it."""
    name = "n" * 240
    script = f"mkdir /many; cd /many; i=0; while [ $i -lt 8000 ]; do : > ${{i}}{name}; i=$((i+1)); done"
    pyrt.ok("run", "--name", "many", "bb", "sh", "-c", script)
    command = f"{pyrt.client} diff many | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], env=pyrt.environment, capture_output=True, text=True, timeout=20)
    assert done.stdout.split() == ["A", "/many", "141"] and done.stderr == ""
    pyrt.ok("rm", "many")
