# SPDX-License-Identifier: Apache-2.0
"""The client on a terminal: raw while the container's terminal is shown, and given back whatever happens."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Client
from tests.cli.fake_server import (
    CREDIT,
    DETACH,
    ERROR,
    KEYS,
    NOTICE,
    RESIZE,
    SIGNAL,
    START,
    STDIN,
    STDOUT,
    WITH_CREDIT,
    WITH_SIGNALS,
    WITH_STDIN,
    WITH_TTY,
    FakeServer,
    Peer,
)
from tests.processes import alive, wait_gone, wait_until

INTERACTIVE = WITH_STDIN | WITH_TTY | WITH_SIGNALS


class OnTerminal:
    """The client with a terminal of 33 rows and 101 columns as its only streams."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.ours, self.theirs = os.openpty()
        self.resize(33, 101)
        self.before = termios.tcgetattr(self.theirs)
        self.process: subprocess.Popen[bytes] | None = None
        self.flags = INTERACTIVE

    def start(
        self, then: Callable[[Peer], Any], flags: int = INTERACTIVE, *, keys: bytes = b"", job: bool = False
    ) -> FakeServer:
        def script(peer: Peer) -> Any:
            self.call = peer.call()
            if keys:
                peer.send(KEYS, keys)
            peer.send(START, bytes([flags]))
            return then(peer)

        server = self.client.serve(script)
        # a shell's job can be stopped; the head of a session, with nobody in it to continue it, cannot
        shell = ["sh", "-c", 'set -m; "$@"; kill -STOP $$; fg', "sh"] if job else []
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *shell, self.client.program, "-H", server.address, "x"],
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
        )
        return server

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.ours, keys)

    def until(self, text: bytes) -> bytes:
        """Read the screen until `text` is on it."""
        seen = b""
        while text not in seen:
            assert select.select([self.ours], [], [], 20)[0], f"only {seen!r} on the screen"
            seen += os.read(self.ours, 4096)
        return seen

    def wait(self) -> int:
        assert self.process
        return self.process.wait(20)

    def is_restored(self) -> bool:
        return termios.tcgetattr(self.theirs) == self.before

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def terminal(client: Client) -> Iterator[OnTerminal]:
    made = OnTerminal(client)
    yield made
    made.close()


