# SPDX-License-Identifier: Apache-2.0
"""Make a container without starting it"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrt.commands import configuration
from pyrt.commands.flags import Options

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "[OPTIONS] IMAGE [COMMAND [ARG...]]"
FLAGS = configuration.FLAGS
MINIMUM = 1


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    """Print its id. All is decided now, except its address and its free ports, which each start chooses."""
    image = runtime.tags.lookup_image(arguments[0])
    config = await configuration.make_config(session, image, options, arguments)
    container = await runtime.create(config, name=options.name or "")
    await session.out(f"{container.id}\n")
    return 0
