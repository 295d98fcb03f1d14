# SPDX-License-Identifier: Apache-2.0
"""Show the version of the daemon"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import pyrt
from pyrt.commands.flags import Flag, Options
from pyrt.commands.format import Format, format_flag

if TYPE_CHECKING:
    from pyrt.daemon.session import Session

USAGE = "[OPTIONS]"
MAXIMUM = 0
FLAGS = (Flag("verbose", "v", help="Also show the daemon's Python and the kernel"), format_flag("f"))
NEEDS_RUNTIME = False


async def run(session: Session, runtime: object, options: Options, arguments: list[str]) -> int:
    """Print the version in the form Docker 0.1.0 printed it."""
    if options.format:
        facts: dict[str, object] = {
            "Version": pyrt.__version__,
            "PythonVersion": platform.python_version(),
            "KernelVersion": platform.release(),
            "Os": "linux",
            "Arch": platform.machine(),
        }
        facts["Server"] = dict(facts)  # where docker has them
        await session.out(Format(options.format, {name: name for name in facts}).one(facts) + "\n")
        return 0
    text = f"Version:{pyrt.__version__}\n"
    if options.verbose:
        text += f"Python:{platform.python_version()}\nKernel:{platform.release()}\n"
    await session.out(text)
    return 0