def test_sizes_and_raw_mode(terminal: OnTerminal) -> None:
    def talk(peer: Peer) -> list[bytes]:
        sizes = [peer.expect(RESIZE)]
        peer.send(STDOUT, b"ready")
        sizes.append(peer.expect(RESIZE))
        peer.exit(3)
        return sizes

    server = terminal.start(talk)
    terminal.until(b"ready")
    flags = termios.tcgetattr(terminal.theirs)
    assert not flags[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
    terminal.resize(50, 200)
    assert terminal.wait() == 3
    assert server.result() == [struct.pack(">HH", 33, 101), struct.pack(">HH", 50, 200)]
    assert terminal.call["tty"] == [True, True, True]
    assert terminal.call["size"] == [33, 101]
    assert terminal.is_restored()


def test_every_key_goes_to_the_container(terminal: OnTerminal) -> None:
    keys = bytes(byte for byte in range(256) if byte != 0x10)  # all but Ctrl-P, which waits for the next key

    def talk(peer: Peer) -> bytes:
        peer.expect(RESIZE)
        peer.send(STDOUT, b"ready\n")
        typed = b""
        while len(typed) < len(keys):
            typed += peer.expect(STDIN)
        peer.exit()
        return typed

    server = terminal.start(talk)
    terminal.until(b"ready\n")  # raw: no carriage return is added
    terminal.type(keys)
    assert terminal.wait() == 0
    assert server.result() == keys


@pytest.mark.parametrize("pieces", [[b"a\x10\x11"], [b"a\x10", b"\x11"], [b"a", b"\x10", b"\x11b"]])
def test_detach_keys_leave(terminal: OnTerminal, pieces: list[bytes]) -> None:
    def talk(peer: Peer) -> bytes:
        peer.expect(RESIZE)
        peer.send(STDOUT, b"ready")
        typed = b""
        while True:
            kind, payload = peer.receive()
            if kind == DETACH:
                return typed
            assert kind == STDIN
            typed += payload
            peer.send(STDOUT, b"seen")

    server = terminal.start(talk)
    terminal.until(b"ready")
    for piece in pieces:
        terminal.type(piece)
        if piece == b"a":
            terminal.until(b"seen")
    terminal.until(b"detached; the container keeps running\r\n")
    assert terminal.wait() == 0
    assert server.result() == b"a"
    assert terminal.is_restored()


def test_half_of_the_detach_keys_are_keys(terminal: OnTerminal) -> None:
    expected = b"\x10x\x10\x10\x10y"

    def talk(peer: Peer) -> bytes:
        peer.expect(RESIZE)
        peer.send(STDOUT, b"ready")
        typed = b""
        while len(typed) < len(expected):
            typed += peer.expect(STDIN)
        peer.exit()
        return typed

    server = terminal.start(talk)
    terminal.until(b"ready")
    for key in expected:
        terminal.type(bytes([key]))
    assert terminal.wait() == 0
    assert server.result() == expected


def typed_until(peer: Peer, last: int, size: int) -> bytes:
    """What is typed until a frame of type `last`, or so many bytes of it."""
    peer.expect(RESIZE)
    peer.send(STDOUT, b"ready")
    typed = b""
    while len(typed) < size:
        kind, payload = peer.receive()
        if kind == last:
            return typed
        assert kind == STDIN
        typed += payload
    peer.exit()
    return typed


@pytest.mark.parametrize("one_by_one", [True, False])
@pytest.mark.parametrize(
    ("keys", "typed", "passed"),
    [
        (b"\x01", b"ab\x01", b"ab"),
        (b"~.", b"\x10\x11~~x~~.", b"\x10\x11~~x~"),
        (b"aab", b"aacaaab", b"aaca"),
        (b"abcabd", b"abcabcabd", b"abc"),
        (b"\0" * 16, b"\0" * 15 + b"1" + b"\0" * 16, b"\0" * 15 + b"1"),
    ],
)
def test_other_detach_keys(terminal: OnTerminal, keys: bytes, typed: bytes, passed: bytes, one_by_one: bool) -> None:
    server = terminal.start(lambda peer: typed_until(peer, DETACH, 1 << 20), keys=keys)
    terminal.until(b"ready")
    for piece in [typed[i : i + 1] for i in range(len(typed))] if one_by_one else [typed]:
        terminal.type(piece)
    terminal.until(b"detached")
    assert terminal.wait() == 0
    assert server.result() == passed


def test_the_usual_keys_are_typed_where_there_are_others(terminal: OnTerminal) -> None:
    server = terminal.start(lambda peer: typed_until(peer, DETACH, 5), keys=b"\x01\x02")
    terminal.until(b"ready")
    terminal.type(b"\x10\x11\x01\x01c")
    assert terminal.wait() == 0
    assert server.result() == b"\x10\x11\x01\x01c"


@pytest.mark.parametrize("keys", [b"", b"x" * 17])
def test_keys_that_make_no_sense(client: Client, keys: bytes) -> None:
    result = client.run(lambda peer: (peer.call(), peer.send(KEYS, keys)))
    assert (result.returncode, result.stderr) == (125, b"Error: the pyrt daemon sent KEYS that make no sense\n")


def test_held_keys_cost_credit_too(terminal: OnTerminal) -> None:
    """Each byte of the terminal's end is passed on, the one that may yet have become a detach key as well."""

    def talk(peer: Peer) -> bytes:
        peer.expect(RESIZE)
        peer.send(CREDIT, struct.pack(">Q", 2)).send(STDOUT, b"ready")
        typed = peer.expect(STDIN)
        peer.send(CREDIT, struct.pack(">Q", 4))
        while len(typed) < 4:
            typed += peer.expect(STDIN)
        peer.exit()
        return typed

    server = terminal.start(talk, INTERACTIVE | WITH_CREDIT)
    terminal.until(b"ready")
    terminal.type(b"a\x10\x10bc")
    assert terminal.wait() == 0
    assert server.result() == b"a\x10\x10b"


def test_detach_keys_while_stdin_and_output_are_stuck(terminal: OnTerminal) -> None:
    """Neither direction moves; the user still gets out."""
    import threading

    done = threading.Event()

    def talk(peer: Peer) -> None:
        peer.send(STDOUT, b"ready")
        done.wait(20)

    terminal.start(talk)
    terminal.until(b"ready")
    terminal.type(b"\x10\x11")
    terminal.until(b"detached")
    assert terminal.wait() == 0
    done.set()


def test_the_daemons_death_gives_the_terminal_back(terminal: OnTerminal) -> None:
    server = terminal.start(lambda peer: (peer.expect(RESIZE), peer.send(STDOUT, b"ready")))
    terminal.until(b"Error: lost the connection to the pyrt daemon\r\n")
    assert terminal.wait() == 125
    assert terminal.is_restored()
    server.result()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGSEGV, signal.SIGABRT])
def test_fatal_signals_give_the_terminal_back(terminal: OnTerminal, number: signal.Signals) -> None:
    def talk(peer: Peer) -> None:
        peer.expect(RESIZE)
        peer.send(STDOUT, b"ready")
        with pytest.raises((EOFError, ConnectionResetError)):
            peer.receive()

    server = terminal.start(talk, WITH_STDIN | WITH_TTY)
    terminal.until(b"ready")
    assert terminal.process
    terminal.process.send_signal(number)
    assert terminal.wait() == -number
    assert terminal.is_restored()
    server.result()


def test_even_sigkill_gives_the_terminal_back(terminal: OnTerminal) -> None:
    server = terminal.start(lambda peer: (peer.expect(RESIZE), peer.send(STDOUT, b"ready"), peer.receive()))
    terminal.until(b"ready")
    assert terminal.process and not terminal.is_restored()
    terminal.process.kill()
    terminal.wait()
    wait_until(terminal.is_restored, what="the terminal as it was")
    with pytest.raises(EOFError):  # at once: nothing of the client holds the connection
        server.result()


