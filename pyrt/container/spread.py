# SPDX-License-Identifier: Apache-2.0
"""Where a file system puts the directories of containers: each somewhere else, for they are not related.

All in one place they get in each other's way. Without a journal ext4 gives no inode a second time for minutes
(recently_deleted in the kernel's fs/ext4/ialloc.c), and looks for a new one past all that were removed lately.
"""

from __future__ import annotations

import array
import fcntl
import os
from pathlib import Path

# <linux/fs.h>, where a long has 64 bits; what is read and written is an int all the same.
FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FS_TOPDIR_FL = 0x00020000  # chattr +T: ext4's top of unrelated directories; others refuse it, or keep it for themselves


def spread(directory: Path) -> None:
    """Ask for that for the directories in this one, those made from now on."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = array.array("i", [0])
        fcntl.ioctl(fd, FS_IOC_GETFLAGS, flags)
        if not flags[0] & FS_TOPDIR_FL:
            flags[0] |= FS_TOPDIR_FL
            fcntl.ioctl(fd, FS_IOC_SETFLAGS, flags)
    except OSError:  # it is not necessary for anything
        pass
    finally:
        os.close(fd)
