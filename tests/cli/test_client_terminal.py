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
from typing import Any

import pytest

from tests.cli.conftest import Client
from tests.cli.fake_server import (
    DETACH,
    ERROR,
    NOTICE,
    RESIZE,
    SIGNAL,
    START,
    STDIN,
    STDOUT,
    WITH_SIGNALS,
    WITH_STDIN,
    WITH_TTY,
    FakeServer,
    Peer,
)

INTERACTIVE = WITH_STDIN | WITH_TTY | WITH_SIGNALS


class OnTerminal:
    """The client with a terminal of 33 rows and 101 columns as its only streams."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.ours, self.theirs = os.openpty()
        self.resize(33, 101)
        self.before = termios.tcgetattr(self.theirs)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, then: Callable[[Peer], Any], flags: int = INTERACTIVE) -> FakeServer:
        def script(peer: Peer) -> Any:
            self.call = peer.call()
            peer.send(START, bytes([flags]))
            return then(peer)

        server = self.client.serve(script)
        self.process = subprocess.Popen(
            ["setsid", "--ctty", self.client.program, "-H", server.address, "x"],
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
