# SPDX-License-Identifier: Apache-2.0
"""Copying between a container's files and a client's: the container's side of `pyrt cp`.

The work is done by pyrt-tar and pyrt-untar, in the view that the container itself has of its root while it runs, with
its volumes. They look a path up once, inside that root, and go on by descriptor: what processes of the container do to
it meanwhile stays in the container.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pyrt.container import rootfs
from pyrt.container.filesystem import ready
from pyrt.errors import ConflictError, NotFoundError, PyrtError
from pyrt.image.archive import Report, extract
from pyrt.image.packing import Packed, Packing, UnreadableError

if TYPE_CHECKING:
    from pyrt.container.container import Container
    from pyrt.container.runtime import Runtime

_MISSING: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True, slots=True)
class Place:
    """A path in a container, as it was written, and how messages name it."""

    path: str
    label: str

    @property
    def absolute(self) -> str:
        """The path from the container's root on; a slash, or a dot behind one, at its end says something and stays."""
        clean = os.path.normpath("/" + self.path.lstrip("/"))
        if self.path.endswith("/."):
            return clean.rstrip("/") + "/."
        return clean + "/" if self.path.endswith("/") and clean != "/" else clean


async def send(
    runtime: Runtime,
    container: Container,
    place: Place,
    output: socket.socket,
    *,
    framing: tuple[str, ...],
    follow: bool,
    owners: bool,
) -> Packed:
    """Write an archive of what is there to a client's connection (borrowed), as `framing` (a word of pyrt-tar) says.

    No byte passes through this process. After BrokenOffError, and only then, the connection is in the middle of a
    frame. Raises PyrtError; ReaderGoneError when the client has left.
    """
    await ready(container)
    words = ["--copy", place.absolute, *framing]
    words += ["--follow"] * follow + ["--owners"] * owners
    with rootfs.reach(runtime, container) as access:
        packing = Packing([*words, *access.arguments], access.fds, output_fd=output.fileno())
    with packing:
        try:
            packed = await packing.ended()
        except UnreadableError as error:
            if not error.name and error.errno in _MISSING:
                raise _missing(place, error.errno) from error
            raise PyrtError(f"cannot copy {place.label}: {error}") from error
    return packed


@asynccontextmanager
async def writing(runtime: Runtime, container: Container) -> AsyncIterator[rootfs.Access]:
    """Give access to a container's root for writing, within the block; no start of it begins before that is over."""
    await ready(container)
    while container.writers and not container.state.running:  # one mount of our own at a time
        await container.changed()
        await ready(container)
    if not container.state.running and container.record.config.readonly:
        raise ConflictError(f"container {container.label} has a read-only root")
    with container.written(), rootfs.reach(runtime, container, writable=True) as access:
        yield access
    container.check_present()


def receive(access: rootfs.Access, blocks: Iterable[bytes], place: Place, *, into: bool, owners: bool) -> Report:
    """Unpack an archive to that place, in the caller's thread. Returns a report of a success, with a remark or none.

    `into`: the place has to be a directory. Raises PyrtError.
    """
    words = ["--copy", place.absolute, *access.arguments]
    words += ["--into"] * into + ["--owners"] * owners
    report = extract(words, access.fds, blocks)
    if not report.errno:
        return report
    if not report.name and not report.entries and report.errno in (errno.ENOENT, errno.ENOTDIR):
        raise _missing(place, report.errno, report.text)
    where = f"'{report.name}' " if report.name else ""
    raise PyrtError(f"cannot copy to {place.label}: {where}{report.text}")


def _missing(place: Place, code: int, text: str = "") -> PyrtError:
    if code == errno.ENOENT:
        return NotFoundError(f"No such container:path: {place.label}")
    return PyrtError(f"{place.label}: {text or os.strerror(code).lower()}")
