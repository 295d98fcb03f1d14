# SPDX-License-Identifier: Apache-2.0
"""Show which port of the host leads to a port of a container"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrt.commands.flags import Options, shown
from pyrt.errors import NotFoundError

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "CONTAINER [PRIVATE_PORT[/tcp|/udp]]"
MINIMUM, MAXIMUM = 1, 2


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print the public port, or without a private one every mapping on a line of its own."""
    container = runtime.get(arguments[0])
    mappings = container.allocation.mappings if container.allocation is not None else ()
    if len(arguments) == 1:
        in_order = sorted(mappings, key=lambda one: (one.container_port, one.protocol))
        lines = [f"{one.container_port}/{one.protocol} -> {one.host_ip}:{one.host_port}\n" for one in in_order]
        await session.out("".join(lines))
        return 0
    port, _, protocol = arguments[1].partition("/")
    public = [one.host_port for one in mappings if (str(one.container_port), one.protocol) == (port, protocol or "tcp")]
    if not public:
        raise NotFoundError(f"No private port '{shown(arguments[1])}' allocated on {shown(arguments[0])}")
    await session.out("".join(f"{number}\n" for number in public))
    return 0