def test_what_somebody_else_made_of_the_terminal_stays(terminal: OnTerminal) -> None:
    """A shell that has put its own settings back, say, before the client that it stopped was killed."""
    server = terminal.start(lambda peer: (peer.expect(RESIZE), peer.send(STDOUT, b"ready"), peer.receive()))
    terminal.until(b"ready")
    assert terminal.process
    [guard] = children(terminal.process.pid)
    terminal.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, terminal.process.pid, os.WSTOPPED)
    shells = termios.tcgetattr(terminal.theirs)
    shells[3] |= termios.ECHO
    termios.tcsetattr(terminal.theirs, termios.TCSANOW, shells)
    terminal.process.kill()
    terminal.wait()
    wait_gone(guard)
    assert termios.tcgetattr(terminal.theirs) == shells
    with pytest.raises(EOFError):
        server.result()


def test_the_guard_is_there_for_a_raw_terminal_alone_and_ends_with_the_client(terminal: OnTerminal) -> None:
    def talk(peer: Peer) -> None:
        kind = RESIZE if terminal.flags & WITH_TTY else None
        assert kind is None or peer.expect(kind)
        peer.send(STDOUT, b"ready")
        peer.expect(STDIN)
        peer.exit(4)

    for flags, expected in ((INTERACTIVE, 1), (WITH_STDIN | WITH_SIGNALS, 0)):
        terminal.flags = flags
        server = terminal.start(talk, flags)
        terminal.until(b"ready")
        assert terminal.process
        guards = children(terminal.process.pid)
        assert len(guards) == expected
        for guard in guards:
            wait_until(lambda: len(os.listdir(f"/proc/{guard}/fd")) == 2, what="the terminal and its pipe alone")  # noqa: B023
        terminal.type(b"x\n")
        assert terminal.wait() == 4
        assert terminal.is_restored() and not any(alive(guard) for guard in guards)
        server.result()


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_sigtstp_stops_it_with_the_terminal_given_back(terminal: OnTerminal) -> None:
    def talk(peer: Peer) -> None:
        peer.expect(RESIZE)
        peer.send(STDOUT, b"ready")
        peer.expect(RESIZE)
        peer.send(STDOUT, b"again")
        peer.expect(STDIN)
        peer.exit()

    server = terminal.start(talk, job=True)
    terminal.until(b"ready")
    assert terminal.process
    [pid] = children(terminal.process.pid)
    os.kill(pid, signal.SIGTSTP)
    os.waitid(os.P_PID, terminal.process.pid, os.WSTOPPED)  # which its shell does when its job has stopped
    assert stopped(pid) and terminal.is_restored()
    terminal.process.send_signal(signal.SIGCONT)
    terminal.until(b"again")
    assert not terminal.is_restored()
    terminal.type(b"x")
    assert terminal.wait() == 0
    assert terminal.is_restored()
    server.result()


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_ctrl_c_is_a_key_in_raw_mode_and_a_signal_without_a_tty(terminal: OnTerminal) -> None:
    def talk(peer: Peer) -> bytes:
        peer.send(STDOUT, b"ready")
        payload = peer.expect(SIGNAL)
        peer.exit(130)
        return payload

    server = terminal.start(talk, WITH_SIGNALS)
    terminal.until(b"ready")
    terminal.type(b"\x03")
    assert terminal.wait() == 130
    assert server.result() == struct.pack(">I", signal.SIGINT)


def test_stopped_and_continued_it_is_raw_again(terminal: OnTerminal) -> None:
    def talk(peer: Peer) -> None:
        peer.expect(RESIZE)
        peer.send(STDOUT, b"ready")
        peer.expect(RESIZE)  # what SIGCONT causes
        peer.send(STDOUT, b"again")
        peer.expect(STDIN)
        peer.exit()

    server = terminal.start(talk)
    terminal.until(b"ready")
    assert terminal.process
    os.kill(terminal.process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, terminal.process.pid, os.WSTOPPED)
    termios.tcsetattr(terminal.theirs, termios.TCSANOW, terminal.before)  # as a shell does
    os.kill(terminal.process.pid, signal.SIGCONT)
    terminal.until(b"again")
    assert not termios.tcgetattr(terminal.theirs)[3] & termios.ICANON
    terminal.type(b"x")
    assert terminal.wait() == 0
    server.result()
    assert terminal.is_restored()


def test_notices_and_errors_start_at_the_left(terminal: OnTerminal) -> None:
    def talk(peer: Peer) -> None:
        peer.send(NOTICE, b"note")
        peer.send(ERROR, b"broken")
        peer.exit(125)

    terminal.start(talk)
    assert b"note\r\nError: broken\r\n" in terminal.until(b"broken\r\n")
    assert terminal.wait() == 125
    assert terminal.is_restored()
