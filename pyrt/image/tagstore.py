# SPDX-License-Identifier: Apache-2.0
"""TagStore: the names of images, in one file tags.json: {"Repositories": {name: {tag: id}}}."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from pathlib import Path

from pyrt.durable import set_aside, write_durably
from pyrt.errors import ConflictError, ImageError, NotFoundError, UsageError
from pyrt.image import host
from pyrt.image.graph import Graph
from pyrt.image.image import Image, valid_digest

DEFAULT_TAG = "latest"
_MAX_NAME = 255
_MAX_FILE_BYTES = 64 << 20
_PLAIN = re.compile(r"[A-Za-z0-9_.+-]+", re.ASCII)
_Repositories = dict[str, dict[str, str]]


class TagStore:
    """Repositories and tags. Thread-safe; every change is on the disk before the method returns.

    What cannot be read is set aside as tags.json.damaged, and `damaged` says why: the images stay usable by id.
    """

    def __init__(self, path: Path, graph: Graph) -> None:
        self._path = path
        self._graph = graph
        self._lock = threading.RLock()
        self.damaged = ""
        self._repositories = self._load()

    def _load(self) -> _Repositories:
        try:
            with open(self._path, "rb") as file:
                return _parse(file.read(_MAX_FILE_BYTES + 1))
        except FileNotFoundError:
            return {}
        except ImageError as error:
            self.damaged = str(error)
        except OSError as error:
            self.damaged = f"tags.json is damaged: {error.strerror}"
        set_aside(self._path)
        return {}

    def _save(self, repositories: _Repositories) -> None:
        text = json.dumps({"Repositories": repositories}, sort_keys=True, indent=1)
        write_durably(self._path, text.encode("ascii"))
        self._repositories = repositories

    def _copy(self) -> _Repositories:
        return {name: dict(tags) for name, tags in self._repositories.items()}

    @property
    def repositories(self) -> _Repositories:
        """All names, the built-in `host` included, as a copy."""
        with self._lock:
            return {**self._copy(), host.NAME: {DEFAULT_TAG: host.host_image().id}}

    def get(self, repository: str) -> dict[str, str]:
        """Return a repository's tags with their images' ids, as a copy; empty if there is no such repository."""
        if repository == host.NAME:
            return {DEFAULT_TAG: host.host_image().id}
        with self._lock:
            return dict(self._repositories.get(repository, {}))

    def get_image(self, repository: str, tag: str = DEFAULT_TAG) -> Image | None:
        """Return the image of this name, or None."""
        id = self.get(repository).get(tag)
        return self._graph.get(id) if id is not None and self._graph.exists(id) else None

    def set(self, repository: str, tag: str, id: str, *, force: bool = False) -> None:
        """Give an image a name. Raises ConflictError, unless forced, where another image has it."""
        validate(repository, tag)
        image = self._graph.get(id)
        with self._lock:
            present = self._repositories.get(repository, {}).get(tag)
            if present == image.id:
                return
            if present is not None and not force:
                raise ConflictError(f"{repository}:{tag} is image {present[:16]} already; use -f to move it")
            repositories = self._copy()
            repositories.setdefault(repository, {})[tag] = image.id
            self._save(repositories)

    def delete(self, repository: str, tag: str = DEFAULT_TAG) -> None:
        """Take a name away. Raises NotFoundError."""
        if repository == host.NAME:
            raise ConflictError("the image 'host' is the machine itself and cannot be deleted")
        with self._lock:
            repositories = self._copy()
            if repositories.get(repository, {}).pop(tag, None) is None:
                raise NotFoundError(f"No such image: {repository}:{tag}")
            if not repositories[repository]:
                del repositories[repository]
            self._save(repositories)

    def delete_all(self, id: str) -> None:
        """Take away every name of an image."""
        with self._lock:
            left = {
                name: {tag: other for tag, other in tags.items() if other != id}
                for name, tags in self._repositories.items()
            }
            left = {name: tags for name, tags in left.items() if tags}
            if left != self._repositories:
                self._save(left)

    def find(self, name: str) -> tuple[str, str] | None:
        """Return the repository and tag that `name` or `name:tag` stands for, or None if it is not a known name."""
        repository, colon, tag = name.partition(":")
        tag = tag if colon else DEFAULT_TAG
        return (repository, tag) if tag in self.get(repository) else None

    def lookup_image(self, name: str) -> Image:
        """Return the image with this full id, this name, name:tag, or the only one whose id begins so.

        Raises NotFoundError; ConflictError when several ids begin so; ImageError when the image is damaged.
        """
        if self._graph.exists(name):
            return self._graph.get(name)
        found = self.find(name)
        id = self.get(found[0])[found[1]] if found else name
        if id in self._graph.damaged:
            raise ImageError(f"image {name} cannot be used: {self._graph.damaged[id]}")
        try:
            return self._graph.get(id)
        except NotFoundError as error:
            raise NotFoundError(f"No such image: {name[:200]}") from error

    def by_id(self) -> dict[str, list[str]]:
        """Return every named image's names, as `name:tag`, sorted."""
        names: dict[str, list[str]] = {}
        for repository, tags in self.repositories.items():
            for tag, id in tags.items():
                names.setdefault(id, []).append(f"{repository}:{tag}")
        return {id: sorted(of_id) for id, of_id in names.items()}

    def image_name(self, id: str) -> str:
        """Return the first of an image's names, or its id if it has none."""
        return next(iter(self.by_id().get(id, ())), id)


def validate(repository: str, tag: str = DEFAULT_TAG) -> None:
    """Raise UsageError for a repository or tag no image can be given."""
    components = repository.split("/")
    if len(repository) > _MAX_NAME or not all(_PLAIN.fullmatch(c) and c.strip(".") for c in components):
        raise UsageError(f"Illegal repository name: {_shown(repository)}")
    if len(tag) > _MAX_NAME or not _PLAIN.fullmatch(tag):
        raise UsageError(f"Illegal tag name: {_shown(tag)}")
    if valid_digest(repository):
        raise UsageError(f"Illegal repository name: {repository} looks like an id")
    if repository == host.NAME:
        raise ConflictError("the name 'host' belongs to the built-in image; choose another one")


def _shown(name: str) -> str:
    short = name[:100]
    return short if short.isprintable() else ascii(short)


def _parse(data: bytes) -> _Repositories:
    if len(data) > _MAX_FILE_BYTES:
        raise ImageError(f"tags.json has more than {_MAX_FILE_BYTES} bytes")
    try:
        fields = json.loads(data)
        repositories = fields["Repositories"]
        result = {}
        for name, tags in repositories.items():
            result[name] = {tag: id for tag, id in tags.items() if valid_digest(id)}
            for tag in result[name]:
                with contextlib.suppress(ConflictError):
                    validate(name, tag)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError) as error:
        raise ImageError(f"tags.json is damaged: {error}") from error
    return {name: tags for name, tags in result.items() if name != host.NAME and tags}
