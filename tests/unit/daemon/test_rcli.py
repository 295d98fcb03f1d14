# SPDX-License-Identifier: Apache-2.0
"""The line of Docker 0.1.0's protocol: what one may look like, and that everything else costs one connection."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrt.daemon.address import UnixAddress
from pyrt.daemon.listener import Listener, bind_unix
from pyrt.daemon.rcli import LINE_BYTES, parse_line
from pyrt.daemon.session import OpenSession, Session
from pyrt.errors import ProtocolError
from tests.unit.daemon.conftest import run


@pytest.mark.parametrize(
    ("line", "argv"),
    [
        (b"[]\n", []),
        (b'["ps"]\n', ["ps"]),
        (b'[ "run" ,\t"-i",\r"base" , ""  ] \r\n', ["run", "-i", "base", ""]),
        (b'["\\u00e4\\n\\"", "\xc3\xa4"]\n', ['ä\n"', "ä"]),
        (b'["\\udcff"]\n', ["\udcff"]),  # as a byte that is no UTF-8 stands in every argument here
    ],
)
def test_lines(line: bytes, argv: list[str]) -> None:
    assert parse_line(line) == argv


NO_LINES = [
    b"[\n",
    b"[1,2]\n",
    b'["ps", null]\n',
    b'[["ps"]]\n',
    b'["ps"] ["ps"]\n',
    b'["ps",]\n',
    b"[" * 500_000 + b"\n",
    b"[" + b'{"a":' * 100_000 + b"\n",
    b"[" + b"1" * 100_000 + b"]\n",
    b"[1e999999999]\n",
    b'["a\0b"]\n',
    b'["a\\u0000b"]\n',
    b'["\\ud800"]\n',
    b'["\xff\xfe"]\n',
    b'[\0"\0p\0s\0"\0]\0\n',
    b"[NaN]\n",
]


@pytest.mark.parametrize("line", NO_LINES, ids=range(len(NO_LINES)))
def test_lines_that_are_none(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="^the first line is not"):
        parse_line(line)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
def test_whatever_json_writes_is_read(argv: list[str]) -> None:
    assert parse_line(json.dumps(argv).encode() + b"\n") == argv
    assert parse_line(json.dumps(argv, ensure_ascii=False, indent=1).replace("\n", " ").encode() + b"\n") == argv


@given(st.binary() | st.binary().map(lambda data: b"[" + data + b"]"))
def test_any_bytes_are_a_list_of_strings_or_refused(line: bytes) -> None:
    try:
        argv = parse_line(line)
    except ProtocolError:
        return
    assert all(isinstance(word, str) and "\0" not in word for word in argv)


Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]]


def talk(tmp_path: Path, client: Client, **options: Any) -> tuple[list[tuple[list[str], bytes]], Any]:
    """Connect a client to a daemon whose every command takes in its stdin and answers `bye`; what both have seen."""
    served: list[tuple[list[str], bytes]] = []

    async def serve(open_session: OpenSession) -> None:
        session: Session = open_session(on_disconnect=lambda: None)
        data = b"".join([piece async for piece in session.open("-")])
        served.append((session.argv, data))
        await session.out("bye")
        await session.exit(0)
        session.close()

    async def main() -> Any:
        listener = Listener(serve, **options)
        listener.add(bind_unix(UnixAddress(str(tmp_path / "s"))))
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        try:
            return await client(reader, writer)
        finally:
            writer.close()
            await listener.close()

    seen = run(main())
    return served, seen


def test_what_follows_the_line_is_stdin(tmp_path: Path) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b'["import","-"]\nin the same packet\n')
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(b"and later")
        writer.write_eof()
        return await reader.read()

    served, seen = talk(tmp_path, client)
    assert served == [(["import", "-"], b"in the same packet\nand later")] and seen == b"bye"


def test_byte_by_byte(tmp_path: Path) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        for byte in b'["x"]\ny':
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write_eof()
        return await reader.read()

    assert talk(tmp_path, client) == ([(["x"], b"y")], b"bye")


def test_a_line_as_long_as_it_may_be(tmp_path: Path) -> None:
    words = ["x" * 1000] * 1000
    line = json.dumps(words).encode()
    line += b" " * (LINE_BYTES - len(line) - 1) + b"\n"

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(line + b"stdin")
        writer.write_eof()
        return await reader.read()

    assert talk(tmp_path, client) == ([(words, b"stdin")], b"bye")


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"[1,2]\n", b"Error: the first line is not a list of arguments\n"),
        (b'["ps"\n', b"Error: the first line is not JSON\n"),
        (b'["ps"', b"Error: the connection ended within the first line\n"),
    ],
)
def test_who_says_something_else_is_told_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes, answer: bytes
) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(data)
        writer.write_eof()
        return await reader.read()

    assert talk(tmp_path, client) == ([], answer)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1 and "\n" not in warnings[0] and len(warnings[0]) < 400


def test_a_line_without_an_end(tmp_path: Path) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(b'["')
        sent = 0
        try:
            while sent < 1 << 30:
                writer.write(bytes(65536).replace(b"\0", b"x"))
                await writer.drain()
                sent += 65536
        except ConnectionError:
            pass
        return sent

    served, sent = talk(tmp_path, client)
    assert served == [] and sent < 8 << 20


def test_half_a_line_and_then_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b'["ps"')
        return await reader.read()

    assert talk(tmp_path, client, deadline=0.1) == ([], b"")
    assert "said nothing for 0.1 s" in caplog.text
