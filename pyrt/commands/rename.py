# SPDX-License-Identifier: Apache-2.0
"""Give a container another name"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrt.commands.flags import Options

if TYPE_CHECKING:
    from pyrt.container.runtime import Runtime
    from pyrt.daemon.session import Session

USAGE = "CONTAINER NAME"
MINIMUM = MAXIMUM = 2


async def run(session: Session, runtime: Runtime, options: Options, arguments: list[str]) -> int:
    await runtime.rename(runtime.get(arguments[0]), arguments[1])
    return 0
