# SPDX-License-Identifier: Apache-2.0
"""A program that stands for `python -I -m pyrt.cli`: the real daemon and relay, around a runtime that does nothing."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))


class FakeRuntime:
    """Starts, ends, and has no containers."""

    async def open(self) -> None:
        if reason := os.environ.get("FAKE_RUNTIME_FAULT"):
            raise RuntimeError(reason)
        if "FAKE_RUNTIME_STUCK" in os.environ:
            await asyncio.to_thread(time.sleep, 600)

    async def close(self) -> None:
        pass

    def poll_events(self) -> None:
        pass


def main(words: list[str]) -> int:
    """Take the words the client gives to Python: -I -m pyrt.cli VERB..."""
    words = words[words.index("pyrt.cli") + 1 :]
    if words[:1] != ["daemon"]:
        from pyrt import cli

        return cli.main(words)
    from pyrt.daemon.main import main as daemon

    return daemon(words[1:], factory=lambda _: FakeRuntime())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
