# SPDX-License-Identifier: Apache-2.0
"""Graph: the images of one root, as files images/<id>.json, and how they descend from each other."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pyrt.durable import sync_directory, write_durably
from pyrt.errors import ConflictError, ImageError, NotFoundError
from pyrt.image.archive import MAX_BYTES, MAX_ENTRIES
from pyrt.image.host import host_image
from pyrt.image.image import MAX_CONFIGURATION_BYTES, Image, format_time, valid_digest, valid_id
from pyrt.image.layers import Layer, LayerStore
from pyrt.image.removal import remove_tree


class Graph:
    """All images, and the layers they are made of. Thread-safe.

    `damaged` maps the ids of images that could not be loaded to the reason. They are left on the disk, are not to be
    used, and can be deleted; as long as there are any no layer is removed, since it might be one of theirs.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = root / "images"
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self.layers = LayerStore(root)
        self.damaged: dict[str, str] = {}
        self._images: dict[str, Image] = {}
        self._lock = threading.RLock()
        self._load()

    def _load(self) -> None:
        for name in sorted(os.listdir(self._directory)):
            id, suffix = os.path.splitext(name)
            if suffix != ".json" or not valid_digest(id):
                if name.startswith("."):  # of a write that was interrupted
                    remove_tree(self._directory / name)
                continue
            try:
                image = Image.from_document(_read(self._directory / name), id=id)
                self._require_layers(image)
            except (ImageError, OSError) as error:
                self.damaged[id] = str(error)
            else:
                self._images[id] = image

    def _require_layers(self, image: Image) -> None:
        if image.is_host:
            raise ImageError("the image 'host' is built in and is not stored")
        for diff_id in image.layers:
            if diff_id not in self.layers:
                raise ImageError(f"layer {diff_id[:16]} of image {image.short_id} is missing or damaged")

    def create(
        self,
        chunks: Iterable[bytes],
        *,
        parent: Image | None = None,
        config: Mapping[str, Any] | None = None,
        comment: str = "",
        author: str = "",
        created_by: str = "",
        max_bytes: int = MAX_BYTES,
        max_entries: int = MAX_ENTRIES,
    ) -> Image:
        """Make an image of an archive, on top of `parent` if given; blocks until it is on the disk.

        Raises ImageError for an archive that is refused, and what `chunks` raises; then nothing is left of it.
        """
        added: Layer | None = None
        try:
            with self.layers.added(chunks, max_bytes=max_bytes, max_entries=max_entries) as added:
                created = format_time(time.time())
                step = {"created": created, "created_by": created_by, "author": author, "comment": comment}
                image = Image.create(
                    (*(parent.layers if parent else ()), added.diff_id),
                    config=config if config is not None or parent is None else parent.config,
                    parent=parent.id if parent else "",
                    comment=comment,
                    author=author,
                    created=created,
                    history=(*(parent.history if parent else ()), {key: text for key, text in step.items() if text}),
                )
                return self.register(image)
        except BaseException:
            if added is not None:
                self._remove_unused([added.diff_id])
            raise

    def register(self, image: Image) -> Image:
        """Store an image whose layers are there, durably. One that is stored already is returned as it is."""
        with self._lock:
            if image.id in self._images:
                return self._images[image.id]
            self._require_layers(image)
            write_durably(self._directory / f"{image.id}.json", image.document)
            self.damaged.pop(image.id, None)
            self._images[image.id] = image
            return image

    def get(self, id: str) -> Image:
        """Return the image with this id, or the only one whose id begins so.

        Raises NotFoundError, ConflictError when several begin so.
        """
        with self._lock:
            known = {**self._images, host_image().id: host_image()}
        if id in known:
            return known[id]
        matches = [image for full, image in known.items() if id and full.startswith(id)]
        if len(matches) > 1:
            raise ConflictError(f"{id} is the beginning of {len(matches)} images' ids; give more of it")
        if not matches:
            raise NotFoundError(f"No such image: {id[:200]}")
        return matches[0]

    def exists(self, id: str) -> bool:
        """Tell whether there is an image with this full id."""
        with self._lock:
            return id in self._images or id == host_image().id

    def delete(self, id: str) -> None:
        """Delete the image with this full id, damaged or not, and the layers that no other image names.

        Raises NotFoundError; ConflictError for `host`.
        """
        if id == host_image().id:
            raise ConflictError("the image 'host' is the machine itself and cannot be deleted")
        with self._lock:
            if not valid_id(id) or (id not in self._images and id not in self.damaged):
                raise NotFoundError(f"No such image: {id[:200]}")
            remove_tree(self._directory / f"{id}.json")  # a damaged one may be anything
            sync_directory(self._directory)
            self.damaged.pop(id, None)
            image = self._images.pop(id, None)
        if image is not None:
            self._remove_unused(image.layers)

    def collect(self, keep: Iterable[str] = ()) -> list[str]:
        """Remove the layers no image names, as a crash can leave them, except those in `keep`; return their ids."""
        kept = set(keep)
        return self._remove_unused(diff_id for diff_id in self.layers.all() if diff_id not in kept)

    def _remove_unused(self, diff_ids: Iterable[str]) -> list[str]:
        removed = {}
        for diff_id in diff_ids:
            with self._lock:  # until it is set aside: an image that is being registered has its layers pinned
                used = bool(self.damaged) or any(diff_id in image.layers for image in self._images.values())
                aside = None if used else self.layers.set_aside(diff_id)
            if aside is not None:
                removed[diff_id] = aside
        for path in removed.values():
            remove_tree(path)
        return list(removed)

    def map(self) -> dict[str, Image]:
        """Return all stored images by id; `host`, which is not stored, is not among them."""
        with self._lock:
            return dict(self._images)

    def all(self) -> list[Image]:
        """Return all stored images, the newest first."""
        return sorted(self.map().values(), key=lambda image: (image.created_seconds or 0.0, image.id), reverse=True)

    def by_parent(self) -> dict[str, list[Image]]:
        """Return the images that were made from each one, by its id."""
        children: dict[str, list[Image]] = {}
        for image in self.all():
            if image.parent:
                children.setdefault(image.parent, []).append(image)
        return children

    def heads(self) -> dict[str, Image]:
        """Return the images from which no other was made."""
        parents = self.by_parent()
        return {id: image for id, image in self.map().items() if id not in parents}

    def lower_dirs(self, image: Image) -> list[Path]:
        """Return the directories overlayfs is to be given as lower ones, the topmost first. For `host`: "/".

        Each once, as overlayfs demands: a layer further down that is also higher up adds nothing to what is seen.
        """
        if image.is_host:
            return [Path("/")]
        return [self.layers.get(diff_id).path for diff_id in dict.fromkeys(reversed(image.layers))]

    def size_bytes(self, image: Image) -> int:
        """Return how many bytes the image's layers hold together, shared ones included."""
        return sum(map(self.layers.size_bytes, image.layers))


def _read(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(MAX_CONFIGURATION_BYTES + 1)
