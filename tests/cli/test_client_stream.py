# SPDX-License-Identifier: Apache-2.0
"""What the client does with frames: every byte, in both directions, whatever the other side does."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from tests.cli.conftest import Client
from tests.cli.fake_server import (
    CREDIT,
    ERROR,
    NOTICE,
    SIGNAL,
    START,
    STDERR,
    STDIN,
    STDOUT,
    WITH_CREDIT,
    WITH_SIGNALS,
    WITH_STDIN,
    Peer,
)
from tests.processes import wait_until

MEGABYTES = 100


def started(flags: int, then: object = None):  # type: ignore[no-untyped-def]
    def script(peer: Peer) -> object:
        peer.call()
        peer.send(START, bytes([flags]))
        return then(peer) if then else None  # type: ignore[operator]

    return script


def test_streams_and_status(client: Client) -> None:
    def script(peer: Peer) -> None:
        peer.call()
        peer.send(STDOUT, b"out\0\xff\r\n")
        peer.send(STDERR, b"err")
        peer.send(STDOUT)
        peer.send(STDOUT, b"more")
        peer.exit(7)

    result = client.run(script)
    assert (result.stdout, result.stderr, result.returncode) == (b"out\0\xff\r\nmore", b"err", 7)


@pytest.mark.parametrize(("sent", "seen"), [(0, 0), (1, 1), (125, 125), (255, 255), (256, 255), (0xFFFFFFFF, 255)])
def test_a_status_never_becomes_success_by_being_large(client: Client, sent: int, seen: int) -> None:
    assert client.run(lambda peer: (peer.call(), peer.exit(sent))).returncode == seen


def test_errors_and_notices_go_to_stderr_without_control_characters(client: Client) -> None:
    def script(peer: Peer) -> None:
        peer.call()
        peer.send(NOTICE, "näher".encode())
        peer.send(ERROR, b"no \x1b[31msuch\x07 thing\n")
        peer.exit(125)

    result = client.run(script)
    assert result.stderr == "näher\nError: no ?[31msuch? thing\n".encode()
    assert result.returncode == 125


@pytest.mark.parametrize(
    "data",
    [
        b"",
        struct.pack(">B3xI", STDOUT, 10) + b"half",
        b"\x01\0\0",
        struct.pack(">B3xI", ERROR, 100) + b"cut",
    ],
)
def test_a_lost_connection_is_said_and_is_125(client: Client, data: bytes) -> None:
    result = client.run(lambda peer: (peer.call(), peer.raw(data)))
    assert result.returncode == 125
    assert result.stderr == b"Error: lost the connection to the pyrt daemon\n"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x01\x01\0\0\0\0\0\0",
        struct.pack(">B3xI", STDOUT, (1 << 20) + 1),
        struct.pack(">B3xI", 99, 0),
        struct.pack(">B3xI", START, 2) + b"\0\0",
        struct.pack(">B3xI", 17, 3) + b"\0\0\0",
        struct.pack(">B3xI", 24, 0),
        struct.pack(">B3xI", 23, 3) + b"ABC",
        struct.pack(">B3xI", START, 1) + b"\0" + struct.pack(">B3xI", START, 1) + b"\0",
    ],
)
def test_garbage_ends_the_client_with_one_line(client: Client, data: bytes) -> None:
    result = client.run(lambda peer: (peer.call(), peer.raw(data)))
    assert result.returncode == 125
    assert result.stderr.startswith(b"Error: ") and result.stderr.count(b"\n") == 1


def test_frames_cut_anywhere_arrive_whole(client: Client) -> None:
    def script(peer: Peer) -> None:
        peer.call()
        data = b"".join(struct.pack(">B3xI", 1 + i % 2, 5) + b"%05d" % i for i in range(60))
        data += struct.pack(">B3xII", 17, 4, 3)
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        for i in range(0, len(data), 3):
            peer.socket.sendall(data[i : i + 3])

    result = client.run(script)
    assert result.stdout == b"".join(b"%05d" % i for i in range(0, 60, 2))
    assert result.stderr == b"".join(b"%05d" % i for i in range(1, 60, 2))
    assert result.returncode == 3


def test_100_megabytes_both_ways_at_once(client: Client) -> None:
    block = os.urandom(1 << 20)
    expected = hashlib.sha256(block * MEGABYTES).hexdigest()

    def talk(peer: Peer) -> str:
        def send() -> None:
            for _ in range(MEGABYTES):
                peer.send(STDOUT, block)

        sender = threading.Thread(target=send)
        sender.start()
        digest = hashlib.sha256()
        while piece := peer.expect(STDIN):
            digest.update(piece)
        sender.join()
        peer.exit()
        return digest.hexdigest()

    process, server = client.start(started(WITH_STDIN, talk), "x")
    assert process.stdin and process.stdout and process.stderr

    def feed() -> None:
        assert process.stdin
        for _ in range(MEGABYTES):
            process.stdin.write(block)
        process.stdin.close()

    feeder = threading.Thread(target=feed)
    feeder.start()
    digest = hashlib.sha256()
    while piece := process.stdout.read(1 << 18):
        digest.update(piece)
    feeder.join()
    assert process.wait(20) == 0
    assert server.result() == expected
    assert digest.hexdigest() == expected
    process.stdout.close()
    process.stderr.close()


def test_stdin_goes_on_while_nobody_reads_the_output(client: Client) -> None:
    """The container's output is stuck in a full pipe; what is typed must still arrive."""
    arrived = threading.Event()

    def flood(peer: Peer) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer.send(STDOUT, b"x" * (1 << 20))

    def talk(peer: Peer) -> None:
        threading.Thread(target=flood, args=[peer], daemon=True).start()
        assert len(peer.stdin()) == 3 << 20
        arrived.set()

    process, server = client.start(started(WITH_STDIN, talk), "x")
    assert process.stdin
    process.stdin.write(b"y" * (3 << 20))
    process.stdin.close()
    process.stdin = None
    assert arrived.wait(20)
    process.kill()
    process.communicate()


