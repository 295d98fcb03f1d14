# SPDX-License-Identifier: Apache-2.0
"""From a LaunchSpec to what pyrt-init reads: the root, what is mounted into it, and the program that runs there."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pyrt.core.namespaces import MASK_PATH, Plan
from pyrt.engine import overlay
from pyrt.engine.spec import ExecSpec, LaunchSpec, Root


def make_plan(spec: LaunchSpec) -> Plan:
    """The whole of a container, for an init that does everything itself."""
    plan = add_program(Plan().hostname(spec.hostname), spec)
    add_root(plan, spec.root)
    if spec.root.readonly:
        plan.readonly()
    if spec.network.mode == "bridge":
        plan.address(spec.network.address, spec.network.prefix_length, spec.network.gateway)
    return add_streams(add_credentials(add_mounts(plan, spec), spec), spec)


def add_program(plan: Plan, spec: LaunchSpec | ExecSpec) -> Plan:
    return plan.argv(spec.argv).env(spec.env).cwd(spec.cwd).capabilities(spec.capabilities)


def add_root(plan: Plan, root: Root, *, mask_path: str = MASK_PATH) -> Plan:
    """The overlay. `mask_path` is where the init makes the layer that hides parts of the host's root."""
    for path, mode, uid, gid in root.mask:
        plan.mask(path, mode=mode, uid=uid, gid=gid)
    return plan.overlay(root.directory, overlay.start_options(root, mask_path=mask_path))


def add_mounts(plan: Plan, spec: LaunchSpec) -> Plan:
    """Volumes and files, mounted over what the image has there."""
    for volume in spec.volumes:
        plan.volume(volume.source, volume.target, readonly=volume.readonly)
    for target, content in spec.files:
        plan.file(target, content.encode("utf-8", "surrogateescape"))
    return plan


def add_credentials(plan: Plan, spec: LaunchSpec | ExecSpec) -> Plan:
    """Who the program runs as, and what it may ask of the kernel."""
    if spec.user:
        plan.user(spec.user)
    if spec.no_new_privileges:
        plan.no_new_privileges()
    if spec.seccomp_path:
        plan.seccomp(_seccomp_program(spec.seccomp_path))
    return plan


def add_streams(plan: Plan, spec: LaunchSpec | ExecSpec) -> Plan:
    return plan.terminal(spec.rows, spec.columns) if spec.tty else plan.stdio(stdin=spec.stdin)


@lru_cache(maxsize=32)
def _seccomp_program(path: str) -> bytes:
    return Path(path).read_bytes()
