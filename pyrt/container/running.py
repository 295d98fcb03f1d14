# SPDX-License-Identifier: Apache-2.0
"""One container as the supervisor has it: from the moment its program runs until its last reader has everything."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import struct
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyrt.container.attachment import Attachment
from pyrt.container.loop import READ, Loop, Timer
from pyrt.container.raw_attachment import RawAttachment
from pyrt.container.signals import ends_by_default
from pyrt.container.stdin import Stdin
from pyrt.core import broadcast, frames
from pyrt.core.broadcast import Log
from pyrt.engine.launch import Launch
from pyrt.errors import PyrtError

logger = logging.getLogger("pyrt.supervisor")

DRAIN_S = 2.0  # how long output may still come after the first process is gone: somebody else holds the pipe then
REMOVE_RETRY_S = 0.02
FIRST_WORD_S = 1.0  # a client that has been answered nothing yet has an empty buffer: its START fits at once

ExitRecord = dict[str, Any]


def exit_status(record: ExitRecord) -> int:
    """The number that stands for an exit record: the code, or 128 + n for signal n, as shells have it."""
    code = record["code"]
    return int(code) if code is not None else 128 + int(record["signal"])


class RunningContainer:
    """Streams, clients, timers and the end of a container. All methods run in the supervisor's loop.

    on_exit(container, record) is called when the process has ended and its output is complete; the caller records the
    exit and then calls `conclude`. on_closed(container) when nothing of it is left.
    """

    def __init__(
        self,
        loop: Loop,
        launch: Launch,
        log: Log,
        *,
        container_id: str,
        wants_stdin: bool,
        memory_bytes: int,
        reservations: list[int],
        on_exit: Callable[[RunningContainer, ExitRecord], None],
        on_closed: Callable[[RunningContainer], None],
    ) -> None:
        self.id = container_id
        self.log = log
        self.pid = launch.pid
        self.started_at = time.time()
        self._loop = loop
        self._launch = launch
        self._wants_stdin = wants_stdin
        self._memory_bytes = memory_bytes
        self._reservations = reservations  # owned: bound sockets that keep the container's public ports
        self._on_exit = on_exit
        self._on_closed = on_closed
        self._attachments: list[Attachment] = []
        self._timers: list[Timer] = []
        self._record: ExitRecord | None = None
        self._exiting = False
        self._timed_out = False
        self._stdin: Stdin | None = None
        self._terminal_fd = launch.take_fd("terminal_fd")

        if self._terminal_fd >= 0:
            self._stdin = Stdin(loop, os.dup(self._terminal_fd), terminal=True)
            log.add_stream(os.dup(self._terminal_fd), frames.STDOUT)
        else:
            log.add_stream(launch.take_fd("stdout_fd"), frames.STDOUT)
            log.add_stream(launch.take_fd("stderr_fd"), frames.STDERR)
            if launch.stdin_fd >= 0:
                self._stdin = Stdin(loop, launch.take_fd("stdin_fd"), terminal=False)
        for warning in launch.cgroup.warnings:
            log.notice(f"{warning}\n".encode())
        loop.watch(launch.pidfd, READ, self._on_process_end)

    # --- clients ---

    def attach(self, sock: socket.socket, *, raw: bool) -> None:
        """Connect the client that ran the container (owned): everything it writes, its exit status, and its stdin.

        `raw`: it speaks no frames, gets the output alone, and what it sends is stdin.
        """
        flags = frames.START_SIGNALS
        if self._stdin is not None and self._wants_stdin:
            flags |= frames.START_STDIN | (frames.START_TTY if self._terminal_fd >= 0 else 0)
        stdin = self._stdin if flags & frames.START_STDIN else None
        if not raw and not self._greet(sock, flags):
            if stdin is not None:
                stdin.end()
            return
        kind = RawAttachment if raw else Attachment
        attachment = kind(self._loop, sock, self, stdin, self._on_client_gone)
        attachment.reader_id = self.log.add_reader(sock.fileno(), offset=broadcast.START, guaranteed=True, raw=raw)
        self._attachments.append(attachment)

    def show_log(self, sock: socket.socket, *, follow: bool, raw: bool) -> None:
        """Send a client (owned) the log from its beginning, to what is its end now or to the container's end."""
        if not raw and not self._greet(sock, 0):
            return
        kind = RawAttachment if raw else Attachment
        attachment = kind(self._loop, sock, self, None, self._on_client_gone)
        last = b"" if raw else frames.encode(frames.EXIT, bytes(4))
        attachment.reader_id = self.log.add_reader(
            sock.fileno(), offset=broadcast.START, follow=follow, raw=raw, last=last
        )
        self._attachments.append(attachment)

    @staticmethod
    def _greet(sock: socket.socket, flags: int) -> bool:
        """Tell a client that streaming begins. False: it has gone already, which is no affair of the container's."""
        try:
            sock.settimeout(FIRST_WORD_S)
            sock.sendall(frames.encode(frames.START, bytes([flags])))
        except OSError:
            sock.close()
            return False
        return True

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

    def deliver(self, number: int) -> None:
        """Signal the first process; see `ends_by_default` for what it has no handler for."""
        if self._record is not None:
            return
        try:
            status, syscall = (Path(f"/proc/{self.pid}/{name}").read_text("latin-1") for name in ("status", "syscall"))
            fatal = ends_by_default(number, status, syscall)
            self._launch.signal(signal.SIGKILL if fatal else number)
        except (ProcessLookupError, FileNotFoundError):
            pass  # it has ended; its pidfd is about to say so

    def stop(self, number: int, grace_s: float) -> None:
        """Ask it to end, and end it when it has not within grace_s."""
        self.deliver(number)
        self._timers.append(self._loop.call_later(grace_s, lambda: self.deliver(signal.SIGKILL)))

    def limit_time(self, timeout_s: float) -> None:
        self._timers.append(self._loop.call_later(timeout_s, self._on_timeout))

    def _on_timeout(self) -> None:
        if self._record is None:
            self._timed_out = True
            self.deliver(signal.SIGKILL)

    # --- its end ---

    def _on_process_end(self) -> None:
        self._loop.unwatch(self._launch.pidfd)
        status = self._launch.wait()
        for timer in self._timers:
            timer.cancel()
        self._record = {
            "code": status if status >= 0 else None,
            "signal": -status if status < 0 else None,
            "oom": self._ran_out_of_memory(),
            "timed_out": self._timed_out,
            "finished_at": time.time(),
        }
        if self._record["oom"]:
            self.log.notice(f"out of memory: the limit is {self._memory_bytes} bytes\n".encode())
        if self._timed_out:
            self.log.notice(b"stopped: its time (--timeout) was up\n")
        if self._stdin is not None:
            self._stdin.close()
        if self.log.streams == 0:
            self._exit()
        else:
            self._timers = [self._loop.call_later(DRAIN_S, self._give_up_streams)]

    def _ran_out_of_memory(self) -> bool:
        try:
            return self._launch.cgroup.oom_kills() > 0
        except (OSError, PyrtError) as error:  # somebody removed the group: the end is recorded all the same
            logger.error("container %s: %s", self.id, error)
            return False

    def on_drained(self) -> None:
        """All output there was has been read to its end (which may be told early, while streams are being added)."""
        if self._record is not None and self.log.streams == 0:
            self._exit()

    def _exit(self) -> None:
        if self._exiting:
            return
        self._exiting = True
        for timer in self._timers:
            timer.cancel()
        assert self._record is not None
        self._on_exit(self, self._record)

    def _give_up_streams(self) -> None:
        self.log.notice(b"output cut off: another process still holds the container's stdout or stderr\n")
        self.log.close_streams()

    def conclude(self) -> None:
        """The exit is recorded: tell the clients, give the rest back."""
        assert self._record is not None
        self.log.finish(frames.encode(frames.EXIT, struct.pack(">I", exit_status(self._record))))
        self._remove_cgroup(attempts=100)
        self._launch.close()
        if self._terminal_fd >= 0:
            os.close(self._terminal_fd)
            self._terminal_fd = -1
        for fd in self._reservations:
            os.close(fd)
        self._reservations = []
        self._close_if_done()

    def _remove_cgroup(self, attempts: int) -> None:
        try:
            self._launch.cgroup.remove(timeout_ms=0)
        except PyrtError as error:  # the kernel is still burying the last process
            if attempts == 0:
                logger.error("container %s: %s", self.id, error)
                return
            self._loop.call_later(REMOVE_RETRY_S, lambda: self._remove_cgroup(attempts - 1))

    def _close_if_done(self) -> None:
        if self._record is not None and self._launch.pidfd < 0 and not self._attachments:
            self.log.close()
            self._on_closed(self)
