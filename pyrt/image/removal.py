# SPDX-License-Identifier: Apache-2.0
"""Removing a directory tree that somebody else filled: of any depth, with any names, with links anywhere."""

from __future__ import annotations

import os
from pathlib import Path

from pyrt.core._namespaces import lib

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path) -> None:
    """Remove the directory at `path` and everything in it, or the single file. Nothing there is no error.

    An ordinary tree is removed in C. In one too deep for that neither recursion nor a path below `path` is used: every
    directory found is first moved up to `path` itself and emptied there, so a tree nested a hundred thousand deep,
    which no path can name, costs what a flat one does. Nobody else may be working in the tree.
    """
    parent_fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if lib.pyrt_remove_tree(parent_fd, os.fsencode(path.name)) == 0:
            return
        try:
            top_fd = os.open(path.name, _DIRECTORY, dir_fd=parent_fd)
        except FileNotFoundError:
            return
        except OSError:  # ENOTDIR, or ELOOP for a symbolic link: not a directory
            os.unlink(path.name, dir_fd=parent_fd)
            return
        try:
            _empty(top_fd)
        finally:
            os.close(top_fd)
        os.rmdir(path.name, dir_fd=parent_fd)
    finally:
        os.close(parent_fd)


def _empty(top_fd: int) -> None:
    count = 0
    while directories := _sweep(top_fd):
        for name in directories:
            fd = os.open(name, _DIRECTORY, dir_fd=top_fd)
            try:
                for child in _sweep(fd):
                    count = _free_number(top_fd, count + 1)
                    os.rename(child, str(count), src_dir_fd=fd, dst_dir_fd=top_fd)
            finally:
                os.close(fd)
            os.rmdir(name, dir_fd=top_fd)


def _sweep(fd: int) -> list[str]:
    """Remove all that is no directory; return the directories' names."""
    directories = []
    with os.scandir(fd) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                directories.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=fd)
    return directories


def _free_number(fd: int, number: int) -> int:
    """Return the first number from `number` on that is no name in fd; the tree may itself hold names like that."""
    while True:
        try:
            os.stat(str(number), dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return number
        number += 1
