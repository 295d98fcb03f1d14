# SPDX-License-Identifier: Apache-2.0
"""attach: somebody more at a container that runs already."""

from __future__ import annotations

import select
import signal
import subprocess
import threading

import pytest

from tests.harness import Pyrt, Result
from tests.processes import open_files, wait_until

pytestmark = [pytest.mark.root, pytest.mark.both_engines]

CTRL_P, CTRL_Q = b"\x10", b"\x11"
# Says `before`, and then what it reads, a line at a time, on both streams.
ECHO = "echo before; while read line; do echo out $line; echo err $line >&2; done; exit 7"


def start_echo(pyrt: Pyrt) -> None:
    """A container named `echo`, which has written its first line."""
    pyrt.detached("-i", "--name", "echo", "bb", "sh", "-c", ECHO)
    wait_until(lambda: pyrt.ok("logs", "echo").out == b"before\n", what="the first line")


def reader_of(pyrt: Pyrt, name: str, *flags: str) -> subprocess.Popen[bytes]:
    """An attached client whose stdin is a pipe."""
    return pyrt.start("attach", *flags, name, stdin=subprocess.PIPE)


def say(command: subprocess.Popen[bytes], text: bytes) -> None:
    assert command.stdin
    command.stdin.write(text)
    command.stdin.flush()


def line(command: subprocess.Popen[bytes]) -> bytes:
    assert command.stdout
    return command.stdout.readline()


