# SPDX-License-Identifier: Apache-2.0
"""Copy files between a container and here"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pyrt.commands.feed import Feed
from pyrt.commands.flags import Flag, shown
from pyrt.commands.lending import lent
from pyrt.commands.sizes import decimal_size
from pyrt.container import copying
from pyrt.container.copying import Place
from pyrt.errors import UsageError
from pyrt.image.compression import decompress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from pyrt.commands.flags import Options
    from pyrt.container.container import Container
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session
    from pyrt.image.archive import Report
    from pyrt.image.packing import Packed

USAGE = "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|- | SRC_PATH|- CONTAINER:DEST_PATH"
FLAGS = (
    Flag("archive", "a", help="Copy owners, extended attributes and device nodes too, and keep holes"),
    Flag("follow-link", "L", help="Copy what SRC_PATH leads to where it is a symbolic link"),
    Flag("quiet", "q", help="Do not say how much was copied"),
)
MINIMUM = MAXIMUM = 2
STREAM: Final = "-"


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Copy as docker does: what is a file or a directory at both ends decides. `-` is a tar archive."""
    (source_name, source), (target_name, target) = map(split, arguments)
    if source_name and target_name:
        raise UsageError("cannot copy from one container to another: copy to - and from - instead")
    if source_name:
        size = await _out(session, runtime, options, runtime.get(source_name), Place(source, arguments[0]), target)
    elif target_name:
        size = await _in(session, runtime, options, source, runtime.get(target_name), Place(target, arguments[1]))
    else:
        raise UsageError("one of the two has to be CONTAINER:PATH")
    if session.tty[2] and not options.quiet and STREAM not in (source, target):
        await session.notice(f"Successfully copied {decimal_size(size)} to {shown(arguments[1])}")
    return 0


def split(text: str) -> tuple[str, str]:
    """Split CONTAINER:PATH; of a path on the client's side the container is "".

    What begins with / or . is a path on the client's side even with a colon in it: docker's rule.
    """
    if not text:
        raise UsageError("a path must not be empty")
    name, colon, path = text.partition(":")
    if not colon or not name or name[0] in "/.":
        return "", text
    return name, path or "/"


async def _out(
    session: Session, runtime: Runtime, options: Options, container: Container, source: Place, target: str
) -> int:
    if target == STREAM:
        if session.tty[1]:
            raise UsageError("an archive is nothing for a terminal: redirect it, as in pyrt cp NAME:/etc - > FILE")
        framing: tuple[str, ...] = () if session.raw else ("--frames",)
    else:
        await session.unpack(target, owners=options.archive)
        framing = ("--feed",)
    with lent(session) as connection:
        packed = await copying.send(
            runtime,
            container,
            source,
            connection,
            framing=framing,
            follow=options.follow_link,
            owners=options.archive,
        )
    if target != STREAM:
        await session.unpacked()
    if not session.raw:  # there it would become a part of the archive
        await _remark(session, packed)
    return packed.bytes


async def _remark(session: Session, packed: Packed) -> None:
    for warning in packed.warnings:
        await session.notice(warning)
    if packed.warning_count > len(packed.warnings):
        await session.notice(f"and {packed.warning_count - len(packed.warnings)} more like these")


async def _in(
    session: Session, runtime: Runtime, options: Options, source: str, container: Container, target: Place
) -> int:
    streams = source == STREAM
    pieces: AsyncIterator[bytes] = (
        session.open(STREAM) if streams else session.pack(source, follow=options.follow_link, owners=options.archive)
    )
    async with copying.writing(runtime, container) as access, Feed(pieces) as feed:

        def unpack() -> Report:
            blocks: Iterable[bytes] = decompress(feed) if streams else feed
            return copying.receive(access, blocks, target, into=streams, owners=options.archive)

        report = await feed.consumed_by(unpack)
    if report.text:
        await session.notice(report.text)
    return report.bytes
