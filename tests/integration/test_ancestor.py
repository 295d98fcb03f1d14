# SPDX-License-Identifier: Apache-2.0
"""What Docker 0.1.0's own tests pinned, and what it did wrong, as far as no other module tests it already."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from tests import rcli_client
from tests.harness import Pyrt
from tests.processes import open_files, wait_until

pytestmark = [pytest.mark.root, pytest.mark.both_engines]

LISTENING = "0A"  # the state of a socket in /proc/net/tcp


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        ("root", "uid=0(root) gid=0(root)"),
        ("0", "uid=0(root) gid=0(root)"),
        ("daemon", "uid=1(daemon) gid=1(daemon)"),
        ("1", "uid=1(daemon) gid=1(daemon)"),
    ],
)
def test_user_by_name_and_by_number(pyrt: Pyrt, user: str, shown: str) -> None:
    """Pinned: what `id` says of user and group. The groups after it are new: there they were the daemon's."""
    assert pyrt.run("-u", user, "bb", "id").text.partition(" groups=")[0] == shown


def test_kill_twice(pyrt: Pyrt) -> None:
    """Pinned: the second time there is nothing to do, and nothing is said; its client still sees it so."""
    name = pyrt.detached("bb", "sleep", "60")
    for _ in range(2):
        assert rcli_client.call(str(pyrt.run_dir / "pyrt.sock"), "kill", name) == b""
        assert pyrt.ok("wait", name).text == "137"
    pyrt.ok("rm", name)


def test_create(pyrt: Pyrt) -> None:
    """Pinned: its id is listed and can be got, another cannot, and what is stored can be read.

    Wrong there: it was stored after the fact, for everybody to write to.
    """
    name = pyrt.ok("create", "bb", "true").text
    record = pyrt.root / "containers" / name / "config.json"
    assert json.loads(record.read_bytes())["id"] == name
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert pyrt.ok("ps", "-a", "-q", "--no-trunc").lines == [name]
    assert pyrt.ok("inspect", "-f", "{{.Id}}", name).text == name
    assert pyrt("inspect", name[::-1]).error.startswith("No such object: ")
    pyrt.ok("rm", name)


def test_get_by_id_among_several(pyrt: Pyrt) -> None:
    """Pinned: each id leads to its own container."""
    commands = {pyrt.detached("bb", "echo", word): word for word in ("one", "two", "three")}
    for name, word in commands.items():
        assert pyrt.ok("inspect", "-f", "{{.Id}} {{.Args}}", name).text == f"{name} [{word}]"
        assert pyrt.ok("wait", name).text == "0" and pyrt.ok("logs", name).text == word
    pyrt.ok("rm", *commands)


def test_destroy(pyrt: Pyrt) -> None:
    """Pinned: it is gone from the list, cannot be got, does not exist, and is no longer on the disk; others stay."""
    name, other = (pyrt.detached("bb", "true") for _ in range(2))
    pyrt.ok("wait", name, other)
    pyrt.ok("rm", name)
    assert pyrt.ok("ps", "-a", "-q", "--no-trunc").lines == [other]
    for verb in ("start", "logs", "wait", "rm"):
        assert pyrt(verb, name).error == f"No such container: {name}"
    wait_until(lambda: not [path for path in files(pyrt.root) if name in path], what="its files being gone")
    assert any(other in path for path in files(pyrt.root))
    pyrt.ok("rm", other)


def files(root: Path) -> list[str]:
    return [os.path.join(directory, name) for directory, *names in os.walk(root) for kind in names for name in kind]


def test_nobody_listens_on_tcp_unasked(pyrt: Pyrt) -> None:
    """Wrong there: every user of the machine was root, by connecting to port 4242."""
    name = pyrt.detached("-p", "80", "bb", "sleep", "60")
    for pid in (pyrt.daemon_pid, pyrt.supervisor_pid):
        held = set(open_files(pid).values())
        for table in ("tcp", "tcp6"):
            rows = [line.split() for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
            assert not [row for row in rows if row[3] == LISTENING and f"socket:[{row[9]}]" in held]
    pyrt.ok("rm", "-f", name)