def finish(command: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    out, err = command.communicate(timeout=20)
    return command.returncode, out, err


def test_what_comes_from_now_on_and_the_status(pyrt: Pyrt) -> None:
    start_echo(pyrt)
    client = reader_of(pyrt, "echo")
    say(client, b"one\n")
    assert line(client) == b"out one\n", "and not what was written before"
    assert finish(client) == (7, b"", b"err one\n"), "the end of its input is the container's"
    assert pyrt.ok("logs", "echo").out == b"before\nout one\n"
    pyrt.ok("rm", "echo")


def test_several_at_once_and_the_stdin_ends_with_the_last(pyrt: Pyrt) -> None:
    start_echo(pyrt)
    first, second = reader_of(pyrt, "echo"), reader_of(pyrt, "echo")
    say(first, b"one\n")
    assert line(first) == b"out one\n"
    say(second, b"two\n")
    while line(second) != b"out two\n":  # it may have come in time for the first
        pass
    assert first.stdin
    first.stdin.close()
    assert line(first) == b"out two\n"
    say(second, b"three\n")
    assert line(first) == line(second) == b"out three\n", "the second one feeds it still"
    assert finish(second)[0] == 7
    first.stdin = None
    assert finish(first)[0] == 7
    pyrt.ok("rm", "echo")


def test_a_killed_client_ends_nothing(pyrt: Pyrt) -> None:
    start_echo(pyrt)
    first = reader_of(pyrt, "echo")
    say(first, b"one\n")
    assert line(first) == b"out one\n"
    first.kill()
    first.wait()
    second = reader_of(pyrt, "echo")
    say(second, b"two\n")
    assert line(second) == b"out two\n"
    assert finish(second)[0] == 7
    pyrt.ok("rm", "echo")


def test_the_three_switches(pyrt: Pyrt) -> None:
    start_echo(pyrt)
    watchers = {flags: reader_of(pyrt, "echo", flags) for flags in ("-o", "-e", "-oe", "--no-stdin")}
    feeder = reader_of(pyrt, "echo", "-i")
    for flags, client in watchers.items():
        say(client, b"goes nowhere\n")
        shown = client.stderr if flags == "-e" else client.stdout
        assert shown
        while not select.select([shown], [], [], 0.05)[0]:  # until it is connected
            say(feeder, b"one\n")
    say(feeder, b"last\n")
    assert finish(feeder) == (7, b"", b"")
    ends = {flags: finish(client) for flags, client in watchers.items()}
    assert {status for status, _, _ in ends.values()} == {7}
    out, err = b"out one\nout last\n", b"err one\nerr last\n"
    for flags, (_, shown_out, shown_err) in ends.items():
        assert shown_out.endswith(out) == (flags != "-e") == bool(shown_out)
        assert shown_err.endswith(err) == (flags != "-o") == bool(shown_err)
        assert b"nowhere" not in shown_out + shown_err
    pyrt.ok("rm", "echo")


def test_signals_go_to_the_container(pyrt: Pyrt) -> None:
    pyrt.detached("--name", "signals", "bb", "probe", "signals")
    wait_until(lambda: pyrt.ok("logs", "signals").out == b"ready\n", what="the container being ready")
    client = pyrt.start("attach", "signals")
    connected(client)
    client.send_signal(signal.SIGINT)
    assert line(client) == b"signal 2\n"
    client.terminate()
    assert finish(client)[:2] == (15, b"signal 15\n")
    pyrt.ok("rm", "signals")


def test_signals_end_the_client_with_sig_proxy_off(pyrt: Pyrt) -> None:
    start_echo(pyrt)
    client = reader_of(pyrt, "echo", "--sig-proxy=false")
    say(client, b"one\n")
    assert line(client) == b"out one\n"
    client.terminate()
    assert client.wait(timeout=10) == -signal.SIGTERM
    assert pyrt("attach", "echo", input=b"two\n").out == b"out two\n"
    pyrt.ok("rm", "echo")


def connected(client: subprocess.Popen[bytes]) -> None:
    """Wait until a client streams: from then on it takes signals through a descriptor."""
    wait_until(
        lambda: client.poll() is not None or any("signalfd" in target for target in open_files(client.pid).values()),
        what="the client being connected",
    )


def test_a_guest_whose_reader_goes_away_harms_nobody(pyrt: Pyrt) -> None:
    """`pyrt attach NAME | head -1`: unlike that of `run`, the container was not started for this reader."""
    start_echo(pyrt)
    client, witness = reader_of(pyrt, "echo"), reader_of(pyrt, "echo")
    say(client, b"one\n")
    assert line(client) == b"out one\n"
    client.stdout.close()  # type: ignore[union-attr]
    say(client, b"two\n")
    assert client.wait(timeout=10) == -signal.SIGPIPE
    assert pyrt.status_of("echo").startswith("Up")
    client.stdin.close()  # type: ignore[union-attr]
    assert finish(witness)[0] == 7
    pyrt.ok("rm", "echo")


def test_a_client_that_does_not_read_stops_nobody_and_is_told(pyrt: Pyrt) -> None:
    """It misses what the log could not keep for it, and a line says how much."""
    script = "read line; probe emit 1 8000000 3"
    small = ("--log-opt", "max-size=64k", "--log-opt", "max-file=2")
    pyrt.detached("-i", "--name", "flood", *small, "bb", "sh", "-c", script)
    idle = pyrt.start("attach", "-o", "flood")
    connected(idle)
    assert pyrt("attach", "-i", "flood", input=b"go\n").status == 0, "the container came to its end"
    status, out, err = finish(idle)
    assert status == 0 and len(out) < 8_000_000 and b"missed" in err or b"lost" in err
    pyrt.ok("rm", "flood")


def test_a_terminal_typed_at_resized_and_left(pyrt: Pyrt) -> None:
    pyrt.detached("-it", "--name", "shell", "bb", "sh", "-c", "while read line; do stty size; echo got $line; done")
    with pyrt.pty("attach", "shell", rows=33, columns=121) as terminal:
        wait_until(lambda: terminal.modes()[3] & 0o12 == 0, what="raw mode")
        terminal.send(b"hello\r")
        terminal.expect(b"33 121\r\ngot hello\r\n")
        terminal.resize(50, 132)
        with pyrt.pty("attach", "--no-stdin", "shell", rows=10, columns=10) as second:
            connected(second.process)
            terminal.send(b"again\r")
            second.expect(b"50 132\r")
            second.expect(b"got again\r")
            terminal.expect(b"got again\r\n")
        terminal.send(CTRL_P + CTRL_Q)
        assert terminal.wait() == 0
        assert terminal.modes()[3] & 0o12 == 0o12, "canonical mode and echo are back"
    assert pyrt.status_of("shell").startswith("Up")
    pyrt.ok("rm", "-f", "shell")


def test_a_full_screen_program_shows_itself_to_who_comes_later(pyrt: Pyrt) -> None:
    pyrt.detached("-it", "--name", "screen", "bb", "probe", "winch")
    wait_until(lambda: b"size" in pyrt.ok("logs", "screen").out, what="the container being ready")
    with pyrt.pty("attach", "screen", rows=24, columns=80) as terminal:
        terminal.expect(b"size 24 80")
    pyrt.ok("rm", "-f", "screen")


def test_what_cannot_be_attached_to(pyrt: Pyrt) -> None:
    assert pyrt("attach", "nosuch").error == "No such container: nosuch"
    pyrt.run("bb", "true")
    pyrt("run", "--name", "over", "bb", "true")
    result = pyrt("attach", "over")
    assert (result.status, result.error) == (125, "container over is not running")
    assert pyrt("attach").status == 125
    pyrt.ok("rm", "over")


def test_one_that_ends_in_the_same_instant(pyrt: Pyrt) -> None:
    """Its last word and its true status, or that it does not run any more; never anything between."""
    seen: list[Result] = []

    def watch(name: str) -> None:
        seen.append(pyrt("attach", "-o", name))

    for round in range(12):
        name = f"brief{round}"
        pyrt.detached("-i", "--name", name, "bb", "sh", "-c", "read line; echo bye; exit 9")
        threads = [threading.Thread(target=watch, args=[name]) for _ in range(2)]
        for thread in threads:
            thread.start()
        pyrt("attach", "-i", name, input=b"\n")
        for thread in threads:
            thread.join()
        pyrt.ok("rm", name)
    for result in seen:
        if result.status == 125:
            assert "is not running" in result.error
        else:
            assert (result.status, result.err) == (9, b"") and result.out in (b"bye\n", b"")


def test_the_daemon_goes_and_the_client_stays_attached(pyrt: Pyrt) -> None:
    start_echo(pyrt)
    client = reader_of(pyrt, "echo")
    say(client, b"one\n")
    assert line(client) == b"out one\n"
    pyrt.kill_daemon()
    say(client, b"two\n")
    assert line(client) == b"out two\n"
    pyrt.ensure()
    other = reader_of(pyrt, "echo", "-i", "-o")
    say(other, b"three\n")
    assert line(client) == line(other) == b"out three\n"
    assert other.stdin
    other.stdin.close()
    assert finish(client)[0] == other.wait(timeout=20) == 7
    pyrt.ok("rm", "echo")
