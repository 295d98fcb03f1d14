# SPDX-License-Identifier: Apache-2.0
"""The leak ledger sees what it is there to see: every kind of leak, made on purpose."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests import ledger
from tests.ledger import Subject
from tests.processes import wait_until

pytestmark = pytest.mark.root

BRIDGE = "pthouse0"
SYS_ADD_KEY, SYS_KEYCTL, KEYCTL_UNLINK = 248, 250, 9
# A stand-in for the daemon: opens a descriptor on "f", starts a thread on "t", forgets a child on "z".
STAND_IN = """
import os, subprocess, sys, threading
for line in sys.stdin:
    if line == "f\\n": keep = os.open("/dev/zero", os.O_RDONLY)
    if line == "F\\n": os.close(keep)
    if line == "t\\n":
        stop = threading.Event(); threads = [threading.Thread(target=stop.wait, name="leak") for _ in range(2)]
        [thread.start() for thread in threads]
    if line == "T\\n": stop.set(); [thread.join() for thread in threads]
    if line == "z\\n": child = subprocess.Popen(["true"])
    if line == "Z\\n": child.wait()
    print("ok", flush=True)
"""


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[tuple[Subject, subprocess.Popen[str]]]:
    root, run_dir = tmp_path / "root", tmp_path / "run"
    (root / "tmp").mkdir(parents=True)
    run_dir.mkdir()
    stand_in = subprocess.Popen([sys.executable, "-c", STAND_IN], stdin=-1, stdout=-1, text=True)
    try:
        tell(stand_in, "?")
        pid = stand_in.pid
        yield Subject(root=root, run_dir=run_dir, bridge=BRIDGE, cgroup="pthouse", supervisor_pid=pid), stand_in
    finally:
        stand_in.communicate()


def tell(stand_in: subprocess.Popen[str], word: str) -> None:
    assert stand_in.stdin and stand_in.stdout
    stand_in.stdin.write(f"{word}\n")
    stand_in.stdin.flush()
    assert stand_in.stdout.readline() == "ok\n"


@contextmanager
def host_mount(subject: Subject, _: object) -> Iterator[None]:
    target = subject.root / "mnt"
    target.mkdir()
    run("mount", "-t", "tmpfs", "leak", target)
    yield
    run("umount", target)
    target.rmdir()


@contextmanager
def mount_elsewhere(subject: Subject, _: object) -> Iterator[None]:
    """What a container does that should be gone: our root mounted in a mount namespace of its own."""
    script = f"mount -t tmpfs leak {subject.root}/tmp && echo ready && exec sleep 60"
    command = ["unshare", "--mount", "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield
        process.kill()


@contextmanager
def net_namespace(subject: Subject, _: object) -> Iterator[None]:
    command = ["unshare", "--net", "sh", "-c", "echo ready; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield
        process.kill()


@contextmanager
def veth(subject: Subject, _: object) -> Iterator[None]:
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "link", "add", "pthouse1", "type", "veth", "peer", "name", "pthouse2")
    run("ip", "link", "set", "pthouse1", "master", BRIDGE)
    yield
    run("ip", "link", "delete", "pthouse1")
    run("ip", "link", "delete", BRIDGE)


@contextmanager
def nft_rule(subject: Subject, _: object) -> Iterator[None]:
    run("nft", "add", "table", "ip", BRIDGE)
    yield
    run("nft", "delete", "table", "ip", BRIDGE)


@contextmanager
def cgroup(subject: Subject, _: object) -> Iterator[None]:
    hierarchy = next(path for path in map(Path, ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup")) if path.exists())
    (hierarchy / "pthouse").mkdir()
    yield
    (hierarchy / "pthouse").rmdir()


@contextmanager
def child(subject: Subject, _: object) -> Iterator[None]:
    process = subprocess.Popen(["sleep", "60"])
    yield
    process.kill()
    process.wait()


@contextmanager
def orphan(subject: Subject, _: object) -> Iterator[None]:
    """A process nobody is the parent of any more, known by the directory on its command line."""
    script = "setsid sh -c 'echo $$; exec >&- 2>&-; while :; do sleep 1; done' \"$0\" &"
    done = subprocess.run(["sh", "-c", script, subject.run_dir], check=True, capture_output=True, text=True)
    yield
    os.kill(int(done.stdout), signal.SIGKILL)


@contextmanager
def zombie(subject: Subject, stand_in: subprocess.Popen[str]) -> Iterator[None]:
    tell(stand_in, "z")
    wait_until(lambda: "Z" in run("ps", "-o", "stat=", "--ppid", str(stand_in.pid)), what="the zombie")
    yield
    tell(stand_in, "Z")


@contextmanager
def descriptor(subject: Subject, stand_in: subprocess.Popen[str]) -> Iterator[None]:
    tell(stand_in, "f")
    yield
    tell(stand_in, "F")


@contextmanager
def threads(subject: Subject, stand_in: subprocess.Popen[str]) -> Iterator[None]:
    tell(stand_in, "t")
    yield
    tell(stand_in, "T")


@contextmanager
def unix_socket(subject: Subject, _: object) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0pyrt-leak")
        yield


@contextmanager
def temporary_file(subject: Subject, _: object) -> Iterator[None]:
    path = subject.root / "tmp" / "half-an-image"
    path.touch()
    yield
    path.unlink()


@contextmanager
def keyring(subject: Subject, _: object) -> Iterator[None]:
    libc = ctypes.CDLL(None, use_errno=True)
    parent = ctypes.c_long(-4)  # KEY_SPEC_USER_KEYRING
    key = libc.syscall(SYS_ADD_KEY, b"keyring", b"pyrt-leak", None, ctypes.c_size_t(0), parent)
    assert key > 0, os.strerror(ctypes.get_errno())
    yield
    assert libc.syscall(SYS_KEYCTL, ctypes.c_long(KEYCTL_UNLINK), ctypes.c_long(key), parent) == 0


@contextmanager
def shared_memory(subject: Subject, _: object) -> Iterator[None]:
    identifier = run("ipcmk", "-M", "4096").split()[-1]
    yield
    run("ipcrm", "-m", identifier)


Leak = Callable[[Subject, subprocess.Popen[str]], AbstractContextManager[None]]
LEAKS: dict[Leak, str] = {
    host_mount: "host mounts",
    mount_elsewhere: "mounts elsewhere",
    net_namespace: "namespaces",
    veth: "veths and bridges",
    nft_rule: "nft rules",
    cgroup: "cgroups",
    child: "processes",
    orphan: "processes",
    zombie: "processes",
    descriptor: "descriptors",
    threads: "threads",
    unix_socket: "unix sockets",
    temporary_file: "files",
    keyring: "keyrings",
    shared_memory: "System V shared memory",
}


@pytest.mark.parametrize(("leak", "kind"), LEAKS.items(), ids=lambda value: getattr(value, "__name__", None))
def test_every_kind_of_leak_is_seen_and_its_end_too(
    leak: Leak, kind: str, subject: tuple[Subject, subprocess.Popen[str]]
) -> None:
    what, stand_in = subject
    shared = kind != "System V shared memory"
    before = ledger.take(what, shared=shared)
    with leak(what, stand_in):
        lines = ledger.difference(before, ledger.take(what, shared=shared))
        assert any(line.startswith(f"  {kind}: ") for line in lines), lines
    wait_until(lambda: not ledger.difference(before, ledger.take(what, shared=shared)), what="the leak's end")


def test_a_watch_says_what_was_left(subject: tuple[Subject, subprocess.Popen[str]]) -> None:
    what, _ = subject
    with pytest.raises(ledger.LeakError, match=r"left behind.*\n.*files: 1 more: .*/tmp/forgotten"):
        with ledger.watch(lambda: what, seconds=0.2):
            (what.root / "tmp" / "forgotten").touch()


def test_a_watch_waits_for_teardown(subject: tuple[Subject, subprocess.Popen[str]]) -> None:
    what, _ = subject
    with ledger.watch(lambda: what):
        process = subprocess.Popen(["sleep", "0.3"])
        threading.Thread(target=process.wait).start()


def test_a_slot_replaced_by_another_is_no_leak(subject: tuple[Subject, subprocess.Popen[str]]) -> None:
    what, _ = subject
    first, second = what.root / "tmp" / ("a1" * 32), what.root / "tmp" / ("b2" * 32)
    first.touch()
    with ledger.watch(lambda: what, seconds=0.2):
        first.unlink()
        second.touch()


def test_the_rest_of_the_machine_must_stay_as_it_was(subject: tuple[Subject, subprocess.Popen[str]]) -> None:
    what, stand_in = subject
    with nft_rule(what, stand_in):
        before = ledger.take(what)
    assert any("nft rules: 1 missing" in line for line in ledger.difference(before, ledger.take(what)))


def test_what_is_somebody_elses_does_not_count(subject: tuple[Subject, subprocess.Popen[str]]) -> None:
    what, _ = subject
    name = "pyrtfade123"
    before = ledger.take(what, shared=False)

    def shown() -> str:
        return "\n".join(ledger.difference(before, ledger.take(what, shared=False)))

    run("ip", "link", "add", name, "type", "bridge")
    run("nft", "add", "table", "ip", f"pyrt-{name}")
    try:
        assert "fade123" not in shown()
        ledger.OUR_INSTANCES.add(name)
        assert "veths and bridges: 1 more: pyrtfade123" in shown()
        assert "nft rules: 1 more: table ip pyrt-pyrtfade123" in shown()
    finally:
        ledger.OUR_INSTANCES.discard(name)
        run("nft", "delete", "table", "ip", f"pyrt-{name}")
        run("ip", "link", "delete", name)


def test_a_shared_machine_is_only_asked_for_our_own(subject: tuple[Subject, subprocess.Popen[str]]) -> None:
    what, stand_in = subject
    foreign = replace(what, bridge="ptother0", cgroup="ptother", supervisor_pid=0)
    before = ledger.take(foreign, shared=True)
    with nft_rule(what, stand_in), cgroup(what, stand_in), veth(what, stand_in):
        assert ledger.difference(before, ledger.take(foreign, shared=True)) == []


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