def test_output_goes_on_while_nobody_reads_stdin(client: Client) -> None:
    done = threading.Event()

    def talk(peer: Peer) -> None:
        for _ in range(8):
            peer.send(STDOUT, b"x" * (1 << 20))
        peer.exit(4)
        done.wait(20)

    with open("/dev/zero", "rb") as zero:
        process, server = client.start(started(WITH_STDIN, talk), "x", stdin=zero)
        out, err = process.communicate(timeout=20)
    done.set()
    assert len(out) == 8 << 20
    assert (process.returncode, err) == (4, b"")


def test_stdin_at_its_end_at_once(client: Client) -> None:
    def talk(peer: Peer) -> None:
        assert peer.stdin() == b""
        peer.send(STDOUT, b"late")
        peer.exit(0)

    with open("/dev/null", "rb") as null:
        process, server = client.start(started(WITH_STDIN, talk), "x", stdin=null)
        assert process.communicate(timeout=20)[0] == b"late"
    server.result()


def test_stdin_is_not_touched_unless_asked_for(client: Client) -> None:
    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"mine")
    process, server = client.start(started(0, lambda peer: peer.exit()), "x", stdin=read_fd)
    process.communicate(timeout=20)
    server.result()
    assert os.read(read_fd, 10) == b"mine"
    os.close(read_fd)
    os.close(write_fd)


@pytest.mark.parametrize("flags", [0, WITH_STDIN, WITH_SIGNALS])
def test_a_closed_reader_ends_the_client_as_it_ends_cat(client: Client, flags: int) -> None:
    def talk(peer: Peer) -> None:
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while True:
                peer.send(STDOUT, b"x" * 65536)

    read_fd, write_fd = os.pipe()
    process, server = client.start(started(flags, talk), "x", stdout=write_fd)
    os.close(write_fd)
    os.read(read_fd, 10)
    os.close(read_fd)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGPIPE
    server.result()


def test_a_full_disk_is_said(client: Client) -> None:
    with open("/dev/full", "wb") as full:
        process, server = client.start(lambda peer: (peer.call(), peer.send(STDOUT, b"x")), "x", stdout=full)
        assert process.communicate(timeout=20)[1] == b"Error: cannot write to stdout: No space left on device\n"
    assert process.returncode == 125


def test_closed_standard_descriptors_are_not_taken_for_the_connection(client: Client, program: str) -> None:
    def talk(peer: Peer) -> None:
        peer.send(STDOUT, b"into the void")
        with pytest.raises(EOFError):
            peer.receive()

    server = client.serve(started(0, talk))
    result = subprocess.run(["sh", "-c", f"{program} -H {server.address} x <&- >&-"], capture_output=True, timeout=20)
    assert result.returncode == 125
    assert b"cannot write to stdout: Bad file descriptor" in result.stderr
    server.result()


def test_shared_descriptors_stay_blocking(client: Client) -> None:
    """O_NONBLOCK on what we were given would break the shell's other programs."""
    read_fd, write_fd = os.pipe()
    process, server = client.start(
        started(WITH_STDIN | WITH_SIGNALS, lambda peer: (peer.stdin(), peer.exit())), "x", stdout=write_fd
    )
    process.communicate(b"", timeout=20)
    assert os.get_blocking(write_fd)
    server.result()
    os.close(read_fd)
    os.close(write_fd)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_signals_are_sent_on(client: Client, number: signal.Signals) -> None:

    def talk(peer: Peer) -> bytes:
        peer.send(STDOUT, b"go")
        payload = peer.expect(SIGNAL)
        peer.exit(128 + number)
        return payload

    process, server = client.start(started(WITH_SIGNALS, talk), "x")
    assert process.stdout and process.stdout.read(2) == b"go"
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert server.result() == struct.pack(">I", number)


