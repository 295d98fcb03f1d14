# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import array
import fcntl
import os
import subprocess
from pathlib import Path

from pyrt.container.spread import FS_IOC_GETFLAGS, FS_TOPDIR_FL, spread


def test_asked_for_where_the_file_system_can(tmp_path: Path) -> None:
    spread(tmp_path)
    spread(tmp_path)
    kind = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True).stdout
    if kind == "ext2/ext3\n":
        fd = os.open(tmp_path, os.O_RDONLY)
        flags = array.array("i", [0])
        fcntl.ioctl(fd, FS_IOC_GETFLAGS, flags)
        os.close(fd)
        assert flags[0] & FS_TOPDIR_FL


def test_nothing_happens_where_it_cannot() -> None:
    spread(Path("/proc"))
