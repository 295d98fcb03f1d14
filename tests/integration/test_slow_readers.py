# SPDX-License-Identifier: Apache-2.0
"""Readers that are stopped, slow, or many: nobody else notices. A foreground run alone is waited for."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

from pyrt.core import frames
from tests.harness import Pyrt
from tests.integration.test_attach import connected, finish, reader_of, say
from tests.integration.test_memory import status_kib
from tests.processes import wait_until

pytestmark = [pytest.mark.root, pytest.mark.both_engines]

MEGABYTE = 1 << 20
SIZE = 24 * MEGABYTE  # which a log keeps whole
CROWD = 500


def digest(probe: Path, size: int, seed: int) -> str:
    emitted = subprocess.run([probe, "emit", "1", str(size), str(seed)], check=True, capture_output=True).stdout
    return hashlib.sha256(emitted).hexdigest()


def written_bytes(pyrt: Pyrt, name: str) -> int:
    """How much a container's first process has written, ever."""
    pid = pyrt.ok("inspect", "-f", "{{.State.Pid}}", name).text
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))


class Trickle(threading.Thread):
    """Reads 10 kB every 5 ms until told to hurry; then all there is."""

    def __init__(self, client: subprocess.Popen[bytes]) -> None:
        super().__init__()
        assert client.stdout
        self.stream = client.stdout
        self.hurry = threading.Event()
        self.digest = hashlib.sha256()

    def run(self) -> None:
        while data := self.stream.read(10_000):
            self.digest.update(data)
            self.hurry.wait(0.005)


def test_one_that_is_stopped_and_one_that_trickles(pyrt: Pyrt, probe: Path) -> None:
    pyrt.detached("-i", "--name", "flood", "bb", "sh", "-c", f"read go; probe emit 1 {SIZE} 3; exit 7")
    stopped, slow, good = (reader_of(pyrt, "flood", "-o") for _ in range(3))
    for client in (stopped, slow, good):
        connected(client)
    stopped.send_signal(signal.SIGSTOP)
    trickle = Trickle(slow)
    trickle.start()
    memory = status_kib(pyrt.supervisor_pid, "VmRSS")
    feeder = pyrt.start("attach", "-i", "flood", stdin=subprocess.PIPE)
    say(feeder, b"go\n")
    status, out, _ = finish(good)
    expected = digest(probe, SIZE, 3)
    assert status == 7 and hashlib.sha256(out).hexdigest() == expected
    assert pyrt.ok("wait", "flood").text == "7" and trickle.is_alive(), "the others are far behind"
    assert status_kib(pyrt.supervisor_pid, "VmRSS") < memory + 8 * 1024
    assert pyrt.run("bb", "echo", "fine").out == b"fine\n"
    stopped.send_signal(signal.SIGCONT)
    trickle.hurry.set()
    trickle.join()
    assert trickle.digest.hexdigest() == expected and slow.wait(timeout=20) == 7
    status, out, err = finish(stopped)
    assert (status, err) == (7, b"") and hashlib.sha256(out).hexdigest() == expected
    pyrt.ok("rm", "flood")


def test_a_foreground_run_is_waited_for_and_nothing_else_is(pyrt: Pyrt, probe: Path) -> None:
    """Its log keeps 128 KiB; what is more waits in the container for the one that wants every byte."""
    small = ("--log-opt", "max-size=64k", "--log-opt", "max-file=2")
    run = pyrt.start("run", "--name", "held", *small, "bb", "probe", "emit", "1", str(SIZE), "5")
    pyrt.wait_status("held", "Up")
    seen = [-1]

    def stands() -> bool:
        seen.append(written_bytes(pyrt, "held"))
        return seen[-1] == seen[-2] > 0

    wait_until(stands, seconds=20, what="the container held up")
    assert seen[-1] < SIZE // 2
    guest = pyrt.start("attach", "-o", "held")  # reads nothing either, and is no reason to wait
    connected(guest)
    assert pyrt.run("bb", "echo", "fine").out == b"fine\n"
    assert run.stdout
    made = hashlib.sha256()
    while data := run.stdout.read(1 << 18):
        made.update(data)
    assert run.wait(timeout=20) == 0 and made.hexdigest() == digest(probe, SIZE, 5)
    status, out, err = finish(guest)
    lines = err.splitlines()
    assert status == 0 and lines and all(b"were missed here" in line for line in lines)
    assert sum(int(line.split()[1]) for line in lines) <= SIZE - len(out) < SIZE
    pyrt.ok("rm", "held")


