# SPDX-License-Identifier: Apache-2.0
"""From a word to a command, and what becomes of every way in which a command can end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrt.core import frames
from pyrt.daemon.dispatch import Commands, dispatch
from pyrt.daemon.session import Session
from tests.unit.daemon.conftest import FakeClient, converse, run

MODULE = '''
"""Do as told"""
from pyrt.commands.flags import Flag
from pyrt.errors import NotFoundError, ProgramNotFoundError
USAGE = "[OPTIONS] WAY"
FLAGS = (Flag("loud", "l"),)
MINIMUM, MAXIMUM = 1, 3
async def run(session, runtime, options, arguments):
    way = arguments[0]
    await session.out(f"{runtime} {options.loud} {arguments}")
    if way == "missing": raise NotFoundError("No such container: x")
    if way == "program": raise ProgramNotFoundError("exec", 2, "/nope")
    if way == "bug": raise KeyError("bug")
    if way == "exit": raise SystemExit(0)
    if way == "recursion": return await run(session, runtime, options, arguments)
    if way == "broken": raise BrokenPipeError("of somebody else")
    if way == "forever":
        import asyncio
        await asyncio.sleep(100)
    if way == "keep":
        session.hand_over().send(b"mine")
        raise ValueError("afterwards")
    return 42
'''


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    package = tmp_path / "ptcommands"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "do.py").write_text(MODULE)
    (package / "import_.py").write_text(MODULE)
    (package / "noverb.py").write_text("x = 1")
    (package / "lazy.py").write_text("raise ImportError('broken module')")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Commands("ptcommands")
    for name in [name for name in sys.modules if name.partition(".")[0] == "ptcommands"]:
        del sys.modules[name]


def outcome(table: Commands, *argv: str) -> list[tuple[int, bytes]]:
    """The frames a client gets for its words."""

    async def runtime() -> str:
        return "RUNTIME"

    async def serve(session: Session) -> None:
        await dispatch(session, runtime, table=table)

    served, seen = run(converse(serve, FakeClient.rest, *argv))
    assert served is None
    found: list[tuple[int, bytes]] = seen
    return found


def status(number: int) -> tuple[int, bytes]:
    return frames.EXIT, number.to_bytes(4, "big")


def test_a_command_gets_runtime_options_and_arguments(table: Commands) -> None:
    assert outcome(table, "do", "-l", "well", "-x") == [
        (frames.STDOUT, b"RUNTIME True ['well', '-x']"),
        status(42),
    ]
    assert outcome(table, "import", "x")[-1] == status(42)


def test_a_word_too_many_is_an_error(table: Commands) -> None:
    error = b"unexpected argument four; see 'pyrt do --help'"
    assert outcome(table, "do", "1", "2", "3", "four") == [(frames.ERROR, error), status(125)]


@pytest.mark.parametrize(
    ("way", "text", "code"),
    [
        ("missing", "No such container: x", 125),
        ("program", "Unable to locate /nope", 127),
        ("bug", "internal error: KeyError: 'bug'", 125),
        ("exit", "internal error: SystemExit: 0", 125),
        ("broken", "internal error: of somebody else", 125),
    ],
)
def test_errors_are_told(table: Commands, way: str, text: str, code: int) -> None:
    assert outcome(table, "do", way)[1:] == [(frames.ERROR, text.encode()), status(code)]


@pytest.mark.parametrize("verb", ["nope", "noverb", "import_", "__init__", "", "do.run", "../do", "os", "a\nb"])
def test_what_is_no_verb(table: Commands, verb: str) -> None:
    (kind, text), last = outcome(table, verb)
    assert kind == frames.ERROR and text.startswith(b"No such command: ") and b"\n" not in text
    assert last == status(125)


def test_a_broken_module_is_its_own_commands_problem(table: Commands) -> None:
    assert outcome(table, "lazy")[-1] == status(125)
    assert outcome(table, "do", "x")[-1] == status(42)


def test_usage(table: Commands) -> None:
    text = b"Usage: pyrt do [OPTIONS] WAY\n\nDo as told\n\n  -l, --loud\n"
    assert outcome(table, "do") == [(frames.STDOUT, text), status(125)]
    assert outcome(table, "do", "--help") == [(frames.STDOUT, text), status(0)]
    assert outcome(table, "do", "--nope")[0] == (frames.ERROR, b"unknown flag --nope; see 'pyrt do --help'")


def test_a_handed_over_connection_is_left_alone(table: Commands) -> None:
    async def runtime() -> None: ...

    async def serve(session: Session) -> None:
        await dispatch(session, runtime, table=table)

    async def client(peer: FakeClient) -> bytes:
        data = b""
        while piece := await asyncio.get_running_loop().sock_recv(peer.socket, 100):
            data += piece
        return data

    printed = frames.encode(frames.STDOUT, b"None False ['keep']")
    assert run(converse(serve, client, "do", "keep")) == (None, printed + b"mine")


def test_a_stopping_daemon_says_so(table: Commands) -> None:
    async def runtime() -> None: ...

    async def serve(session: Session) -> None:
        task = asyncio.create_task(dispatch(session, runtime, table=table))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    _, seen = run(converse(serve, FakeClient.rest, "do", "forever"))
    assert seen[1:] == [(frames.ERROR, b"the daemon is stopping"), status(125)]


def test_the_real_table() -> None:
    table = Commands()
    assert {"help", "version"} <= set(table.verbs)
    assert table.load("flags") is None
    assert outcome(table, "version") == [(frames.STDOUT, b"Version:0.1.0\n"), status(0)]
    assert b"Show the version of the daemon" in outcome(table)[0][1]
    assert outcome(table, "--version") == outcome(table, "version")
    assert outcome(table, "help", "version") == outcome(table, "version", "--help")
    assert outcome(table, "help", "nope")[-1] == status(125)
