# SPDX-License-Identifier: Apache-2.0
"""How much a directory tree holds."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def tree_bytes(path: Path) -> int:
    """Return the sizes of all files below a directory together, each of several names counted once; blocks.

    Somebody else may be changing the tree: what goes away meanwhile, or cannot be reached, counts for nothing.
    """
    total = 0
    linked: set[tuple[int, int]] = set()
    waiting = [os.fspath(path)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append(entry.path)
                    elif stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) not in linked:
                        total += status.st_size
                        if status.st_nlink > 1:
                            linked.add((status.st_dev, status.st_ino))
        except OSError:
            continue
    return total
