# SPDX-License-Identifier: Apache-2.0
"""export: the whole root of a container as an archive, from which import makes the same image again."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.harness import Pyrt
from tests.processes import wait_until

pytestmark = pytest.mark.root

MIB = 1 << 20


def members(archive: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {member.name: member for member in opened.getmembers()}


def packers(pyrt: Pyrt) -> list[str]:
    """The daemon's pyrt-tar processes."""
    done = subprocess.run(["pgrep", "-x", "pyrt-tar", "-P", str(pyrt.daemon_pid)], capture_output=True, text=True)
    return done.stdout.split()


@pytest.mark.both_engines
def test_running_and_stopped_are_the_same(pyrt: Pyrt, tmp_path: Path) -> None:
    script = "echo own > /own; rm /bin/yes; echo x > /proc/self/comm; echo secret > /volume/file; sleep 1000"
    identifier = pyrt.detached("-v", f"{tmp_path}:/volume", "bb", "sh", "-c", script)
    wait_until((tmp_path / "file").exists, what="the container's writing")
    running = pyrt.ok("export", identifier).out
    pyrt.ok("kill", identifier)
    assert pyrt.ok("export", identifier[:16]).out == running
    found = members(running)
    assert {"own", "bin/busybox", "volume", "etc/passwd"} < set(found) and "bin/yes" not in found
    assert not any(name.startswith(("volume/", "proc/", "sys/", "dev/")) for name in found)
    assert found["etc/hosts"].size == 0
    pyrt.ok("rm", identifier)


def test_export_and_import_give_the_same_tree(pyrt: Pyrt) -> None:
    script = """
        mkdir -p /d/e; echo one > /d/one; ln /d/one /d/two; ln -s /nowhere /d/link; mkfifo /d/fifo
        chown 1234:99 /d/one; chmod 4750 /d/one; touch -d '1999-01-01' /d/e; rm /etc/group; chmod 1777 /d
    """
    pyrt.ok("run", "--name", "first", "bb", "sh", "-c", script)
    first = pyrt.ok("export", "first").out
    image = pyrt.ok("import", "-", "again", input=first).text
    pyrt.ok("run", "--name", "second", "again", "true")
    assert pyrt.ok("export", "second").out == first
    assert pyrt.run("again", "cat", "/d/two").text == "one"
    pyrt.ok("rm", "first", "second")
    pyrt.ok("rmi", image)


def test_large_files_arrive_whole(pyrt: Pyrt) -> None:
    script = "dd if=/dev/urandom of=/big bs=1M count=40 2>/dev/null; truncate -s 64M /holes; echo end >> /holes; sync"
    pyrt.ok("run", "--name", "large", "bb", "sh", "-c", script + "; sha256sum /big /holes")
    digests = pyrt.ok("logs", "large").text
    archive = pyrt.ok("export", "large").out
    assert len(archive) > 104 * MIB
    with subprocess.Popen(["tar", "-x", "--to-command=sha256sum", "big", "holes"], stdin=-1, stdout=-1) as tar:
        out, _ = tar.communicate(archive)
    assert [line.split()[0] for line in out.decode().splitlines()] == [line.split()[0] for line in digests.splitlines()]
    pyrt.ok("rm", "large")


def test_into_a_closed_pipe(pyrt: Pyrt) -> None:
    """Ends quietly and at once, and leaves nothing."""
    pyrt.ok("run", "--name", "big", "bb", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=200")
    log = pyrt.run_dir / "daemon.log"
    said = log.stat().st_size
    command = f"{pyrt.client} export big | head -c 10000 | wc -c; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], env=pyrt.environment, capture_output=True, text=True, timeout=20)
    assert done.stdout.split() == ["10000", "141"] and done.stderr == ""
    wait_until(lambda: not packers(pyrt), what="the end of pyrt-tar")
    since = log.read_text()[said:]
    assert "ERROR" not in since and "Traceback" not in since
    pyrt.ok("rm", "big")


def test_a_client_that_is_killed_while_it_does_not_read(pyrt: Pyrt) -> None:
    pyrt.ok("run", "--name", "big", "bb", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=200")
    exporting = [pyrt.start("export", "big") for _ in range(12)]
    wait_until(lambda: len(packers(pyrt)) == 12, what="all of them to be under way")
    pyrt.ok("ps")  # those who do not read hold up nobody else
    for process in exporting:
        process.kill()
    wait_until(lambda: not packers(pyrt), what="their ends")
    pyrt.ok("rm", "big")


def test_not_to_a_terminal(pyrt: Pyrt) -> None:
    pyrt.ok("run", "--name", "done", "bb", "true")
    with pyrt.pty("export", "done") as terminal:
        terminal.expect(b"an archive is nothing for a terminal")
        assert terminal.wait() == 125
    pyrt.ok("rm", "done")


def test_a_container_that_is_removed_meanwhile(pyrt: Pyrt, tmp_path: Path) -> None:
    """What is left of it is no archive of it."""
    pyrt.ok("run", "--name", "going", "bb", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=100")
    process = pyrt.start("export", "going")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(1)
    pyrt.ok("rm", "going")
    process.stdout.read()
    assert process.wait() == 125 and process.stderr.read() == b"Error: container going was removed meanwhile\n"


def test_links_that_lead_out(pyrt: Pyrt, tmp_path: Path) -> None:
    """They are written as they are, not followed."""
    script = f"ln -s {tmp_path} /out; ln -s /proc/1/root /root-of-one; ln -s / /d; mkdir /e; ln -s /etc/shadow /e/x"
    (tmp_path / "canary").write_text("canary")
    pyrt.ok("run", "--name", "links", "bb", "sh", "-c", script)
    archive = pyrt.ok("export", "links").out
    assert b"canary" not in archive.replace(os.fsencode(tmp_path), b"")
    assert members(archive)["e/x"].linkname == "/etc/shadow"
    pyrt.ok("rm", "links")


def test_the_host_image(pyrt: Pyrt) -> None:
    """The machine's own root is large: what matters is that pyrt's own files are no part of it."""
    pyrt.ok("run", "--name", "machine", "host", "sh", "-c", "echo x > /.aaa")
    process = pyrt.start("export", "machine")
    assert process.stdout is not None
    with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
        names = [member.name for member, _ in zip(archive, range(20), strict=False)]
    process.kill()
    process.wait()
    assert names[:2] == [".", ".aaa"]
    wait_until(lambda: not packers(pyrt), what="the end of pyrt-tar")
    pyrt.ok("rm", "machine")


def test_no_such_container(pyrt: Pyrt) -> None:
    result = pyrt("export", "nothing")
    assert (result.status, result.error) == (125, "No such container: nothing")
