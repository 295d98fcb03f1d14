# SPDX-License-Identifier: Apache-2.0
"""Image: a configuration and the layers it names. Its id is the sha256 of the configuration's bytes.

The bytes are JSON as in the OCI image format, in canonical form (keys sorted, no spaces), with the keys `parent` and
`comment` of Docker's added. What has been loaded has been verified against its id.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pyrt.errors import ImageError

MAX_CONFIGURATION_BYTES = 8 << 20
_ID = re.compile(r"[0-9a-f]{16,64}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def valid_id(text: str) -> bool:
    """Tell whether this may be an image's id or a long part of one; nothing else is ever used in a path."""
    return _ID.fullmatch(text) is not None


def valid_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Image:
    """One image. `config` is the OCI `config` object (Cmd, Env, ...); `layers` the diff_ids in hex, lowest first."""

    id: str
    architecture: str
    os: str
    created: str
    parent: str
    comment: str
    layers: tuple[str, ...]
    is_host: bool = False
    config: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    history: tuple[Mapping[str, Any], ...] = field(default=(), compare=False, repr=False)
    document: bytes = field(default=b"", compare=False, repr=False)

    @property
    def short_id(self) -> str:
        return self.id[:16]

    @property
    def created_seconds(self) -> float | None:
        """When it was made, in seconds since the epoch; None when that is not known, or has no meaning (`host`)."""
        return None if self.is_host else parse_time(self.created)

    @property
    def command(self) -> tuple[str, ...]:
        return tuple(self.config.get("Cmd") or ())

    @property
    def entrypoint(self) -> tuple[str, ...]:
        return tuple(self.config.get("Entrypoint") or ())

    @property
    def environment(self) -> tuple[str, ...]:
        return tuple(self.config.get("Env") or ())

    @property
    def working_directory(self) -> str:
        return self.config.get("WorkingDir") or "/"

    @property
    def user(self) -> str:
        return self.config.get("User") or ""

    @classmethod
    def create(
        cls,
        layers: tuple[str, ...],
        *,
        config: Mapping[str, Any] | None = None,
        parent: str = "",
        comment: str = "",
        author: str = "",
        created: str | None = None,
        history: tuple[Mapping[str, Any], ...] = (),
    ) -> Image:
        """Describe a new image of these layers, made for this machine's kind."""
        return cls.from_document(
            canonical(
                {
                    "architecture": architecture(),
                    "os": "linux",
                    "created": created if created is not None else format_time(time.time()),
                    "config": dict(config or {}),
                    "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}" for layer in layers]},
                    "history": [dict(entry) for entry in history],
                    "parent": parent,
                    "comment": comment,
                    **({"author": author} if author else {}),
                }
            )
        )

    @classmethod
    def from_document(cls, document: bytes, *, id: str | None = None) -> Image:
        """Read a configuration; with `id`, refuse one that does not have it. Raises ImageError."""
        actual = hashlib.sha256(document).hexdigest()
        if id is not None and id != actual:
            raise ImageError(f"the configuration of image {id[:16]} has been changed: its sha256 is {actual[:16]}...")
        if len(document) > MAX_CONFIGURATION_BYTES:
            raise ImageError(f"an image's configuration has {len(document)} bytes, too many")
        try:
            fields = json.loads(document)
        except (ValueError, RecursionError) as error:
            raise ImageError(f"an image's configuration is not JSON: {error}") from error
        return _from_fields(actual, document, fields)


def _from_fields(id: str, document: bytes, fields: object) -> Image:
    if not isinstance(fields, dict):
        raise ImageError("an image's configuration is not a JSON object")
    rootfs = _typed(fields, "rootfs", dict)
    config = _typed(fields, "config", dict)
    history = _typed(fields, "history", list)
    parent = _typed(fields, "parent", str)
    if parent and not valid_id(parent):
        raise ImageError("an image's configuration names an impossible parent")
    for name in ("Cmd", "Entrypoint", "Env"):
        if not all(isinstance(word, str) for word in _typed(config, name, list)):
            raise ImageError(f"'{name}' in an image's configuration is not a list of strings")
    for name in ("WorkingDir", "User"):
        _typed(config, name, str)
    if not all(isinstance(entry, dict) for entry in history):
        raise ImageError("'history' in an image's configuration is not a list of objects")
    return Image(
        id=id,
        architecture=_typed(fields, "architecture", str),
        os=_typed(fields, "os", str),
        created=_typed(fields, "created", str),
        parent=parent,
        comment=_typed(fields, "comment", str),
        layers=_layers(rootfs),
        is_host=rootfs.get("type") == "host",
        config=MappingProxyType(config),
        history=tuple(MappingProxyType(entry) for entry in history),
        document=document,
    )


def _layers(rootfs: dict[str, Any]) -> tuple[str, ...]:
    layers = []
    for text in _typed(rootfs, "diff_ids", list):
        algorithm, _, digest = text.partition(":") if isinstance(text, str) else ("", "", "")
        if algorithm != "sha256" or not valid_digest(digest):
            raise ImageError("an image's configuration names an impossible layer")
        layers.append(digest)
    return tuple(layers)


def _typed(fields: dict[str, Any], name: str, kind: type) -> Any:
    """Return a field that must have this type; one that is missing or null is an empty one."""
    value = fields.get(name)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise ImageError(f"'{name}' in an image's configuration is not a {kind.__name__}")
    return value


def canonical(fields: Mapping[str, Any]) -> bytes:
    """Write JSON so that equal content has equal bytes."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")


def architecture() -> str:
    """Name this machine's architecture as images do."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def format_time(seconds: float) -> str:
    """Write a time as images do: RFC 3339, UTC, microseconds."""
    whole, part = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{part:06d}Z"


def parse_time(text: str) -> float | None:
    """Read an RFC 3339 time; None when it is none. Digits behind the microseconds are dropped."""
    import datetime

    trimmed = re.sub(r"(\.\d{6})\d+", r"\1", text)
    try:
        moment = datetime.datetime.fromisoformat(trimmed)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.timestamp()
