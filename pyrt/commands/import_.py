# SPDX-License-Identifier: Apache-2.0
"""Make an image of a root file system in a tar archive"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pyrt.commands.download import download
from pyrt.commands.feed import Feed
from pyrt.commands.flags import Flag, shown
from pyrt.errors import UsageError
from pyrt.image.tagstore import DEFAULT_TAG, validate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrt.commands.flags import Options
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session
    from pyrt.image.image import Image

USAGE = "[OPTIONS] FILE|URL|- [REPOSITORY [TAG]]"
FLAGS = (Flag("comment", kind=str, default="", metavar="TEXT", help="Say what it is; kept in the image"),)
MINIMUM, MAXIMUM = 1, 3


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Read the archive, from the client or the network, store it as an image, name it, and print its id.

    Whatever contains "://" is a URL, which the daemon fetches; everything else is a file on the client's side, "-"
    its standard input. The archive may be compressed. A client of Docker 0.1.0 sends no files: it means a URL, of
    http where it does not say.
    """
    source, repository, tag = (*arguments, "", "")[:3]
    if session.raw and "://" not in source and source[:1] not in ("-", "/", "."):
        source = f"http://{source}"
    if len(arguments) > 1:
        if ":" in repository:
            raise UsageError(f"Illegal repository name: {shown(repository)}; a tag is an argument of its own")
        validate(repository, tag or DEFAULT_TAG)
    if "://" in source:
        loop = asyncio.get_running_loop()

        def notice(text: str) -> None:
            if session.raw or session.tty[2]:
                asyncio.run_coroutine_threadsafe(session.notice(text), loop).result()

        chunks: Iterable[bytes] = download(source, notice)
        image = await asyncio.to_thread(_store, runtime, chunks, options.comment, source)
    else:
        async with Feed(session.open(source)) as feed:
            image = await feed.consumed_by(_store, runtime, feed, options.comment, source)
    name = f"{repository}:{tag or DEFAULT_TAG}" if repository else ""
    if repository:
        await asyncio.to_thread(runtime.tags.set, repository, tag or DEFAULT_TAG, image.id, force=True)
    runtime.events.publish("image", "import", image.id, name)
    await session.out(f"{image.id}\n")
    return 0


def _store(runtime: Runtime, chunks: Iterable[bytes], comment: str, source: str) -> Image:
    origin = ascii("standard input" if source == "-" else source)[1:-1]
    image: Image = runtime.graph.create(chunks, comment=comment or f"Imported from {origin}", created_by="pyrt import")
    return image
