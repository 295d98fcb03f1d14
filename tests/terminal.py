# SPDX-License-Identifier: Apache-2.0
"""A command on a pseudo-terminal of its own, as a person at a shell would have it."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence


class Terminal:
    """The command's controlling terminal; this side is the person's."""

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str], rows: int = 24, columns: int = 80) -> None:
        self.fd, self.command_fd = os.openpty()
        self.output = b""
        self._size(rows, columns)
        self.settings = termios.tcgetattr(self.fd)  # as the command finds it
        # setsid makes the terminal the controlling one without running Python between fork and exec.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *argv],
            stdin=self.command_fd,
            stdout=self.command_fd,
            stderr=self.command_fd,
            env={**env, "TERM": "xterm"},
            cwd="/",
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=10)
        os.close(self.fd)
        os.close(self.command_fd)

    def send(self, data: bytes) -> None:
        """Type."""
        os.write(self.fd, data)

    def resize(self, rows: int, columns: int) -> None:
        """Change the window; the kernel sends the foreground group SIGWINCH."""
        self._size(rows, columns)

    def expect(self, text: bytes, *, seconds: float = 10.0) -> bytes:
        """Read until `text` has appeared (AssertionError if not); returns and forgets everything up to its end."""
        deadline = time.monotonic() + seconds
        while text not in self.output:
            left = deadline - time.monotonic()
            assert left > 0 and self._read(left), f"{text!r} did not appear in {self.output!r}"
        end = self.output.index(text) + len(text)
        found, self.output = self.output[:end], self.output[end:]
        return found

    def wait(self, *, seconds: float = 10.0) -> int:
        """The command's exit status; keeps reading meanwhile, so that it cannot block on a full terminal."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"still running; shown: {self.output!r}"
            self._read(0.02)
        while self._read(0.02):
            pass
        return self.process.returncode

    def modes(self) -> list[int]:
        """Input, output, control and local modes, to see that raw mode was undone."""
        return [mode for mode in termios.tcgetattr(self.fd)[:4] if isinstance(mode, int)]

    def _size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self, seconds: float) -> bool:
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: nobody has the other side open
            return False
        self.output += data
        return bool(data)
