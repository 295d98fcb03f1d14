# SPDX-License-Identifier: Apache-2.0
"""An image of a container: its own layer on top of its image's, and its configuration merged into the image's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pyrt.container import launching, rootfs
from pyrt.container.config import Config
from pyrt.container.filesystem import check_still_there, ready
from pyrt.engine import overlay
from pyrt.errors import ConflictError, PyrtError
from pyrt.image.image import Image
from pyrt.image.packing import Packed, Stream
from pyrt.network.ports import parse_port_spec

if TYPE_CHECKING:
    from pyrt.container.container import Container
    from pyrt.container.runtime import Runtime

_OPTIONS_MAX_BYTES = 4095  # what mount(2) takes, less its NUL
_LAYER_BYTES = 64 + len("/diff:")


async def commit(
    runtime: Runtime, container: Container, *, comment: str = "", author: str = "", pause: bool = True
) -> tuple[Image, Packed]:
    """Make an image of a container, running or not, without what is mounted in it; it is on the disk on return.

    With `pause` a running container stands still until its files have been read. Raises PyrtError; nothing is left of
    the image then.
    """
    await ready(container)
    parent = runtime.tags.lookup_image(container.image_id)
    check_parent(runtime, container, parent)
    loop = asyncio.get_running_loop()
    read = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        standing_still = await stack.enter_async_context(contextlib.AsyncExitStack())
        if pause:
            await standing_still.enter_async_context(_frozen(runtime, container))
        upper = stack.enter_context(rootfs.upper(container))
        stream = stack.enter_context(Stream(["--layer", *upper.arguments], upper.fds))
        chunks = _whole(stream, container, lambda: loop.call_soon_threadsafe(read.set))
        work = asyncio.ensure_future(
            asyncio.to_thread(
                runtime.graph.create,
                chunks,
                parent=parent,
                config=merged(parent, container.record.config),
                comment=comment,
                author=author,
                created_by=container.command,
            )
        )
        try:
            await _first(work, read)
            await standing_still.aclose()  # what remains is to put it on the disk
            image = await asyncio.shield(work)
        except BaseException:
            stream.kill()  # then the other thread gives up, and cleans up, before this does
            await asyncio.wait([work])
            work.cancelled() or work.exception()
            raise
    assert stream.packed is not None
    return image, stream.packed


@contextlib.asynccontextmanager
async def _frozen(runtime: Runtime, container: Container) -> Any:
    try:
        async with runtime.frozen(container):
            yield
    except ConflictError:
        raise
    except PyrtError as error:
        raise type(error)(f"{error}; --pause=false goes without") from error


def check_parent(runtime: Runtime, container: Container, parent: Image) -> None:
    """Raise ConflictError where no image can be made on top of a container's own one."""
    if parent.is_host:
        raise ConflictError(
            f"container {container.label} cannot be committed: what its image 'host' holds is the machine's own and no"
            " layer; diff shows what it has changed"
        )
    options = overlay.start_options(launching.make_root(runtime, container, parent))
    if len(options.encode("utf-8", "surrogateescape")) + _LAYER_BYTES > _OPTIONS_MAX_BYTES:
        raise ConflictError(
            f"container {container.label} cannot be committed: its image has {len(parent.layers)} layers already, and"
            " more cannot be mounted; export and import make one of them"
        )


def _whole(stream: Stream, container: Container, done: Callable[[], object]) -> Iterator[bytes]:
    """The archive; it ends with an error where it is not all of the container. In another thread than the rest."""
    try:
        yield from stream
    finally:
        done()
    check_still_there(container)


async def _first(work: asyncio.Future[Image], read: asyncio.Event) -> None:
    """Wait until the files have been read, or nobody reads them any more."""
    waiting = asyncio.ensure_future(read.wait())
    try:
        either: list[asyncio.Future[Any]] = [work, waiting]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


def merged(parent: Image, config: Config) -> dict[str, Any]:
    """What the new image says of containers made of it: as this one was run, and else as its own image said."""
    result = dict(parent.config)
    result.pop("Entrypoint", None)  # `cmd` is the whole command line
    result["Cmd"] = list(config.cmd)
    variables = dict(variable.partition("=")[::2] for variable in (*parent.environment, *config.env))
    if variables:
        result["Env"] = [f"{name}={value}" for name, value in variables.items()]
    if config.user:
        result["User"] = config.user
    if config.working_dir:
        result["WorkingDir"] = config.working_dir
    if config.ports:
        specs = map(parse_port_spec, config.ports)
        exposed: dict[str, Any] = {f"{spec.container_port}/{spec.protocol}": {} for spec in specs}
        result["ExposedPorts"] = {**(parent.config.get("ExposedPorts") or {}), **exposed}
    return result