def test_an_ignored_signal_stays_ignored(client: Client, program: str) -> None:
    """As under nohup(1)."""

    def talk(peer: Peer) -> tuple[int, bytes]:
        peer.send(STDOUT, b"go")
        found = peer.receive()
        peer.exit()
        return found

    server = client.serve(started(WITH_SIGNALS, talk))
    process = subprocess.Popen(
        ["sh", "-c", f"trap '' HUP; exec {program} -H {server.address} x"], stdout=subprocess.PIPE
    )
    assert process.stdout and process.stdout.read(2) == b"go"
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGUSR2)
    process.communicate(timeout=20)
    assert server.result() == (SIGNAL, struct.pack(">I", signal.SIGUSR2))


def test_signals_stuck_behind_unread_stdin_end_the_client_at_the_third(client: Client) -> None:
    done = threading.Event()

    def talk(peer: Peer) -> None:
        peer.socket.recv(1, socket.MSG_PEEK)
        peer.send(STDOUT, b"go")
        done.wait(20)

    with open("/dev/zero", "rb") as zero:
        process, server = client.start(started(WITH_STDIN | WITH_SIGNALS, talk), "x", stdin=zero)
        assert process.stdout and process.stdout.read(2) == b"go"
        wait_until(lambda: state(process.pid) == "S", what="all being full, for there is always more to read")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            while pending(process.pid):  # one at a time: equal signals coalesce, and others are taken by number
                pass
            process.send_signal(number)
        process.communicate(timeout=20)
    done.set()
    assert process.returncode == -signal.SIGINT


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def pending(pid: int) -> bool:
    """Whether a signal waits to be taken."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("ShdPnd:", "SigPnd:"))]
    return any(masks)


def test_without_signals_flag_the_client_dies_of_them(client: Client) -> None:
    def talk(peer: Peer) -> None:
        peer.send(STDOUT, b"go")
        with pytest.raises(EOFError):
            peer.receive()

    process, server = client.start(started(WITH_STDIN, talk), "x")
    assert process.stdout and process.stdout.read(2) == b"go"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM
    server.result()


def test_of_stdin_no_more_than_there_is_credit_for_and_signals_pass_it(client: Client) -> None:
    go = threading.Event()

    def talk(peer: Peer) -> list[int]:
        peer.send(STDOUT, b"go")
        assert peer.expect(SIGNAL) == struct.pack(">I", signal.SIGUSR1)  # before there is any credit
        peer.send(CREDIT, struct.pack(">Q", 100_000))
        sizes = [len(peer.expect(STDIN))]
        while sum(sizes) < 100_000:
            sizes.append(len(peer.expect(STDIN)))
        go.set()
        assert peer.expect(SIGNAL) == struct.pack(">I", signal.SIGUSR2)
        peer.send(CREDIT, struct.pack(">Q", 100_001))
        sizes.append(len(peer.expect(STDIN)))
        peer.exit()
        return sizes

    with open("/dev/zero", "rb") as zero:
        process, server = client.start(started(WITH_STDIN | WITH_SIGNALS | WITH_CREDIT, talk), "x", stdin=zero)
        assert process.stdout and process.stdout.read(2) == b"go"
        process.send_signal(signal.SIGUSR1)
        assert go.wait(20)
        process.send_signal(signal.SIGUSR2)
        process.communicate(timeout=20)
    sizes = server.result()
    assert sum(sizes) == 100_001 and sizes[-1] == 1


def test_the_end_of_stdin_is_looked_for_where_there_is_credit(client: Client) -> None:
    def talk(peer: Peer) -> None:
        peer.send(CREDIT, struct.pack(">Q", 5))
        assert peer.expect(STDIN) == b"hello"
        peer.send(CREDIT, struct.pack(">Q", 6))
        assert peer.expect(STDIN) == b""
        peer.exit()

    result = client.run(started(WITH_STDIN | WITH_CREDIT, talk), stdin=b"hello")
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.parametrize(("flags", "payload"), [(WITH_STDIN, bytes(8)), (WITH_STDIN | WITH_CREDIT, bytes(4))])
def test_credit_that_makes_no_sense(client: Client, flags: int, payload: bytes) -> None:
    result = client.run(started(flags, lambda peer: peer.send(CREDIT, payload)))
    assert (result.returncode, result.stderr) == (125, b"Error: the pyrt daemon sent a CREDIT that makes no sense\n")
