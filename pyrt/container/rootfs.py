# SPDX-License-Identifier: Apache-2.0
"""A container's root file system, for the programs that read or write it (csrc/rootfs.h): where it is, as arguments.

Nothing of a container is mounted where the daemon could see it. One that runs is reached through the mount namespace of
its first process; of one that does not the program mounts the overlay for itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyrt.container import launching
from pyrt.engine import overlay
from pyrt.engine.spec import Root
from pyrt.errors import ConflictError

if TYPE_CHECKING:
    from pyrt.container.container import Container
    from pyrt.container.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Access:
    """Words for the program's command line, and the descriptors they name, which it must inherit."""

    arguments: tuple[str, ...]
    fds: tuple[int, ...] = ()


@contextmanager
def reach(runtime: Runtime, container: Container, *, writable: bool = False) -> Iterator[Access]:
    """Say how a program gets at the whole root. The program must be running before the block is left.

    Raises ConflictError where the container has ended this instant, and PyrtError where its image cannot be used.
    """
    if container.state.running:
        pidfd = _first_process(container)
        try:
            yield Access(("--pidfd", str(pidfd)), (pidfd,))
        finally:
            os.close(pidfd)
    else:
        root = _root(runtime, container)
        options = overlay.start_options(root) if writable else overlay.view_options(root)
        yield Access(_mounting(root, options))


@contextmanager
def upper(container: Container) -> Iterator[Access]:
    """Say where the container's own layer is, running or not: what it has written, in overlayfs' terms."""
    fd = os.open(container.directory / "diff", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield Access(("--upper", str(fd)), (fd,))
    finally:
        os.close(fd)


def below(runtime: Runtime, container: Container) -> Access:
    """Say how a program gets at what lies below that layer. Raises PyrtError where the image cannot be used."""
    root = _root(runtime, container)
    return Access(_mounting(root, overlay.below_options(root)))


def _root(runtime: Runtime, container: Container) -> Root:
    return launching.make_root(runtime, container, runtime.tags.lookup_image(container.image_id))


def _mounting(root: Root, options: str) -> tuple[str, ...]:
    words = ["--overlay-directory", root.directory, "--overlay-options", options]
    for path, mode, uid, gid in root.mask:
        words += ["--mask", f"{mode:o}:{uid}:{gid}:{path}"]
    return tuple(words)


def _first_process(container: Container) -> int:
    """A descriptor of the container's first process. Its number may be another's by now; its cgroup tells."""
    gone = ConflictError(f"container {container.label} has just ended")
    try:
        pidfd = os.pidfd_open(container.state.pid)
    except ProcessLookupError:
        raise gone from None
    try:
        with open(f"/proc/{container.state.pid}/cgroup", "rb") as groups:
            if f"/{container.state.group}".encode() not in groups.read():
                raise gone
    except (FileNotFoundError, ProcessLookupError):
        os.close(pidfd)
        raise gone from None
    except BaseException:
        os.close(pidfd)
        raise
    return pidfd
