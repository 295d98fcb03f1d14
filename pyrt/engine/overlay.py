# SPDX-License-Identifier: Apache-2.0
"""A Root as options of an overlay mount: for a start, and for the tools that look at a container's files."""

from __future__ import annotations

from collections.abc import Iterable

from pyrt.core.namespaces import MASK_PATH
from pyrt.engine.spec import Root

# What some kernels switch on by themselves. Renamed directories would be references to the layers below instead of
# copies, and files without their content would be in the upper layer: nothing an image's layer can say.
_PLAIN = ",redirect_dir=off,metacopy=off,index=off"


def start_options(root: Root, *, mask_path: str = MASK_PATH) -> str:
    """The container's own, writable root, as it is mounted at its start."""
    lower = _lower(root, below=_base(root), mask_path=mask_path)
    options = f"{lower},upperdir={_escape(root.upper)},workdir={_escape(root.work)}{_PLAIN}"
    return options + (",volatile" if root.volatile else "")


def view_options(root: Root) -> str:
    """The same root for one who only reads: its own layer is just the topmost one, and is not claimed.

    Above the host's root that is not possible: it lies within, and two lower directories must not contain each other.
    """
    return start_options(root) if root.mask else _lower(root, above=[root.upper], below=_base(root))


def below_options(root: Root) -> str:
    """What lies below the container's own layer. An overlay takes no single layer: the other one is empty."""
    return _lower(root, below=() if root.mask else [MASK_PATH])


def _base(root: Root) -> list[str]:
    return [_escape(root.base)] if root.base else []


def _lower(
    root: Root, *, above: Iterable[str] = (), below: Iterable[str] = (), mask_path: str = MASK_PATH
) -> str:
    layers = [*map(_escape, above), *([mask_path] if root.mask else []), *map(_escape, root.lower), *below]
    return "lowerdir=" + ":".join(layers)


def _escape(path: str) -> str:
    """Overlay's options are separated by commas, lower directories by colons; both may occur in a path."""
    return path.replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")
