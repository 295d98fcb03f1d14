# SPDX-License-Identifier: Apache-2.0
"""Executing one more program in a container that runs: the daemon's part of it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyrt.container.container import Container
from pyrt.container.starting import Viewer
from pyrt.container.supervision import SupervisorSilentError
from pyrt.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to execute. What is empty is as the container itself was started; `env` is added to its environment."""

    argv: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    cwd: str = ""
    privileged: bool = False
    tty: bool = False
    stdin: bool = False


async def execute(runtime: Runtime, container: Container, program: Program, viewer: Viewer) -> None:
    """Start a program; returns when it runs. Without a client in `viewer` it runs on its own.

    Raises ConflictError when the container does not run, or is paused, and StartError.
    """
    await container.started()
    container.check_running()
    if container.state.paused:
        raise ConflictError(f"container {container.label} is paused: unpause it first")
    name = secrets.token_hex(16)
    client = viewer.client
    request = {
        "id": container.id,
        "exec": name,
        "argv": program.argv,
        "env": program.env,
        "user": program.user,
        "cwd": program.cwd,
        "privileged": program.privileged,
        "tty": program.tty,
        "rows": viewer.size[0],
        "columns": viewer.size[1],
        "stdin": program.stdin and client is not None,
        "detach": client is None,
        "raw": viewer.raw,
    }
    try:
        await runtime.supervision.ask("exec", request, [client.fileno()] if client is not None else [])
    except SupervisorSilentError:
        runtime.supervision.tell("abandon", {"id": name})
        raise
    except (NotFoundError, ConflictError):  # it has ended, or is about to
        raise ConflictError(f"container {container.label} is not running") from None
    runtime.events.tell(container, "exec", command=" ".join(program.argv))
