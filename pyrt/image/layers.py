# SPDX-License-Identifier: Apache-2.0
"""LayerStore: the layers on the disk, each once, under the sha256 of its uncompressed archive.

    layers/<diff_id>/diff/       the tree, as overlayfs takes it for a lower directory
    layers/<diff_id>/layer.json  entries, bytes
    tmp/                         layers being made or removed; swept at start

A layer is made in tmp/, put on the disk, and then renamed: under layers/ there are only whole ones.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyrt.durable import sync_directory, write_durably
from pyrt.errors import ImageError, NotFoundError
from pyrt.image.archive import MAX_BYTES, MAX_ENTRIES, Unpacked, unpack
from pyrt.image.image import canonical, valid_digest
from pyrt.image.removal import remove_tree


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that is there. `path` is its tree."""

    diff_id: str
    path: Path


class LayerStore:
    """The layers below one root. Thread-safe; one process owns a root at a time."""

    def __init__(self, root: Path) -> None:
        self._layers = root / "layers"
        self._tmp = root / "tmp"
        self._lock = threading.Lock()
        self._pinned: Counter[str] = Counter()
        self._sizes: dict[str, int] = {}  # of layers, by their diff_id: it says all about the content
        for directory in (self._layers, self._tmp):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.sweep()

    def sweep(self) -> None:
        """Remove what an interrupted process left in tmp/. Nothing may be in the making."""
        for name in os.listdir(self._tmp):
            remove_tree(self._tmp / name)

    @contextmanager
    def added(
        self, chunks: Iterable[bytes], *, max_bytes: int = MAX_BYTES, max_entries: int = MAX_ENTRIES
    ) -> Iterator[Layer]:
        """Unpack an archive as a layer, durably, or find that it is there already; blocks.

        Inside the `with` nobody removes the layer; by its end an image should name it. Raises ImageError, and then
        nothing is left behind.
        """
        making = Path(tempfile.mkdtemp(prefix="layer-", dir=self._tmp))
        try:
            (making / "diff").mkdir(mode=0o755)
            os.chmod(making / "diff", 0o755)  # a container's root, unless the archive says otherwise
            unpacked = unpack(chunks, making / "diff", max_bytes=max_bytes, max_entries=max_entries, sync=True)
            layer = self._commit(making, unpacked)
        finally:
            remove_tree(making)
        try:
            yield layer
        finally:
            with self._lock:
                self._pinned[layer.diff_id] -= 1
                self._pinned += Counter()  # forget those at zero

    def _commit(self, making: Path, unpacked: Unpacked) -> Layer:
        """Give a finished layer its name; it is pinned then. The same one made before wins."""
        final = self._layers / unpacked.diff_id
        record = {"diff_id": unpacked.diff_id, "entries": unpacked.entries, "bytes": unpacked.bytes}
        write_durably(making / "layer.json", canonical(record))
        with self._lock:
            if not self._whole(final):
                if final.exists():  # a damaged one
                    os.rename(final, self._tmp / f"damaged-{os.urandom(8).hex()}")
                os.rename(making, final)
                sync_directory(self._layers)
            self._pinned[unpacked.diff_id] += 1
        return Layer(unpacked.diff_id, final / "diff")

    @staticmethod
    def _whole(path: Path) -> bool:
        return os.path.isdir(f"{path}/diff") and os.path.isfile(f"{path}/layer.json")

    def __contains__(self, diff_id: str) -> bool:
        return valid_digest(diff_id) and self._whole(self._layers / diff_id)

    def get(self, diff_id: str) -> Layer:
        """Return a layer. Raises NotFoundError."""
        if diff_id not in self:
            raise NotFoundError(f"No such layer: {diff_id[:80]}")
        return Layer(diff_id, self._layers / diff_id / "diff")

    def size_bytes(self, diff_id: str) -> int:
        """Return how many bytes the files of a layer hold, as counted when it was made; 0 when that is not known."""
        if diff_id not in self._sizes:
            try:
                size = json.loads((self._layers / diff_id / "layer.json").read_bytes())["bytes"]
            except (OSError, ValueError, KeyError, TypeError):
                size = 0
            self._sizes[diff_id] = size if isinstance(size, int) else 0
        return self._sizes[diff_id]

    def all(self) -> list[str]:
        """Return the diff_ids of all layers, sorted."""
        return sorted(name for name in os.listdir(self._layers) if valid_digest(name))

    def set_aside(self, diff_id: str) -> Path | None:
        """Take away a layer that no image names any more: gone at once and wholly, also after a crash.

        Returns the directory it is in now, for the caller to remove; None where there is nothing to take, or while
        somebody is adding the same one.
        """
        if not valid_digest(diff_id):
            raise ImageError("an impossible layer was to be removed")
        aside = self._tmp / f"removed-{diff_id[:16]}-{os.urandom(8).hex()}"
        with self._lock:
            if self._pinned[diff_id]:
                return None
            try:
                os.rename(self._layers / diff_id, aside)
            except FileNotFoundError:
                return None
            sync_directory(self._layers)
        return aside
