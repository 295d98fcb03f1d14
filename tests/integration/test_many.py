# SPDX-License-Identifier: Apache-2.0
"""Many containers side by side: each with its own of everything, none slower to get or to get rid of for the others.

With PYRT_TEST_MANY=1100 set there are so many of them, which takes a minute and more than one bridge.
"""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness import Pyrt, client_path
from tests.processes import wait_until

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

MANY = int(os.environ.get("PYRT_TEST_MANY", "120"))
AT_ONCE = 4
SECONDS = 300.0  # for what is done to all of them


def start(pyrt: Pyrt, count: int, *argv: str) -> list[str]:
    """Run so many containers, a few commands at a time; returns their ids."""
    with ThreadPoolExecutor(AT_ONCE) as commands:
        return list(commands.map(lambda _: pyrt.detached(*argv), range(count)))


def addresses(pyrt: Pyrt, ids: list[str]) -> list[str]:
    return pyrt.ok("inspect", "-f", "{{.NetworkSettings.IpAddress}}", *ids, timeout=SECONDS).lines


def bridges(pyrt: Pyrt) -> list[str]:
    return sorted(path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith(pyrt.bridge))


@pytest.fixture
def crowd(pyrt: Pyrt) -> Iterator[list[str]]:
    """MANY containers; the first of them serve a word to whoever connects."""
    ids = start(pyrt, MANY, "bb", "nc", "-ll", "-p", "80", "-e", "echo", "here")
    try:
        yield ids
    finally:
        pyrt.remove_containers()
        for name in bridges(pyrt):
            if name != pyrt.bridge:
                subprocess.run(["ip", "link", "delete", name], check=True)
        if len(ids) > 1000:  # the instance goes on with one bridge
            pyrt.kill_daemon()


