# SPDX-License-Identifier: Apache-2.0
"""Reads seccomp profiles in docker's JSON format (which podman, containerd and Kubernetes share), for
--security-opt seccomp=FILE."""

from __future__ import annotations

import errno
import json
import re
from typing import Any

from pyrt.engine.seccomp_profile import NUMBERS, NUMBERS_X86_64
from pyrt.engine.seccomp_rules import ARCHITECTURES, Action, Compare, Profile, Rule
from pyrt.errors import UsageError

_ACTIONS = ("ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "TRACE", "TRAP")
_COMPARISONS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
_SECONDARY = {"x86_64": ("SCMP_ARCH_X86", "SCMP_ARCH_X32"), "aarch64": ("SCMP_ARCH_ARM",)}
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}  # what the format calls them
_LETS_THROUGH = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")


class ProfileError(UsageError):
    """A seccomp profile that cannot be used; the text says where in it."""

    def __init__(self, place: str, text: str) -> None:
        super().__init__(f"seccomp profile: {place}: {text}" if place else f"seccomp profile: {text}")


def read_profile(text: str, *, capabilities: frozenset[str], machine: str, kernel: str) -> Profile:
    """Return the Profile that `text` describes for a container with these capabilities, on this machine and kernel.

    Keys that we do not know, "comment" and "flags" among them, are ignored, as are system calls that nobody here knows.
    Raises ProfileError.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ProfileError("", f"it is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ProfileError("", "it must be a JSON object")
    default = _action(document, "defaultAction", "defaultErrnoRet", "")
    rules: list[Rule] = []
    mentioned: list[str] = []
    for number, entry in enumerate(_list(document, "syscalls", "")):
        place = f"syscalls[{number}]"
        if not isinstance(entry, dict):
            raise ProfileError(place, "it must be an object")
        names = _names(entry, place)
        mentioned += names
        action = _action(entry, "action", "errnoRet", place)
        compare = _comparisons(entry, place)
        if _applies(entry, place, capabilities, machine, kernel):
            rules += _rules(tuple(names), action, compare)
    # As runc does it: a profile that forbids by default cannot have meant the calls that are newer than itself.
    absent = default.name not in _LETS_THROUGH and default.value != errno.ENOSYS
    numbers = NUMBERS | (NUMBERS_X86_64 if machine == "x86_64" else {})
    return Profile(
        default=default,
        architectures=_architectures(document, machine),
        rules=tuple(rules),
        numbers=tuple(numbers.items()),
        absent=absent and bool(mentioned),
        named_only=True,
        mentioned=tuple(mentioned),
    )


def _rules(names: tuple[str, ...], action: Action, compare: list[Compare]) -> list[Rule]:
    """Comparisons of several arguments must all hold; several of one argument are alternatives, as in runc."""
    if len({comparison.index for comparison in compare}) < len(compare):
        return [Rule(names, action, (comparison,)) for comparison in compare]
    return [Rule(names, action, tuple(compare))]


def _architectures(document: dict[str, Any], machine: str) -> tuple[str, ...]:
    own = ARCHITECTURES[machine][0]
    listed, mapped = _list(document, "architectures", ""), _list(document, "archMap", "")
    if listed and mapped:
        raise ProfileError("", 'use either "architectures" or "archMap"')
    for number, entry in enumerate(mapped):
        if not isinstance(entry, dict):
            raise ProfileError(f"archMap[{number}]", "it must be an object")
        if entry.get("architecture") == own:
            listed = [own, *_list(entry, "subArchitectures", f"archMap[{number}]")]
    for name in listed:
        if not isinstance(name, str) or not re.fullmatch(r"SCMP_ARCH_\w+", name):
            raise ProfileError("architectures", f"{name!r} is not the name of an architecture")
    # This machine's own first, whether listed or not; those of other machines can never run here.
    return (own, *(name for name in _SECONDARY[machine] if name in listed))


def _applies(entry: dict[str, Any], place: str, capabilities: frozenset[str], machine: str, kernel: str) -> bool:
    """Decide by "includes" (all must hold) and "excludes" (none may)."""
    includes, excludes = (entry.get(key) or {} for key in ("includes", "excludes"))
    for key, conditions in (("includes", includes), ("excludes", excludes)):
        if not isinstance(conditions, dict):
            raise ProfileError(f"{place}.{key}", "it must be an object")
    arch = _MACHINES[machine]
    least, most = includes.get("minKernel"), excludes.get("minKernel")
    if least and not _reaches(kernel, least, place) or most and _reaches(kernel, most, place):
        return False
    arches = _list(includes, "arches", place)
    if arches and arch not in arches or arch in _list(excludes, "arches", place):
        return False
    return capabilities.issuperset(_list(includes, "caps", place)) and capabilities.isdisjoint(
        _list(excludes, "caps", place)
    )


def _reaches(kernel: str, least: object, place: str) -> bool:
    match = re.match(r"(\d+)\.(\d+)", least) if isinstance(least, str) else None
    here = re.match(r"(\d+)\.(\d+)", kernel)
    if match is None:
        raise ProfileError(place, f"minKernel {least!r} is not a kernel version like 4.8")
    return here is not None and (int(here[1]), int(here[2])) >= (int(match[1]), int(match[2]))


def _names(entry: dict[str, Any], place: str) -> list[str]:
    names = _list(entry, "names", place)
    if "name" in entry:  # the format before docker 1.12
        if names:
            raise ProfileError(place, 'use either "name" or "names"')
        names = [entry["name"]]
    if not names:
        raise ProfileError(place, 'there are no "names"')
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"\w+", name, re.ASCII):
            raise ProfileError(place, f"{name!r} cannot be the name of a system call")
    return names


def _action(holder: dict[str, Any], key: str, value_key: str, place: str) -> Action:
    name = holder.get(key)
    if name == "SCMP_ACT_NOTIFY":
        raise ProfileError(place, f"{key} SCMP_ACT_NOTIFY needs an agent to ask, and pyrt has none")
    if not isinstance(name, str) or name.removeprefix("SCMP_ACT_") not in _ACTIONS or name in _ACTIONS:
        raise ProfileError(place, f"{key} {name!r} is not one of SCMP_ACT_{', SCMP_ACT_'.join(_ACTIONS)}")
    value = holder.get(value_key)
    if name not in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        return Action(name)
    return Action(name, errno.EPERM if value is None else _number(value, place, value_key, 4095))


def _comparisons(entry: dict[str, Any], place: str) -> list[Compare]:
    comparisons = []
    for number, argument in enumerate(_list(entry, "args", place)):
        where = f"{place}.args[{number}]"
        if not isinstance(argument, dict):
            raise ProfileError(where, "it must be an object")
        op = argument.get("op")
        if not isinstance(op, str) or op not in {f"SCMP_CMP_{short}" for short in _COMPARISONS}:
            raise ProfileError(where, f"op {op!r} is not one of SCMP_CMP_{', SCMP_CMP_'.join(_COMPARISONS)}")
        value, second = (_number(argument.get(key) or 0, where, key, 2**64 - 1) for key in ("value", "valueTwo"))
        comparisons.append(Compare(_number(argument.get("index"), where, "index", 5), op, value, second))
    return comparisons


def _number(value: object, place: str, key: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ProfileError(place, f"{key} must be a whole number from 0 to {most}")
    return value


def _list(holder: dict[str, Any], key: str, place: str) -> list[Any]:
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ProfileError(f"{place}.{key}" if place else key, "it must be a list")
    return value
