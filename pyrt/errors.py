# SPDX-License-Identifier: Apache-2.0
"""Every exception pyrt raises on purpose; each class knows the exit status a command ends with."""

from __future__ import annotations

import os
from pathlib import Path


class PyrtError(Exception):
    """Something pyrt could not do; the text is one line for the user. Ends a command with status 125."""

    exit_code = 125


class UsageError(PyrtError):
    """The command line was wrong: an unknown flag, a missing or malformed argument."""


class NotFoundError(PyrtError):
    """An object the user named does not exist."""


class ConflictError(PyrtError):
    """The request contradicts what exists: a name or port taken, a container still running."""


class ImageError(PyrtError):
    """An image or archive that cannot be read, is damaged, or is refused as unsafe."""


class NetworkError(PyrtError):
    """The network could not be set up: no free address, no bridge, a refused rule."""


class ProtocolError(PyrtError):
    """A peer sent bytes that are not pyrt frames, or frames out of order."""


class StartError(PyrtError):
    """A container did not reach its program. `step` names the part of the start that failed."""

    subject = ""

    def __init__(self, step: str, errno: int, text: str = "") -> None:
        reason = os.strerror(errno) if errno else ""
        super().__init__(": ".join(part for part in (self.subject or step, text, reason) if part))
        self.step = step
        self.errno = errno
        self.text = text


class NotExecutableError(StartError):
    """The program exists in the container but cannot be executed."""

    exit_code = 126
    subject = "Unable to execute"


class ProgramNotFoundError(StartError):
    """The program does not exist in the container."""

    exit_code = 127

    def __str__(self) -> str:
        return f"Unable to locate {self.text}"  # docker 0.1.0's words


def unreadable_log(log: Path, error: OSError) -> PyrtError:
    """Return what to raise when a container's log cannot be read: NotFoundError when it is not there."""
    kind = NotFoundError if isinstance(error, FileNotFoundError) else PyrtError
    return kind(f"the log cannot be read: {log}: {error.strerror}")