@pytest.mark.parametrize("verb", ["kill", "stop"])
def test_who_is_held_up_can_be_ended(pyrt: Pyrt, verb: str) -> None:
    small = ("--log-opt", "max-size=64k", "--log-opt", "max-file=2")
    run = pyrt.start("run", "--name", "held", *small, "bb", "sh", "-c", "while echo y; do :; done")
    connected(run)
    run.send_signal(signal.SIGSTOP)
    seen = [-1]

    def stands() -> bool:
        seen.append(written_bytes(pyrt, "held"))
        return seen[-1] == seen[-2] > 0

    wait_until(stands, seconds=20, what="the container held up")
    started = time.monotonic()
    pyrt.ok(verb, "held")
    pyrt.wait_status("held", "Exit 137")
    assert time.monotonic() - started < 8, "not by the grace of ten seconds"
    run.send_signal(signal.SIGCONT)
    assert finish(run)[0] == 137
    pyrt.ok("rm", "held")


class RawReader:
    """An attached client that costs no process."""

    def __init__(self, pyrt: Pyrt, name: str) -> None:
        call = {"version": 2, "argv": ["attach", "-o", name], "cwd": "/", "tty": [False] * 3, "size": [0, 0]}
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(pyrt.run_dir / "pyrt.sock"))
        self.socket.sendall(frames.encode(frames.CALL, json.dumps(call).encode()))
        assert self.socket.recv(frames.HEADER_BYTES + 1) == frames.encode(frames.START, bytes([frames.START_SIGNALS]))

    def rest(self) -> tuple[bytes, int]:
        """What is written to stdout, and the exit status."""
        reader, out = frames.FrameReader(), bytearray()
        with self.socket:
            while data := self.socket.recv(1 << 20):
                reader.feed(data)
                for kind, payload in reader:
                    assert kind in (frames.STDOUT, frames.EXIT), (kind, payload)
                    if kind == frames.EXIT:
                        return bytes(out), struct.unpack(">I", payload)[0]
                    out += payload
        raise AssertionError("the connection ended before the container did")


def test_five_hundred_readers(pyrt: Pyrt, probe: Path) -> None:
    size = 2 * MEGABYTE  # many times what their sockets hold
    pyrt.detached("-i", "--name", "crowd", "bb", "sh", "-c", f"read go; probe emit 1 {size} 9; exit 5")
    RawReader(pyrt, "crowd").socket.close()
    memory = status_kib(pyrt.supervisor_pid, "VmRSS")
    crowd = [RawReader(pyrt, "crowd") for _ in range(CROWD)]
    feeder = pyrt.start("attach", "-i", "crowd", stdin=subprocess.PIPE)
    say(feeder, b"go\n")
    assert pyrt.ok("wait", "crowd").text == "5", "nobody of them has read anything"
    assert status_kib(pyrt.supervisor_pid, "VmRSS") < memory + 16 * 1024
    assert pyrt.run("bb", "echo", "fine").out == b"fine\n"
    expected = digest(probe, size, 9)
    for reader in crowd:
        out, status = reader.rest()
        assert status == 5 and hashlib.sha256(out).hexdigest() == expected
    assert feeder.wait(timeout=20) == 5
    pyrt.ok("rm", "crowd")
