# SPDX-License-Identifier: Apache-2.0
"""What an engine is asked to start: everything decided, nothing left to look up but the image's own user names.

A spec travels to the supervisor as JSON: `json.dumps(spec, default=fields)`, and back by `LaunchSpec.from_json`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pyrt.engine.limits import Limits


def fields(record: Any) -> dict[str, Any]:
    """Return a slotted dataclass as a dictionary, one level deep: what json.dumps wants as its `default`.

    (dataclasses.asdict copies every value, which takes ten times as long.)
    """
    return {name: getattr(record, name) for name in record.__slots__}


@dataclass(frozen=True, slots=True)
class Root:
    """The container's root file system: an overlay of image layers below a directory of its own.

    `lower` are the layers, topmost first; relative ones start at `directory`. `mask` hides parts of them: entries of
    (path, mode, uid, gid), parents first, mode 0 for what is to be hidden. `base` is a directory below all layers that
    has places for what is mounted; it is of no image, and neither `diff` nor `commit` know it.
    """

    directory: str
    lower: tuple[str, ...]
    upper: str
    work: str
    mask: tuple[tuple[str, int, int, int], ...] = ()
    base: str = ""
    volatile: bool = False
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class Network:
    """`mode` is bridge, none or host; the rest is for bridge only."""

    mode: str = "none"
    bridge_index: int = 0
    address: str = ""
    prefix_length: int = 0
    gateway: str = ""
    mtu: int = 0


@dataclass(frozen=True, slots=True)
class Volume:
    source: str
    target: str
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class ExecSpec:
    """One more program for a container that runs. `detached`: it has the null device for all three streams."""

    argv: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: str
    capabilities: int
    seccomp_path: str
    no_new_privileges: bool
    tty: bool = False
    rows: int = 24
    columns: int = 80
    stdin: bool = False
    detached: bool = False


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """One container, ready to start. Times in seconds, sizes in bytes; `capabilities` is a bit mask.

    `directory` is the container's own, where an engine may keep what it makes for it.
    """

    id: str
    root: Root
    argv: tuple[str, ...]
    env: tuple[str, ...]
    hostname: str
    cwd: str = "/"
    user: str = ""
    network: Network = field(default_factory=Network)
    volumes: tuple[Volume, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    limits: Limits = field(default_factory=Limits)
    capabilities: int = 0
    seccomp_path: str = ""
    no_new_privileges: bool = False
    privileged: bool = False
    tty: bool = False
    rows: int = 24
    columns: int = 80
    stdin: bool = False
    engine: str = "native"
    directory: str = ""

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LaunchSpec:
        """Rebuild a spec from its JSON. The sender is pyrt itself: a missing field is a bug, not bad input."""
        root = data["root"]
        return cls(
            **{
                **data,
                "root": Root(**{**root, "lower": tuple(root["lower"]), "mask": tuple(map(tuple, root["mask"]))}),
                "argv": tuple(data["argv"]),
                "env": tuple(data["env"]),
                "network": Network(**data["network"]),
                "volumes": tuple(Volume(**volume) for volume in data["volumes"]),
                "files": tuple((target, content) for target, content in data["files"]),
                "limits": Limits(**data["limits"]),
            }
        )
