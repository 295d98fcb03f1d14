# SPDX-License-Identifier: Apache-2.0
"""A container's stdin: partial writes, a reader that goes away, the end, and who is told of room."""

from __future__ import annotations

import os
from collections.abc import Callable

from pyrt.container.loop import READ, Loop
from pyrt.container.stdin import Stdin

SIZE = 1 << 20  # more than a pipe holds


class Pipe:
    """A stdin, the container's end of it, and how often room was told of."""

    def __init__(self, *, terminal: bool = False) -> None:
        self.loop = Loop()
        self.out, into = os.pipe()
        self.stdin = Stdin(self.loop, into, terminal=terminal)
        self.rooms = 0
        self.feed = self.stdin.feed(owner=True)
        self.feed.on_room = self._room

    def _room(self) -> None:
        self.rooms += 1

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Run the loop while reading nothing, until the condition holds."""

        def look() -> None:
            self.loop.stop() if condition() else self.loop.call_later(0.001, look)

        self.loop.call_later(0, look)
        self.loop.run()

    def read_to_end(self) -> bytes:
        parts: list[bytes] = []

        def take() -> None:
            part = os.read(self.out, 65536)
            parts.append(part)
            if not part:
                self.loop.unwatch(self.out)
                self.loop.stop()

        self.loop.watch(self.out, READ, take)
        self.loop.run()
        os.close(self.out)
        return b"".join(parts)


def closed(fd: int) -> bool:
    return not os.path.exists(f"/proc/self/fd/{fd}")


def test_what_fits_goes_at_once() -> None:
    pipe = Pipe()
    pipe.stdin.write(b"hello")
    assert not pipe.stdin.pending_bytes and os.read(pipe.out, 9) == b"hello"
    pipe.stdin.close()
    assert os.read(pipe.out, 9) == b""
    os.close(pipe.out)


def test_partial_writes_keep_order_and_the_end_comes_last() -> None:
    pipe = Pipe()
    data = os.urandom(SIZE)
    pipe.stdin.write(data[: SIZE // 2])
    assert pipe.stdin.pending_bytes
    pipe.stdin.write(data[SIZE // 2 :])
    pipe.stdin.end()
    pipe.stdin.end()
    pipe.stdin.write(b"after the end")
    assert pipe.read_to_end() == data
    assert not pipe.stdin.pending_bytes and pipe.rooms >= 1


def test_a_container_that_reads_no_more() -> None:
    pipe = Pipe()
    os.close(pipe.out)
    pipe.stdin.write(b"nobody")
    assert not pipe.stdin.pending_bytes and pipe.rooms == 1
    pipe.stdin.write(b"nobody")
    pipe.stdin.end()
    pipe.stdin.close()


def test_a_container_that_stops_reading_while_full_makes_room() -> None:
    """Otherwise the client's socket would not be looked at again, and the signals in it stay there."""
    pipe = Pipe()
    pipe.stdin.write(bytes(SIZE))
    assert pipe.stdin.pending_bytes and pipe.rooms == 0
    os.close(pipe.out)
    pipe.run_until(lambda: not pipe.stdin.pending_bytes)
    assert pipe.rooms == 1


def test_a_terminal_stays_open_and_is_told() -> None:
    pipe = Pipe(terminal=True)
    pipe.stdin.write(b"line\n")
    pipe.stdin.end()
    pipe.stdin.write(b"more\n")
    assert os.read(pipe.out, 99) == b"line\n\x04more\n"
    pipe.stdin.close()
    os.close(pipe.out)


def test_closing_forgets_what_was_not_written() -> None:
    pipe = Pipe()
    fd = pipe.stdin._fd
    pipe.stdin.write(bytes(SIZE))
    pipe.stdin.close()
    pipe.stdin.close()
    assert not pipe.stdin.pending_bytes and closed(fd)
    os.close(pipe.out)


def test_the_end_of_the_one_that_started_it_ends_it() -> None:
    pipe = Pipe()
    guest = pipe.stdin.feed(owner=False)
    guest.write(b"from a guest, ")
    pipe.feed.write(b"from the owner")
    pipe.feed.end()
    guest.write(b"too late")
    assert pipe.read_to_end() == b"from a guest, from the owner" and not pipe.stdin.open


def test_the_end_of_a_guest_waits_for_the_others() -> None:
    pipe = Pipe()
    guests = [pipe.stdin.feed(owner=False) for _ in range(2)]
    guests[0].write(b"one ")
    guests[0].end()
    guests[0].write(b"after its end")
    assert pipe.stdin.open
    guests[1].write(b"two")
    guests[1].hang_up()
    assert pipe.stdin.open, "the owner feeds it still"
    pipe.feed.leave()
    assert pipe.read_to_end() == b"one two"


def test_a_guest_that_leaves_without_a_word_ends_nothing() -> None:
    pipe = Pipe()
    pipe.feed.leave()
    pipe.feed.leave()
    for end in ("leave", "hang_up"):
        guest = pipe.stdin.feed(owner=False)
        getattr(guest, end)()
        guest.end()
        assert pipe.stdin.open
    guest = pipe.stdin.feed(owner=False)
    guest.write(b"the last word")
    guest.end()
    assert pipe.read_to_end() == b"the last word"


def test_the_owner_of_a_pipe_that_hangs_up_ends_it_and_of_a_terminal_does_not() -> None:
    pipe = Pipe()
    pipe.feed.hang_up()
    assert not pipe.stdin.open and pipe.read_to_end() == b""
    terminal = Pipe(terminal=True)
    terminal.feed.hang_up()
    terminal.stdin.feed(owner=False).write(b"still there")
    assert os.read(terminal.out, 99) == b"still there"
    terminal.stdin.close()
    os.close(terminal.out)
