# SPDX-License-Identifier: Apache-2.0
"""Show the version of the daemon"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import pyrt
from pyrt.commands.flags import Flag, Options

if TYPE_CHECKING:
    from pyrt.daemon.session import Session

USAGE = "[OPTIONS]"
MAXIMUM = 0
FLAGS = (Flag("verbose", "v", help="Also show the daemon's Python and the kernel"),)
NEEDS_RUNTIME = False


async def run(session: Session, runtime: object, options: Options, arguments: list[str]) -> int:
    """Print the version in the form Docker 0.1.0 printed it."""
    text = f"Version:{pyrt.__version__}\n"
    if options.verbose:
        text += f"Python:{platform.python_version()}\nKernel:{platform.release()}\n"
    await session.out(text)
    return 0
