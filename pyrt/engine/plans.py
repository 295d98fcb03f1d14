# SPDX-License-Identifier: Apache-2.0
"""From a LaunchSpec to what pyrt-init reads: the root, what is mounted into it, and the process that runs there."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pyrt.core import namespaces
from pyrt.core.namespaces import Plan
from pyrt.engine.spec import LaunchSpec, Root


def make_plan(spec: LaunchSpec) -> Plan:
    """The whole of a container, for an init that does everything itself."""
    plan = Plan().hostname(spec.hostname)
    add_root(plan, spec.root)
    if spec.root.readonly:
        plan.readonly()
    if spec.network.mode == "bridge":
        plan.address(spec.network.address, spec.network.prefix_length, spec.network.gateway)
    add_mounts(plan, spec)
    add_process(plan, spec)
    return plan


def add_root(plan: Plan, root: Root, *, mask_path: str = namespaces.MASK_PATH) -> None:
    """The overlay. `mask_path` is where the init makes the layer that hides parts of the host's root."""
    lower = [_escape(path) for path in root.lower]
    if root.mask:
        for path, mode, uid, gid in root.mask:
            plan.mask(path, mode=mode, uid=uid, gid=gid)
        lower.insert(0, mask_path)
    options = f"lowerdir={':'.join(lower)},upperdir={_escape(root.upper)},workdir={_escape(root.work)}"
    plan.overlay(root.directory, options + (",volatile" if root.volatile else ""))


def _escape(path: str) -> str:
    """Overlay's options are separated by commas, lower directories by colons; both may occur in a path."""
    return path.replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")


def add_mounts(plan: Plan, spec: LaunchSpec) -> None:
    for volume in spec.volumes:
        plan.volume(volume.source, volume.target, readonly=volume.readonly)
    for target, content in spec.files:
        plan.file(target, content.encode("utf-8", "surrogateescape"))


def add_process(plan: Plan, spec: LaunchSpec) -> None:
    """The program, who it runs as and where, what it may do, and its standard streams."""
    plan.argv(spec.argv).env(spec.env).cwd(spec.cwd).capabilities(spec.capabilities)
    if spec.user:
        plan.user(spec.user)
    if spec.no_new_privileges:
        plan.no_new_privileges()
    if spec.seccomp_path:
        plan.seccomp(_seccomp_program(spec.seccomp_path))
    if spec.tty:
        plan.terminal(spec.rows, spec.columns)
    else:
        plan.stdio(stdin=spec.stdin)


@lru_cache(maxsize=32)
def _seccomp_program(path: str) -> bytes:
    return Path(path).read_bytes()
