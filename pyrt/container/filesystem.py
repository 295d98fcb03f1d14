# SPDX-License-Identifier: Apache-2.0
"""What is asked of a container's files as a whole: an archive of all of them, and how they differ from its image."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pyrt.container import launching, rootfs
from pyrt.container.state import Status
from pyrt.errors import ConflictError, NotFoundError
from pyrt.image.changes import Change, parse
from pyrt.image.packing import Packed, Packing

if TYPE_CHECKING:
    from pyrt.container.container import Container
    from pyrt.container.runtime import Runtime

_PIECE_BYTES = 1 << 18


async def export(runtime: Runtime, container: Container, output: socket.socket, *, raw: bool) -> Packed:
    """Write an archive of the whole root to a client's connection (borrowed), as frames of stdout unless `raw`.

    What is mounted in the container (volumes, /proc) is no part of it. No byte passes through this process. After
    BrokenOffError, and only then, the connection is in the middle of a frame. Raises PyrtError; ReaderGoneError when
    the client has left.
    """
    await ready(container)
    words = [] if raw else ["--frames"]
    with rootfs.reach(runtime, container) as access:
        packing = Packing([*words, *access.arguments], access.fds, output_fd=output.fileno())
    with packing:
        packed = await packing.ended()
    check_still_there(container)
    return packed


async def changes(runtime: Runtime, container: Container) -> AsyncGenerator[list[Change], None]:
    """Yield in batches what the container has changed of its image, sorted, each directory before what is in it.

    Proportional to the changes. Raises PyrtError, also at the end.
    """
    await ready(container)
    read_fd, write_fd = os.pipe()
    with ExitStack() as stack:
        file = stack.enter_context(os.fdopen(read_fd, "rb", buffering=0))
        try:
            upper, below = stack.enter_context(rootfs.upper(container)), rootfs.below(runtime, container)
            words = ["--changes", *upper.arguments, *below.arguments]
            for target in _mount_targets(container):
                words += ["--target", target.strip("/")]
            packing = stack.enter_context(Packing(words, upper.fds, output_fd=write_fd))
        finally:
            os.close(write_fd)
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), file
        )
        stack.callback(transport.close)
        async for batch in parse(_pieces(reader)):
            yield batch
        await packing.ended()
    check_still_there(container)


async def _pieces(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while piece := await reader.read(_PIECE_BYTES):
        yield piece


def _mount_targets(container: Container) -> list[str]:
    """Where something is mounted over the root: what had to be made for that is not the container's doing."""
    files = (target for target, _ in launching.make_files(container))
    return ["/proc", "/sys", "/dev", *files, *(volume.target for volume in container.record.config.volumes)]


async def ready(container: Container) -> None:
    """Wait until it is clear where the container's files are. Raises PyrtError where they are of no use."""
    await container.started()
    container.check_present()
    if container.state.status is Status.DAMAGED:
        raise ConflictError(f"container {container.label} is damaged and can only be removed")


def check_still_there(container: Container) -> None:
    """A container that is being removed loses its files one by one: what was read of it then is worth nothing."""
    if container.discarding is not None:
        raise NotFoundError(f"container {container.label} was removed meanwhile")
