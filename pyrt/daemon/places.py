# SPDX-License-Identifier: Apache-2.0
"""The daemon's two directories and the locks that say who owns them.

Three locks, all flock(2), so that no crash leaves one behind:
ROOT/lock and RUN_DIR/daemon.pid are held for a daemon's life. RUN_DIR/start.lock is held while one starts or stops,
which is what a second one waits for: when it has this lock, the first is ready, or is gone.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
from pathlib import Path

from pyrt.errors import ConflictError, PyrtError

log = logging.getLogger("pyrt.daemon")


def prepare_directory(path: Path, *, option: str, marker: str) -> None:
    """Make a directory that is root's alone: mode 0700, ours; repair the mode of one that we made.

    `marker` is a file every directory of ours holds. Without it a directory in use is left as it is: `--root /tmp`
    must not close /tmp to everybody.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except FileExistsError:
        raise PyrtError(f"{option} {path}: not a directory") from None
    except OSError as error:
        raise PyrtError(f"{option} {path}: {error.strerror}; run as root, or give {option}") from error
    if status.st_uid != os.geteuid():
        raise PyrtError(f"{option} {path}: belongs to user {status.st_uid}, not to us ({os.geteuid()})")
    mode = stat.S_IMODE(status.st_mode)
    if mode == 0o700:
        return
    entries = os.listdir(path)
    if entries and marker not in entries:
        raise PyrtError(f"{option} {path}: has mode {mode:04o} and files that are not pyrt's; choose another directory")
    path.chmod(0o700)
    if entries:
        log.warning("%s: mode %04o repaired to 0700", path, mode)


class Lock:
    """A file held with flock(2) until close() or the end of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise PyrtError(f"{path}: {error.strerror}") from error

    def wait(self) -> None:
        """Take the lock, however long that takes."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def take(self, *, option: str) -> None:
        """Take the lock and write our pid into the file; ConflictError names the holder."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).split(b"\n")[0].decode("ascii", "replace")
            raise ConflictError(
                f"{option} {self.path.parent} belongs to the pyrt daemon with pid {holder or '?'}; "
                f"stop it, or choose another directory"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let go and keep the file open for the next time."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._fd)
