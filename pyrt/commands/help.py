# SPDX-License-Identifier: Apache-2.0
"""Show the commands, or how one of them is used"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrt.commands.flags import Options, shown, summary, usage
from pyrt.errors import UsageError

if TYPE_CHECKING:
    from pyrt.daemon.session import Session

USAGE = "[COMMAND]"
MAXIMUM = 1
NEEDS_RUNTIME = False

# What is no verb of these is one of containers.
_GROUPS = {
    "Images": ("images", "import", "commit", "tag", "history", "rmi", "login", "pull", "push"),
    "pyrt itself": ("events", "help", "info", "version"),
}
_OPTIONS = """\
Options before the command:
  -H, --host ADDRESS   Talk to the daemon at unix:///PATH or tcp://HOST:PORT (PYRT_HOST)
      --run-dir DIR    Talk to the daemon whose sockets are here (PYRT_RUN_DIR, /run/pyrt)
  -d, --daemon         Be the daemon, in the foreground; -H may be repeated
      --tls --tlscacert FILE --tlscert FILE --tlskey FILE
                       Authenticate both sides of tcp://
For a daemon that is started (a command starts one where there is none):
      --root DIR       Keep images and containers here (PYRT_ROOT, /var/lib/pyrt)
      --bridge NAME    Use this bridge for the containers
  -D, --debug          Log more

'pyrt COMMAND --help' shows how a command is used.
"""


async def run(session: Session, runtime: object, options: Options, arguments: list[str]) -> int:
    """Print the overview, or one command's usage."""
    from pyrt.daemon.dispatch import commands  # dispatch loads this module in turn

    table = commands()
    if not arguments:
        loaded = [(verb, table.load(verb)) for verb in table.verbs]
        lines = {verb: f"  {verb:<10} {summary(command)}\n" for verb, command in loaded if command}
        groups = [(heading, [lines.pop(verb) for verb in verbs if verb in lines]) for heading, verbs in _GROUPS.items()]
        listing = "".join(f"{heading}:\n{''.join(of)}\n" for heading, of in [("Containers", lines.values()), *groups])
        await session.out(f"Usage: pyrt [OPTIONS] COMMAND [ARG...]\n\n{listing}{_OPTIONS}")
        return 0
    verb = arguments[0]
    command = table.load(verb)
    if command is None:
        raise UsageError(f"No such command: {shown(verb)}")
    await session.out(usage(verb, command))
    return 0
