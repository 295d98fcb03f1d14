# SPDX-License-Identifier: Apache-2.0
"""What a user asked of a container, and what pyrt decided about it: config.json."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pyrt.engine.limits import Limits
from pyrt.engine.spec import Volume, fields
from pyrt.errors import PyrtError

SCHEMA = 2
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}")
LOG_DRIVERS = ("file", "none")
LOG_MAX_BYTES = 16 << 20
LOG_MAX_FILES = 5
MOST_SECONDS = 1e12  # no time and no number of anything is greater, and NaN is not smaller

_T = TypeVar("_T")


def verified(instance: _T) -> _T:
    """Return a dataclass instance whose fields are what their annotations say. Raises TypeError."""
    record: Any = type(instance)
    for name, kind in _annotations(record).items():
        if not _fits(value := getattr(instance, name), kind):
            raise TypeError(f"{name} cannot be {value!r:.80}")
    return instance


@cache
def _annotations(kind: Any) -> dict[str, Any]:
    """Evaluated once: it takes ten times as long as looking at the values, and a daemon reads a thousand records."""
    return get_type_hints(kind)


def _fits(value: object, kind: Any) -> bool:
    arguments = get_args(kind)
    if kind is Any:
        return True
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_fits(item, arguments[0]) for item in value)
    if get_origin(kind) is UnionType:
        return any(_fits(value, argument) for argument in arguments)
    if kind is float:
        return type(value) in (int, float) and abs(value) < MOST_SECONDS  # type: ignore[arg-type]
    return type(value) is (get_origin(kind) or kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A container's configuration. Sizes in bytes, times in seconds; names as in docker 0.1.0 where it had them."""

    image: str
    cmd: tuple[str, ...]
    hostname: str = ""
    user: str = ""
    env: tuple[str, ...] = ()
    working_dir: str = ""
    ports: tuple[str, ...] = ()
    volumes: tuple[Volume, ...] = ()
    network: str = "bridge"
    limits: Limits = Limits()
    detach: bool = False
    tty: bool = False
    open_stdin: bool = False
    auto_remove: bool = False
    readonly: bool = False
    timeout_s: float = 0
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    no_new_privileges: bool = False
    seccomp: str = ""  # "", "unconfined", or the text of a profile
    log_driver: str = "file"  # one of LOG_DRIVERS
    log_max_bytes: int = LOG_MAX_BYTES
    log_max_files: int = LOG_MAX_FILES
    engine: str = ""  # one of pyrt.engine.launch.ENGINES; "": what the daemon starts containers with

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Config:
        """Raises TypeError, KeyError, ValueError, AttributeError and UsageError for what `fields` did not make."""
        lists = {name: tuple(data[name]) for name in ("cmd", "env", "ports", "cap_add", "cap_drop")}
        if not all(isinstance(data[name], list) for name in lists):
            raise TypeError("a list is none")
        volumes = tuple(verified(Volume(**volume)) for volume in data["volumes"])
        limits = verified(Limits(**data["limits"]))
        return verified(cls(**{**data, **lists, "volumes": volumes, "limits": limits}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The whole of config.json: the configuration, and what pyrt decided when it made and last started the container.

    `run` names the latest start, whatever came of it: started.json and exit.json of that run bear the same word. ""
    is a container that was never started. `boot_id` and `network` are that run's.
    """

    id: str
    name: str
    created_at: float
    image_id: str
    image_name: str
    config: Config
    kept: bool = False  # made by `create`: it is there even if its first start comes to nothing
    run: str = ""
    boot_id: str = ""
    network: dict[str, Any] | None = None  # pyrt.network.allocation.Allocation.to_record()

    def dump(self) -> bytes:
        return json.dumps(fields(self) | {"schema": SCHEMA}, default=fields).encode()

    @classmethod
    def load(cls, data: bytes) -> Record:
        """Raises PyrtError for bytes that are not a record of this schema."""
        try:
            values = json.loads(data)
            schema = values.pop("schema")
            if schema != SCHEMA:
                raise PyrtError(f"config.json has schema {schema}, and this pyrt knows {SCHEMA}")
            values["config"] = Config.from_json(values["config"])
            return verified(cls(**values))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise PyrtError(f"config.json is damaged: {error!r}") from error
