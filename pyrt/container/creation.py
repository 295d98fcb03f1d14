# SPDX-License-Identifier: Apache-2.0
"""Making a container, also one that starts at once: its name, directories, record. Nothing is left when that fails."""

from __future__ import annotations

import asyncio
import errno
import secrets
import time
from typing import TYPE_CHECKING

from pyrt.container.config import NAME, Config, Record
from pyrt.container.container import Container
from pyrt.container.starting import Viewer, launch, new_run, prepare
from pyrt.container.state import State
from pyrt.errors import ConflictError, PyrtError, UsageError
from pyrt.network.ports import parse_port_spec

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime

REMOVAL_S = 10.0


async def create(runtime: Runtime, config: Config, name: str) -> Container:
    """Make a container that is not started; it is on the disk on return. Raises PyrtError."""
    for spec in config.ports:
        parse_port_spec(spec)
    return await _with_room(runtime, config, name, kept=True)


async def run(runtime: Runtime, config: Config, name: str, viewer: Viewer) -> Container:
    """Make a container and start it. Raises PyrtError."""
    container = await _with_room(runtime, config, name, kept=False)  # its start has begun
    try:
        await launch(runtime, container, viewer)
    except BaseException:
        if container.state.starting:
            container.fall_back(State())
        await runtime.discard(container)
        raise
    return container


async def _with_room(runtime: Runtime, config: Config, name: str, *, kept: bool) -> Container:
    try:
        return await _make(runtime, config, name, kept=kept)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise _refused(error) from error
    # What has just ended or been removed may still be on its way off the disk.
    await runtime.departures()
    await runtime.store.removals(REMOVAL_S)
    try:
        return await _make(runtime, config, name, kept=kept)
    except OSError as error:
        raise _refused(error) from error


def _refused(error: OSError) -> PyrtError:
    return PyrtError(": ".join(filter(None, ("Error creating container", error.strerror, error.filename))))


async def _make(runtime: Runtime, config: Config, name: str, *, kept: bool) -> Container:
    image = runtime.tags.lookup_image(config.image)
    if name:
        await claim_name(runtime, name)
    record = Record(
        id=secrets.token_hex(32),
        name=name,
        created_at=time.time(),
        image_id=image.id,
        image_name=config.image,
        config=config,
        kept=kept,
    )
    below = runtime.graph.lower_dirs(image)[0]
    container = runtime.store.add(record)  # before the next await: a name is given once, and its image stays
    runtime.events.tell(container, "create")
    try:
        if kept:
            container.making = True
            container.make_directories(below)
            await container.save(durable=True)
            container.making = False
            container.wake()
        else:
            container.begin(new_run())
            prepare(runtime, container)
            container.make_directories(below)
            await container.save()
    except BaseException:
        if container.state.starting:
            container.fall_back(State())
        container.making = False
        container.wake()
        await runtime.discard(container)
        raise
    return container


async def claim_name(runtime: Runtime, name: str, *, holder: Container | None = None) -> None:
    """Return when the name may be given (to `holder`, if it has it already). Raises UsageError, ConflictError.

    A container that is on its way out frees its name in a moment; any other keeps it.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"container name {name!r}: use letters, digits, and _ . - after the first, at most 63")
    found = runtime.store.holder(name)
    if found is not None and found.leaving:
        await runtime.departures()
        found = runtime.store.holder(name)
    elif found is not None and found.discarding is not None:
        await asyncio.shield(found.discarding)
        found = runtime.store.holder(name)
    if found is not None and found is not holder:
        raise ConflictError(f"the name {name} is taken by container {found.id[:16]}: remove it or use another name")


async def rename(runtime: Runtime, container: Container, name: str) -> None:
    """Give a container another name. Raises UsageError, ConflictError when it is taken."""
    await claim_name(runtime, name, holder=container)
    container.check_present()
    container.check_whole()
    if name == container.name:
        return
    try:
        await runtime.store.rename(container, name)
    except OSError as error:
        raise PyrtError(f"container {container.label} cannot be renamed: {error.strerror}") from error
