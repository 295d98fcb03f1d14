# SPDX-License-Identifier: Apache-2.0
"""Remove images"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyrt.commands.flags import Flag
from pyrt.errors import ConflictError, ImageError, PyrtError

if TYPE_CHECKING:
    from pyrt.commands.flags import Options
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "IMAGE..."
FLAGS: tuple[Flag, ...] = ()
MINIMUM = 1


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Remove each; one that cannot be does not keep the others."""
    errors: list[PyrtError] = []
    await runtime.departures()
    for name in arguments:
        try:
            await asyncio.to_thread(remove, runtime, name)
        except PyrtError as reason:
            errors.append(reason)
    for error in errors[:-1]:
        await session.err(f"Error: {error}\n")
    if errors:
        raise errors[-1]
    return 0


def remove(runtime: Runtime, name: str) -> None:
    """Take a name away; with an image's last name, or by its id, delete the image and the layers only it uses.

    Raises NotFoundError, and ConflictError while a container uses the image.
    """
    graph, tags = runtime.graph, runtime.tags
    damaged = [id for id in graph.damaged if id.startswith(name)] if len(name) >= 4 else []
    found = tags.find(name)
    if found is None and len(damaged) == 1:
        return _delete(runtime, damaged[0])
    try:
        image = tags.lookup_image(name)
    except ImageError:  # damaged: its name at least can go
        if found is None:
            raise
        return _untag(runtime, *found)
    if image.is_host:
        raise ConflictError("the image 'host' is the machine itself and cannot be removed")
    if found is not None and len(tags.by_id().get(image.id, ())) > 1:
        return _untag(runtime, *found)
    for container in dict(runtime.containers).values():
        if container.image_id == image.id:
            called = container.name or container.id[:16]
            raise ConflictError(f"image {name} is used by container {called}; remove that first: pyrt rm {called}")
    _delete(runtime, image.id)


def _untag(runtime: Runtime, repository: str, tag: str) -> None:
    id = runtime.tags.get(repository).get(tag, "")
    runtime.tags.delete(repository, tag)
    runtime.events.publish("image", "untag", id, f"{repository}:{tag}")


def _delete(runtime: Runtime, id: str) -> None:
    names = runtime.tags.by_id().get(id, ())
    runtime.tags.delete_all(id)
    runtime.graph.delete(id)
    for name in names:
        runtime.events.publish("image", "untag", id, name)
    runtime.events.publish("image", "delete", id)
