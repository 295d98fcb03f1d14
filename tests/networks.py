# SPDX-License-Identifier: Apache-2.0
"""A network namespace without a name: `ip netns add` would leave a mount at /run/netns on a machine that had none."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def network() -> Iterator[Path]:
    """A namespace in which lo is up, as a file for setns(2) and `nsenter --net=`."""
    hold = ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec cat"]
    with subprocess.Popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin and holder.stdout and holder.stdout.readline() == b"up\n"
        yield Path(f"/proc/{holder.pid}/ns/net")
        holder.stdin.close()


def run_in(netns: Path, *command: str) -> None:
    """Run a command in a network namespace; it must succeed."""
    subprocess.run(["nsenter", f"--net={netns}", *command], check=True)
