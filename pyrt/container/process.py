# SPDX-License-Identifier: Apache-2.0
"""A process with streams, as the supervisor has it: its log, its clients, its signals, its end."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import termios
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Protocol

from pyrt.container.attachment import WINDOW_BYTES, Attachment
from pyrt.container.loop import READ, Loop, Timer
from pyrt.container.raw_attachment import RawAttachment
from pyrt.container.stdin import Feed, Stdin
from pyrt.core import broadcast, frames
from pyrt.core.broadcast import Log

DRAIN_S = 2.0  # how long output may still come after the process is gone: somebody else holds the pipe then
TRACED_S = 0.02  # how often an end is looked for that somebody who traces the process has not taken note of
FIRST_WORD_S = 1.0  # a client that has been answered nothing yet has an empty buffer: its START fits at once

ExitRecord = dict[str, Any]


def exit_status(record: ExitRecord) -> int:
    """The number that stands for an exit record: the code, or 128 + n for signal n, as shells have it."""
    code = record["code"]
    return int(code) if code is not None else 128 + int(record["signal"])


def _stdin_flags(feed: Feed | None) -> int:
    if feed is None:
        return 0
    return int(frames.START_STDIN | frames.START_CREDIT | (frames.START_TTY if feed.terminal else 0))


def _credit(total_bytes: int) -> bytes:
    return frames.encode(frames.CREDIT, struct.pack(">Q", total_bytes))


class Child(Protocol):
    """A process that was started; `take_fd` hands over the ends of its streams, -1 where there is none."""

    @property
    def pid(self) -> int: ...

    @property
    def pidfd(self) -> int: ...

    def signal(self, number: int) -> None: ...

    def wait(self) -> int | None: ...

    def close(self) -> None: ...

    def take_fd(self, name: str) -> int: ...


class Process(ABC):
    """Streams, clients and the end of a process. All methods run in the supervisor's loop.

    When it has ended and its output is complete, `_on_complete` is called; `conclude` then tells the clients, and when
    the last of them has everything, nothing of the process is left and `_on_closed` is called.
    """

    subject = "process"

    def __init__(self, loop: Loop, child: Child, log: Log, *, label: str, wants_stdin: bool) -> None:
        self.log = log
        self.label = label  # how supervisor.log names it
        self._beginning = log.end_offset  # what stands before it is of an earlier run
        self.pid = child.pid
        self.pidfd = child.pidfd  # the child's, until `conclude`
        self.started_at = time.time()
        self._loop = loop
        self._child = child
        self._wants_stdin = wants_stdin
        self._attachments: list[Attachment] = []
        self._timers: list[Timer] = []
        self._record: ExitRecord | None = None
        self._completed = False
        self._concluded = False
        self._stdin: Stdin | None = None
        self._outputs: list[tuple[int, int]] = []  # owned descriptors, and their frames' types: see read_output
        self._terminal_fd = child.take_fd("terminal_fd")
        stdin_fd = child.take_fd("stdin_fd")
        if self._terminal_fd >= 0:
            self._stdin = Stdin(loop, os.dup(self._terminal_fd), terminal=True)
            self._outputs.append((os.dup(self._terminal_fd), frames.STDOUT))
        elif stdin_fd >= 0:
            self._stdin = Stdin(loop, stdin_fd, terminal=False)
        for name, kind in (("stdout_fd", frames.STDOUT), ("stderr_fd", frames.STDERR)):
            if (fd := child.take_fd(name)) >= 0:
                self._outputs.append((fd, kind))
        loop.watch(child.pidfd, READ, self._on_process_end)

    @abstractmethod
    def _on_complete(self, record: ExitRecord) -> None:
        """It has ended, and all its output has been read."""

    @abstractmethod
    def _release(self) -> None:
        """Give back what else it held; its clients have been told its status, and still read."""

    @abstractmethod
    def _on_closed(self) -> None:
        """Nobody reads its log any more, and it is closed."""

    def _describe_end(self, status: int) -> ExitRecord:
        """Make the record of an end, with the status that `wait` returned, and tell the clients what else there is."""
        return {"code": status if status >= 0 else None, "signal": -status if status < 0 else None}

    def read_output(self) -> None:
        """Begin to read what it writes: once the client that wants every byte is there.

        Before that the beginning could have left a small log already.
        """
        while self._outputs:
            self.log.add_stream(*self._outputs.pop(0))

    # --- clients ---

    def attach(self, sock: socket.socket, *, stdin: bool, raw: bool) -> None:
        """Connect the client that started it (owned): everything it writes, its exit status, its stdin if wanted.

        A `raw` client speaks no frames, gets the output alone, and what it sends is stdin.
        """
        feed = self._feed(owner=True) if stdin else None
        attachment = self._connect(sock, feed, frames.START_SIGNALS | _stdin_flags(feed), raw)
        if attachment is not None:
            attachment.reader_id = self.log.add_reader(sock.fileno(), offset=self._beginning, guaranteed=True, raw=raw)
            self._attachments.append(attachment)

    def attach_guest(
        self, sock: socket.socket, *, stdin: bool, streams: Iterable[int], signals: bool, raw: bool
    ) -> None:
        """Connect one more client (owned): what `streams` bring from now on, the exit status, its stdin if wanted.

        It never holds up the process: one that reads too slowly misses output, and is told.
        """
        feed = self._feed(owner=False) if stdin else None
        flags = (frames.START_SIGNALS if signals else 0) | _stdin_flags(feed)
        attachment = self._connect(sock, feed, flags, raw)
        if attachment is None:
            return
        attachment.owner = False
        attachment.reader_id = self.log.add_reader(sock.fileno(), offset=broadcast.END, streams=streams, raw=raw)
        self._attachments.append(attachment)
        if feed is not None and self._terminal_fd >= 0:
            self._redraw()

    def show_log(self, sock: socket.socket, *, reader: dict[str, Any], settle_s: float | None, raw: bool) -> None:
        """Send a client (owned) the log, or part of it: `reader` has the words for Log.add_reader.

        One that follows does so to the process's end, or for `settle_s`.
        """
        attachment = self._connect(sock, None, 0, raw)
        if attachment is not None:
            last = b"" if raw else frames.encode(frames.EXIT, bytes(4))
            attachment.reader_id = reader_id = self.log.add_reader(sock.fileno(), raw=raw, last=last, **reader)
            self._attachments.append(attachment)
            if settle_s is not None and self._record is None:
                self._timers.append(self._loop.call_later(settle_s, lambda: self._settle(reader_id)))

    def _settle(self, reader_id: int) -> None:
        self.log.settle_reader(reader_id)

    def _feed(self, *, owner: bool) -> Feed | None:
        if self._stdin is None or not self._wants_stdin or not self._stdin.open:
            return None
        return self._stdin.feed(owner=owner)

    def _connect(self, sock: socket.socket, feed: Feed | None, flags: int, raw: bool) -> Attachment | None:
        """Tell a client that streaming begins. None: it has gone already, which is no affair of the process's."""
        try:
            if not raw:
                sock.settimeout(FIRST_WORD_S)
                words = frames.encode(frames.START, bytes([flags]))
                sock.sendall(words + _credit(WINDOW_BYTES) if feed is not None else words)
        except OSError:
            sock.close()
            if feed is not None:
                feed.hang_up()
            return None
        kind = RawAttachment if raw else Attachment
        return kind(self._loop, sock, self, feed, self._on_client_gone)

    def on_reader_event(self, reader_id: int, *, gone: bool) -> None:
        """The broadcaster is done with a reader: it has everything, or it hung up."""
        for attachment in self._attachments:
            if attachment.reader_id == reader_id:
                if gone:
                    attachment.hear_out()
                    self._drop(attachment)
                else:
                    self._attachments.remove(attachment)
                    attachment.finish()
                break
        self._close_if_done()

    def grant(self, attachment: Attachment, total_bytes: int) -> None:
        """See `Target`. It goes out between two frames of output; a client that reads none of that sends no more."""
        self.log.tell_reader(attachment.reader_id, _credit(total_bytes))

    def _on_client_gone(self, attachment: Attachment) -> None:
        self.log.remove_reader(attachment.reader_id)
        self._drop(attachment)
        self._close_if_done()

    def _drop(self, attachment: Attachment) -> None:
        if attachment in self._attachments:
            self._attachments.remove(attachment)

    # --- what can be done to it ---

    def resize(self, rows: int, columns: int) -> None:
        if self._terminal_fd >= 0:
            fcntl.ioctl(self._terminal_fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _hang_up_terminal(self) -> None:
        """Take its terminal away, if it has one: whoever uses that gets SIGHUP, and reads and writes no more."""
        if self._terminal_fd < 0 or self._stdin is None:
            return
        self.log.close_streams()
        while self._outputs:
            os.close(self._outputs.pop()[0])
        self._stdin.close()
        os.close(self._terminal_fd)
        self._terminal_fd = -1

    def _redraw(self) -> None:
        """Have a full-screen program show itself to somebody new: it does when its terminal's size has changed."""
        size = fcntl.ioctl(self._terminal_fd, termios.TIOCGWINSZ, bytes(8))
        rows, columns, _, _ = struct.unpack("HHHH", size)
        self.resize(rows + 1, columns)
        self.resize(rows, columns)

    def deliver(self, number: int) -> None:
        """Signal it; nothing happens when it has ended."""
        if self._record is not None:
            return
        try:
            self._send(self._signal_for(number))
        except (ProcessLookupError, FileNotFoundError):
            pass  # it has ended; its pidfd is about to say so

    def _signal_for(self, number: int) -> int:
        """Return the signal that has the effect which `number` has on an ordinary process."""
        return number

    def _send(self, number: int) -> None:
        self._child.signal(number)

    def stop(self, number: int, grace_s: float) -> None:
        """Ask it to end, and end it when it has not within grace_s."""
        self.deliver(number)
        self._timers.append(self._loop.call_later(grace_s, lambda: self.deliver(signal.SIGKILL)))

    # --- its end ---

    def _on_process_end(self) -> None:
        self._loop.unwatch(self._child.pidfd)
        status = self._child.wait()
        if status is None:  # by a process of its container, perhaps for ever: nobody else waits for that
            self._loop.call_later(TRACED_S, self._on_process_end)
            return
        for timer in self._timers:
            timer.cancel()
        self._record = self._describe_end(status)
        if self._stdin is not None:
            self._stdin.close()
        if self.log.streams == 0:
            self._complete()
        else:
            self._timers = [self._loop.call_later(DRAIN_S, self._give_up_streams)]

    def on_drained(self) -> None:
        """All output there was has been read to its end (which may be told early, while streams are being added)."""
        if self._record is not None and self.log.streams == 0:
            self._complete()

    def _complete(self) -> None:
        if self._completed:
            return
        self._completed = True
        for timer in self._timers:
            timer.cancel()
        assert self._record is not None
        self._on_complete(self._record)

    def _give_up_streams(self) -> None:
        self.log.notice(f"output cut off: another process still holds the {self.subject}'s stdout or stderr\n".encode())
        self.log.close_streams()

    def conclude(self) -> None:
        """All that had to be done about the end is done: tell the clients, give the rest back."""
        assert self._record is not None
        self.log.finish(frames.encode(frames.EXIT, struct.pack(">I", exit_status(self._record))))
        self._release()
        self._child.close()
        if self._terminal_fd >= 0:
            os.close(self._terminal_fd)
            self._terminal_fd = -1
        self._concluded = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._concluded and not self._attachments:
            self.log.close()
            self._on_closed()