def test_a_crowd(pyrt: Pyrt, crowd: list[str]) -> None:
    """From its making to its removal, with another daemon in between."""
    assert set(pyrt.ok("ps", "-q", "--no-trunc").lines) == set(crowd)
    found = addresses(pyrt, crowd)
    assert len(set(found)) == MANY and all(found)
    if MANY > 1000:
        assert len(bridges(pyrt)) > 1, "more than one Linux bridge can carry"
    for address in (found[0], found[MANY // 2], found[-1]):
        assert pyrt.run("bb", "nc", "-w", "5", address, "80").text == "here"

    pyrt.kill_daemon()
    assert set(pyrt.ok("ps", "-q", "--no-trunc", timeout=SECONDS).lines) == set(crowd)
    assert addresses(pyrt, crowd) == found
    assert pyrt.run("bb", "ip", "-o", "addr", "show", "eth0").text.split()[3].partition("/")[0] not in found

    half = crowd[: MANY // 2]
    pyrt.ok("stop", *half, timeout=SECONDS)
    assert set(pyrt.ok("ps", "-q", "--no-trunc").lines) == set(crowd) - set(half)
    pyrt.ok("rm", "-f", *crowd, timeout=SECONDS)
    assert pyrt.ok("ps", "-a", "-q").lines == []


def test_stopped_together_they_share_one_grace(pyrt: Pyrt) -> None:
    ids = start(pyrt, 12, "bb", "sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done")
    for identifier in ids:
        wait_until(lambda identifier=identifier: pyrt.ok("logs", identifier).text == "deaf")  # type: ignore[misc]
    before = time.monotonic()
    assert sorted(pyrt.ok("stop", "-t", "2", *ids).lines) == sorted(ids)
    assert time.monotonic() - before < 12, "one after the other would take 24 s"
    assert {pyrt.ok("wait", identifier).text for identifier in ids} == {"137"}
    pyrt.ok("rm", *ids)


def test_removed_together_each_is_told_of(pyrt: Pyrt) -> None:
    """What goes wrong with one of many is no affair of the others'."""
    running = pyrt.detached("--name", "running", "bb", "sleep", "60")
    ended = [pyrt.detached("bb", "true") for _ in range(5)]
    for identifier in ended:
        pyrt.ok("wait", identifier)
    result = pyrt("rm", *ended[:3], "running", "nosuch", *ended[3:], ended[0])
    assert result.status == 125
    errors = result.err.decode().splitlines()
    assert "Error: container running is running: stop it first, or use rm -f" in errors
    assert "Error: No such container: nosuch" in errors
    assert pyrt.ok("ps", "-a", "-q", "--no-trunc").lines == [running]
    pyrt.ok("rm", "-f", "running", "running")


# --- the bounds ---


@contextmanager
def instance(bb_tar: bytes, prefix: tuple[str, ...] = (), *, bridge_address: str = "") -> Iterator[Pyrt]:
    """An instance of its own, whose first client is started through `prefix`."""
    client = client_path()
    assert client is not None
    made = Pyrt(client)
    try:
        if bridge_address:
            subprocess.run(["ip", "link", "add", made.bridge, "type", "bridge"], check=True)
            subprocess.run(["ip", "addr", "add", bridge_address, "dev", made.bridge], check=True)
        subprocess.run([*prefix, client, "ps"], env=made.environment, check=True, capture_output=True, timeout=30)
        made.ok("import", "-", "bb", input=bb_tar)
        yield made
    finally:
        made.close()


def test_addresses_are_bounded(bb_tar: bytes) -> None:
    """A bridge that has an address keeps it: here five are left for containers."""
    with instance(bb_tar, bridge_address="172.31.255.249/29") as small:
        ids = [small.detached("bb", "sleep", "60") for _ in range(5)]
        assert sorted(addresses(small, ids)) == [f"172.31.255.{number}" for number in range(250, 255)]
        for command in (["run", "--rm"], ["run", "-d"]):
            refused = small(*command, "bb", "true")
            assert refused.status == 125
            assert refused.error == "no free address in 172.31.255.248/29: stop a container"
        assert len(small.ok("ps", "-a", "-q").lines) == 5, "nothing is left of those that were refused"
        assert small.run("--network", "none", "bb", "echo", "without").text == "without"
        assert small.ok("exec", ids[0], "echo", "inside").text == "inside"
        small.ok("rm", "-f", ids[2])
        assert small.run("bb", "hostname", "-i").text == "172.31.255.252"


@contextmanager
def descriptors(pid: int, count: int) -> Iterator[None]:
    """Let a process have only so many more than it has."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) + count, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def test_descriptors_are_bounded(pyrt: Pyrt) -> None:
    """When the supervisor runs short of them, starts are refused, and all else goes on."""
    with descriptors(pyrt.supervisor_pid, 100):
        ids: list[str] = []
        while (started := pyrt("run", "-d", "bb", "sh", "-c", "echo here; sleep 60")).status == 0:
            ids.append(started.text)
            assert len(ids) < 40, "there is no bound"
        assert len(ids) >= 4
        for command in ((), ("-d",), ("--rm",), ("--rm", "-p", "127.0.0.1::80")):
            refused = pyrt("run", *command, "bb", "true")
            assert refused.status == 125
            assert refused.error.startswith("no room for one container more: the supervisor may have ")
        assert set(pyrt.ok("ps", "-a", "-q", "--no-trunc").lines) == set(ids)
        for identifier in ids:
            assert pyrt.ok("exec", identifier, "echo", "inside").text == "inside"
            assert pyrt.ok("logs", identifier).text == "here"
        pyrt.kill_daemon()
        assert set(pyrt.ok("ps", "-q", "--no-trunc").lines) == set(ids)
        pyrt.ok("rm", "-f", *ids[:3])
        assert pyrt.run("bb", "echo", "again").text == "again"
        pyrt.ok("rm", "-f", *ids[3:])


def test_more_clients_than_descriptors(pyrt: Pyrt) -> None:
    """Clients are refused in their turn; the container and the rest of the commands do not notice."""
    identifier = pyrt.detached("bb", "sh", "-c", "while :; do sleep 1; done")
    with descriptors(pyrt.supervisor_pid, 40):
        clients = [pyrt.start("logs", "-f", identifier) for _ in range(40)]
        wait_until(lambda: any(client.poll() is not None for client in clients), what="a client that is refused")
        refused = pyrt("attach", "--no-stdin", identifier)
        assert refused.status == 125 and refused.error.startswith("the supervisor has no descriptor left: ")
        pyrt.ok("ps")
        pyrt.kill_daemon()
        assert pyrt.ok("ps", "-q", "--no-trunc").lines == [identifier]
    pyrt.ok("rm", "-f", identifier)
    for client in clients:
        _, err = client.communicate(timeout=20)
        assert err == b"" or err.startswith(b"Error: the supervisor has no descriptor left")


def test_pyrt_takes_what_descriptors_it_may_and_containers_what_they_had(bb_tar: bytes) -> None:
    """Started with the usual soft limit of 1,024, which a thousand containers' supervisor is not content with."""
    with instance(bb_tar, ("prlimit", "--nofile=1000:4000")) as pyrt:
        for pid in (pyrt.daemon_pid, pyrt.supervisor_pid):
            assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (4000, 4000)
        ask = ("sh", "-c", "ulimit -Sn; ulimit -Hn")
        identifier = pyrt.detached("bb", "sleep", "60")
        for result in (pyrt.run("bb", *ask), pyrt.run("bb", *ask), pyrt("exec", identifier, *ask)):
            assert result.lines == ["1000", "4000"]
        assert pyrt.run("--engine", "lxc", "bb", *ask).lines == ["1000", "4000"]
