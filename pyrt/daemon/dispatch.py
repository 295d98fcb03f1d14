# SPDX-License-Identifier: Apache-2.0
"""Dispatch: from a call's first word to its command's module, and from whatever happens there to an exit status."""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
import pkgutil
from collections.abc import Awaitable, Callable
from types import MappingProxyType
from typing import Any, Final, Protocol, cast

from pyrt.commands.flags import Flag, HelpWanted, parse, shown, usage
from pyrt.daemon.session import Session
from pyrt.errors import PyrtError, UsageError

log = logging.getLogger("pyrt.daemon")

FAILED: Final = 125
_ALIASES: Final = MappingProxyType({"--help": "help", "-h": "help", "--version": "version", "-v": "version"})


class CommandModule(Protocol):
    """A module of pyrt.commands that is a verb. FLAGS, MINIMUM, MAXIMUM and NEEDS_RUNTIME may be missing."""

    __doc__: str | None
    USAGE: str
    FLAGS: tuple[Flag, ...]
    MINIMUM: int
    run: Callable[..., Awaitable[int]]


class Commands:
    """The verbs: a table made once from the files of pyrt/commands. A client's word is only ever looked up in it."""

    def __init__(self, package: str = "pyrt.commands") -> None:
        self._package = package
        found = importlib.import_module(package)
        names = [module.name for module in pkgutil.iter_modules(found.__path__) if not module.name.startswith("_")]
        self._modules = {name.rstrip("_"): name for name in names}
        self._loaded: dict[str, CommandModule | None] = {}

    @property
    def verbs(self) -> list[str]:
        """Every file's name; load() tells which of them is a verb."""
        return sorted(self._modules)

    def load(self, verb: str) -> CommandModule | None:
        """Import a verb's module at its first use; None where there is no such verb."""
        if verb not in self._loaded:
            name = self._modules.get(verb)
            if name is None:
                return None
            module: Any = importlib.import_module(f"{self._package}.{name}")
            self._loaded[verb] = cast(CommandModule, module) if hasattr(module, "run") else None
        return self._loaded[verb]


@functools.cache
def commands() -> Commands:
    """Return the daemon's one table."""
    return Commands()


async def dispatch(session: Session, runtime: Callable[[], Awaitable[Any]], *, table: Commands | None = None) -> None:
    """Run a client's call to its end and tell the client how it went.

    `runtime` is awaited for the Runtime when the command needs one. Nothing but cancellation comes out of here: what
    goes wrong in a command is its client's affair alone.
    """
    try:
        status = await _run(session, runtime, table or commands())
        if not session.handed_over:
            await session.exit(status)
    except asyncio.CancelledError:
        if not session.gone:
            await _report(session, "the daemon is stopping", FAILED)
        raise
    except ConnectionError as error:
        log.debug("%r: %s", session.argv[:1], error)
        if not session.gone:
            await _report(session, f"internal error: {error}", FAILED)
    except PyrtError as error:
        await _report(session, str(error), error.exit_code)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a command must not end the daemon
        log.exception("internal error in %r", session.argv[:1])
        await _report(session, f"internal error: {type(error).__name__}: {error}", FAILED)


async def _run(session: Session, runtime: Callable[[], Awaitable[Any]], table: Commands) -> int:
    argv = session.argv or ["help"]
    verb = _ALIASES.get(argv[0], argv[0])
    command = table.load(verb)
    if command is None:
        raise UsageError(f"No such command: {shown(verb)}")
    try:
        options, arguments = parse(verb, getattr(command, "FLAGS", ()), argv[1:])
    except HelpWanted:
        await session.out(usage(verb, command))
        return 0
    if len(arguments) < getattr(command, "MINIMUM", 0):
        await session.out(usage(verb, command))
        return FAILED
    most = getattr(command, "MAXIMUM", None)
    if most is not None and len(arguments) > most:
        raise UsageError(f"unexpected argument {shown(arguments[most])}; see 'pyrt {verb} --help'")
    needed = await runtime() if getattr(command, "NEEDS_RUNTIME", True) else None
    return int(await command.run(session, needed, options, arguments))


async def _report(session: Session, text: str, status: int) -> None:
    """Send an error and a status, where there is still somebody to send them to."""
    if session.handed_over:
        log.error("%r failed after its connection was handed over: %s", session.argv[:1], text)
        return
    try:
        await session.fail(text)
        await session.exit(status)
    except (ConnectionError, OSError) as error:
        log.debug("%r: nobody to tell %r: %s", session.argv[:1], text, error)
