# SPDX-License-Identifier: Apache-2.0
"""Show the commands, or how one of them is used"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrt.commands.flags import Options, shown, summary, usage
from pyrt.errors import UsageError

if TYPE_CHECKING:
    from pyrt.daemon.session import Session

USAGE = "[COMMAND]"
NEEDS_RUNTIME = False

_OPTIONS = """\
Options before the command:
  -H, --host ADDRESS   The daemon: unix://PATH or tcp://HOST:PORT (PYRT_HOST)
      --root DIR       Where images and containers are kept (PYRT_ROOT, /var/lib/pyrt)
      --run-dir DIR    Sockets and what is live (PYRT_RUN_DIR, /run/pyrt)
      --bridge NAME    The containers' bridge, for a daemon that is started
  -d, --daemon         Be the daemon, in the foreground; -H may be repeated
  -D, --debug          A daemon that is started logs more
      --tls --tlscacert FILE --tlscert FILE --tlskey FILE
                       Authenticate both sides of tcp://

'pyrt COMMAND --help' shows how a command is used.
"""


async def run(session: Session, runtime: object, options: Options, arguments: list[str]) -> int:
    """Print the overview, or one command's usage."""
    from pyrt.daemon.dispatch import commands  # dispatch loads this module in turn

    table = commands()
    if not arguments:
        loaded = [(verb, table.load(verb)) for verb in table.verbs]
        lines = [f"  {verb:<10} {summary(command)}" for verb, command in loaded if command]
        listing = "\n".join(lines)
        await session.out(f"Usage: pyrt [OPTIONS] COMMAND [ARG...]\n\nCommands:\n{listing}\n\n{_OPTIONS}")
        return 0
    verb = arguments[0]
    command = table.load(verb)
    if command is None:
        raise UsageError(f"No such command: {shown(verb)}; 'pyrt help' lists them")
    await session.out(usage(verb, command))
    return 0
