# SPDX-License-Identifier: Apache-2.0
"""Bytes in, bytes out: complete, in order, on the right stream, whatever they are."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.harness import Pyrt
from tests.integration.test_memory import status_kib
from tests.processes import wait_until

pytestmark = [pytest.mark.root, pytest.mark.both_engines]

MEGABYTE = 1 << 20


def expected(probe: Path, count: int, seed: int) -> bytes:
    return subprocess.run([probe, "emit", "1", str(count), str(seed)], check=True, capture_output=True).stdout


def test_output_is_exactly_what_was_written(pyrt: Pyrt) -> None:
    result = pyrt.run("bb", "echo", "-n", "foobar")
    assert (result.out, result.err) == (b"foobar", b"")


def test_standard_error_stays_apart(pyrt: Pyrt) -> None:
    result = pyrt.run("bb", "sh", "-c", "echo out; echo err >&2")
    assert (result.out, result.err) == (b"out\n", b"err\n")


@pytest.mark.parametrize("size", [1, 65535, 65536, 65537, MEGABYTE, 24 * MEGABYTE])
def test_binary_output_of_any_size(pyrt: Pyrt, probe: Path, size: int) -> None:
    result = pyrt.run("bb", "probe", "emit", "1", str(size), "7", timeout=60)
    assert result.status == 0 and len(result.out) == size
    assert hashlib.sha256(result.out).digest() == hashlib.sha256(expected(probe, size, 7)).digest()


def test_the_beginning_is_there_however_little_the_log_keeps(pyrt: Pyrt, probe: Path) -> None:
    tiny = ("--log-opt", "max-size=4k", "--log-opt", "max-file=1")
    data = expected(probe, 200_000, 19)
    pyrt.detached("--name", "c", "bb", "sleep", "60")
    for _ in range(8):
        assert pyrt.run(*tiny, "bb", "probe", "emit", "1", "200000", "19").out == data
        assert pyrt.ok("exec", "c", "probe", "emit", "1", "200000", "19").out == data
    pyrt.ok("rm", "-f", "c")


def test_both_streams_busy(pyrt: Pyrt, probe: Path) -> None:
    script = f"probe emit 1 {8 * MEGABYTE} 3 & probe emit 2 {8 * MEGABYTE} 5; wait"
    result = pyrt.run("bb", "sh", "-c", script, timeout=60)
    assert result.status == 0
    assert result.out == expected(probe, 8 * MEGABYTE, 3)
    assert result.err == expected(probe, 8 * MEGABYTE, 5)


def test_the_last_bytes_before_the_end_are_there(pyrt: Pyrt) -> None:
    for _ in range(20):
        assert pyrt.run("bb", "sh", "-c", "echo first; echo -n last").out == b"first\nlast"


def test_stdin(pyrt: Pyrt) -> None:
    assert pyrt.run("-i", "bb", "cat", input=b"hello world").out == b"hello world"
    assert pyrt.run("-i", "bb", "cat", input=b"").out == b""


def test_binary_stdin(pyrt: Pyrt, probe: Path) -> None:
    data = expected(probe, 8 * MEGABYTE, 11)
    result = pyrt.run("-i", "bb", "sha256sum", input=data, timeout=60)
    assert result.text.split()[0] == hashlib.sha256(data).hexdigest()


def test_stdin_and_back(pyrt: Pyrt, probe: Path) -> None:
    data = expected(probe, 4 * MEGABYTE, 13)
    assert pyrt.run("-i", "bb", "cat", input=data, timeout=60).out == data


def test_without_i_stdin_is_empty_and_not_read(pyrt: Pyrt) -> None:
    assert pyrt.run("bb", "cat", input=b"not for you").out == b""


def test_a_container_that_does_not_read_its_stdin_ends_anyway(pyrt: Pyrt) -> None:
    assert pyrt.run("-i", "bb", "true", input=b"x" * (4 * MEGABYTE)).status == 0


def test_a_container_that_ends_while_stdin_stays_open(pyrt: Pyrt) -> None:
    command = pyrt.start("run", "--rm", "-i", "bb", "true", stdin=subprocess.PIPE)
    assert command.wait(timeout=20) == 0


def test_a_reader_that_goes_away_ends_the_run(pyrt: Pyrt) -> None:
    """`pyrt run ... | head -1`: the client ends, and nothing of the container is left (the ledger looks)."""
    command = pyrt.start("run", "--rm", "--name", "endless", "bb", "sh", "-c", "while echo y; do :; done")
    assert command.stdout
    assert command.stdout.read(2) == b"y\n"
    command.stdout.close()
    assert command.wait(timeout=20) == -signal.SIGPIPE
    wait_until(lambda: not pyrt.status_of("endless"), what="the container ended by SIGPIPE")


def test_a_client_that_is_killed_ends_the_stdin(pyrt: Pyrt) -> None:
    command = pyrt.start("run", "-i", "--name", "reader", "bb", "cat", stdin=subprocess.PIPE)
    pyrt.wait_status("reader", "Up")
    command.kill()
    pyrt.wait_status("reader", "Exit 0")
    pyrt.ok("rm", "reader")


def test_a_closed_stdout_is_no_crash(pyrt: Pyrt) -> None:
    command = f"exec {pyrt.client} run --rm bb echo x >&-"
    done = subprocess.run(["sh", "-c", command], env=pyrt.environment, capture_output=True, timeout=20)
    assert done.stderr == b"Error: cannot write to stdout: Bad file descriptor\n"
    assert done.returncode == 125


def test_a_closed_stdin_is_an_empty_one(pyrt: Pyrt) -> None:
    command = f"exec {pyrt.client} run --rm -i bb wc -c <&-"
    done = subprocess.run(["sh", "-c", command], env=pyrt.environment, capture_output=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"0\n", b"")


def test_output_of_a_grandchild_that_outlives_its_parent(pyrt: Pyrt) -> None:
    """The namespace ends with pid 1, and everything written until then is delivered."""
    result = pyrt.run("bb", "sh", "-c", "(while echo x; do sleep 0.01; done) & sleep 0.2; echo end")
    assert result.status == 0 and b"end\n" in result.out


def test_a_slow_reader_gets_every_byte(pyrt: Pyrt, probe: Path) -> None:
    command = pyrt.start("run", "--rm", "bb", "probe", "emit", "1", str(4 * MEGABYTE), "17")
    assert command.stdout
    digest = hashlib.sha256()
    while data := command.stdout.read(32768):
        digest.update(data)
    assert command.wait(timeout=20) == 0
    assert digest.digest() == hashlib.sha256(expected(probe, 4 * MEGABYTE, 17)).digest()


def test_a_signal_behind_stdin_that_the_container_has_closed(pyrt: Pyrt) -> None:
    """More input than anybody buffers, for a container that wants none: what nobody reads holds up no signal."""
    script = "exec <&-; trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    with open("/dev/zero", "rb") as zero:
        command = pyrt.start("run", "--rm", "-i", "bb", "sh", "-c", script, stdin=zero.fileno())
    assert command.stdout and command.stdout.readline() == b"ready\n"
    command.terminate()
    assert command.wait(timeout=20) == 9


@pytest.mark.parametrize("way", ["run", "exec", "attach"])
def test_a_signal_passes_stdin_that_the_container_does_not_read(pyrt: Pyrt, way: str) -> None:
    """The first one, however much lies before it."""
    script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    with open("/dev/zero", "rb") as zero:
        if way == "run":
            command = pyrt.start("run", "--name", "deaf", "-i", "bb", "sh", "-c", script, stdin=zero.fileno())
        else:
            program = ("sh", "-c", script) if way == "attach" else ("sleep", "60")
            pyrt.detached("--name", "deaf", "-i", "bb", *program)
            words = ("attach", "deaf") if way == "attach" else ("exec", "-i", "deaf", "sh", "-c", script)
            command = pyrt.start(*words, stdin=zero.fileno())
    if way == "attach":
        wait_until(lambda: pyrt.ok("logs", "deaf").out == b"ready\n", what="the container being ready")
        wait_until(lambda: rests(command.pid), what="all its credit being spent")
    else:
        assert command.stdout and command.stdout.readline() == b"ready\n"
    command.terminate()
    assert command.wait(timeout=20) == 9
    pyrt.ok("rm", "-f", "deaf")


def rests(pid: int) -> bool:
    """Whether the client has taken stdin and takes no more."""

    def taken() -> int:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("rchar:"))

    before = taken()
    time.sleep(0.05)
    return taken() == before > 100_000


def test_what_the_container_does_not_read_takes_no_memory(pyrt: Pyrt) -> None:
    memory = status_kib(pyrt.supervisor_pid, "VmRSS")
    with open("/dev/zero", "rb") as zero:
        commands = [
            pyrt.start("run", "--rm", "--name", f"deaf{i}", "-i", "bb", "sleep", "60", stdin=zero.fileno())
            for i in range(2)
        ]
    wait_until(lambda: all(rests(command.pid) for command in commands), what="each client's credit being spent")
    assert status_kib(pyrt.supervisor_pid, "VmRSS") < memory + 6 * 1024
    for command in commands:
        command.terminate()
        assert command.wait(timeout=20) == 137
