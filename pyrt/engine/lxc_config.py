# SPDX-License-Identifier: Apache-2.0
"""config.lxc: what lxc-start is told of a container, as text that a person can read; docs/lxc.md explains each key.

No text that a user chose becomes part of a value unchecked: a line break in it would be another key.
"""

from __future__ import annotations

import os
import socket
import string
from collections.abc import Iterator
from ipaddress import IPv4Interface

from pyrt.engine.capabilities import NAMES
from pyrt.engine.hierarchies import DEVICES, Layout
from pyrt.engine.lxc_groups import group_name
from pyrt.engine.slots import link_name
from pyrt.engine.spec import LaunchSpec, Network
from pyrt.errors import StartError

STAGE = "/run/lxc"  # in lxc-start's own mount namespace a tmpfs of ours: see csrc/init/lxc.c

# What pyrt-init needs of a process that lxc-start has confined already; it gives up what is not the container's.
INIT_CAPABILITIES = frozenset({
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_NET_ADMIN", "CAP_SETGID", "CAP_SETPCAP",
    "CAP_SETUID", "CAP_SYS_ADMIN",
})  # fmt: skip

# Docker's lists (moby, oci/defaults.go), as csrc/init/stage.c has them.
MASKED = (
    "proc/acpi", "proc/asound", "proc/interrupts", "proc/kcore", "proc/keys", "proc/latency_stats", "proc/sched_debug",
    "proc/scsi", "proc/timer_list", "proc/timer_stats", "sys/firmware", "sys/devices/virtual/powercap",
)  # fmt: skip
READONLY = ("proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger")

_PLAIN = frozenset(string.printable.encode()) - frozenset(b"\\" + string.whitespace.encode())


def make(spec: LaunchSpec, layout: Layout) -> str:
    """Return the configuration. Raises StartError for a value that the format cannot hold."""
    lines: list[str] = []
    for title, entries in (
        ("Written by pyrt for each start of this container. What the keys mean: docs/lxc.md", ()),
        ("Name", [("uts.name", spec.hostname)]),
        ("Network", _network(spec)),
        ("Root: mounted by pyrt-init, in the mount namespace of lxc-start", _root()),
        *((title, ()) for title in _mounted_later(spec)),
        ("/proc and /sys", _kernel_files(spec)),
        ("/dev", _devices()),
        ("Devices that may be opened, by number", _device_list(spec)),
        ("Limits", _limits(spec, layout)),
        ("Capabilities: the container's, and those that pyrt-init drops before the program runs", _capabilities(spec)),
        ("Where lxc-start keeps its own groups", _groups(spec, layout)),
    ):
        lines += ["", f"# {title}"] if entries or not lines else [f"# {title}"]
        lines += [f"lxc.{key} = {_value(key, value)}" for key, value in entries]
    return "\n".join(lines[1:]) + "\n"


def _value(key: str, value: str) -> str:
    """Check that a value stays the value of its key, unchanged: lxc strips blanks and quotes around it."""
    if value and value.isprintable() and value == value.strip() and value[0] not in "'\"":
        return value
    raise StartError("lxc", 0, f"lxc.{key} cannot be {value!r}")


def shown(path: str) -> str:
    """A path for a comment: what is not plain ASCII as octal escapes, as in fstab."""
    return "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03o}" for byte in os.fsencode(path))


def _network(spec: LaunchSpec) -> list[tuple[str, str]]:
    network = spec.network
    if network.mode != "bridge":
        return [("net.0.type", "none" if network.mode == "host" else "empty")]
    interface = IPv4Interface(f"{network.address}/{network.prefix_length}")
    return [
        ("net.0.type", "veth"),
        ("net.0.veth.pair", link_name(spec.id)),
        ("net.0.link", socket.if_indextoname(network.bridge_index)),
        ("net.0.name", "eth0"),
        ("net.0.flags", "up"),
        *([("net.0.mtu", str(network.mtu))] if network.mtu else []),
        ("net.0.hwaddr", _hardware_address(network)),
        ("net.0.ipv4.address", f"{interface} {interface.network.broadcast_address}"),
        ("net.0.ipv4.gateway", network.gateway),
    ]


def _hardware_address(network: Network) -> str:
    """As csrc/rtnl.c derives it: an address given to another container later never meets a stale neighbour entry."""
    return ":".join(f"{octet:02x}" for octet in (0x02, 0x70, *map(int, network.address.split("."))))


def _root() -> list[tuple[str, str]]:
    return [("rootfs.path", f"dir:{STAGE}/root"), ("rootfs.mount", f"{STAGE}/rootfs")]


def _mounted_later(spec: LaunchSpec) -> Iterator[str]:
    """What pyrt-init mounts inside, after lxc-start: lxc refuses targets that a symbolic link of the image leads to."""
    for target, _ in spec.files:
        yield f"  {shown(target)}: a file of pyrt's, mounted by pyrt-init"
    for volume in spec.volumes:
        mode = " (read-only)" if volume.readonly else ""
        yield f"  {shown(volume.target)}: {shown(volume.source)}{mode}, mounted by pyrt-init"
    if spec.root.readonly:
        yield "  made read-only by pyrt-init"


def _kernel_files(spec: LaunchSpec) -> list[tuple[str, str]]:
    options = "nosuid,nodev,noexec"
    entries = [
        f"proc proc proc {options} 0 0",
        f"sysfs sys sysfs {options}{'' if spec.privileged else ',ro'} 0 0",
    ]
    if not spec.privileged:
        for path in filter(_exists, MASKED):
            if os.path.isdir(f"/{path}"):
                entries.append(f"tmpfs {path} tmpfs ro,{options},size=0k,mode=555 0 0")
            else:
                entries.append(f"/dev/null {path} none bind,ro,nosuid,noexec 0 0")
        entries += [f"{path} {path} none bind,ro,{options},relative 0 0" for path in filter(_exists, READONLY)]
    return [("mount.entry", entry) for entry in entries]


def _exists(path: str) -> bool:
    """Whether this kernel has the file: a new mount of proc or sysfs then has it too."""
    return os.path.lexists(f"/{path}")


def _devices() -> list[tuple[str, str]]:
    return [
        ("autodev", "1"),
        ("autodev.tmpfs.size", str(64 << 20)),
        ("mount.entry", "tmpfs dev/shm tmpfs nosuid,nodev,noexec,mode=1777,size=65536k,create=dir 0 0"),
        ("mount.entry", "mqueue dev/mqueue mqueue nosuid,nodev,noexec,create=dir 0 0"),
        ("pty.max", "1024"),
        ("tty.max", "0"),
        ("console.path", "none"),
    ]


def _device_list(spec: LaunchSpec) -> list[tuple[str, str]]:
    if spec.privileged:
        return []
    rules = [f"{kind} {major}:{'*' if minor < 0 else minor} rwm" for kind, major, minor in DEVICES]
    return [
        entry
        for version in ("cgroup", "cgroup2")
        for entry in ((f"{version}.devices.deny", "a"), *((f"{version}.devices.allow", rule) for rule in rules))
    ]


def _limits(spec: LaunchSpec, layout: Layout) -> list[tuple[str, str]]:
    entries = []
    for controller in sorted(spec.limits.controllers()):
        on_v2 = controller in layout.on_v2
        version = "cgroup2" if on_v2 else "cgroup"
        files = spec.limits.files(controller, v2=on_v2, swap=layout.swap)
        entries += [(f"{version}.{name}", value) for name, value in files]
    return entries


def _capabilities(spec: LaunchSpec) -> list[tuple[str, str]]:
    if spec.privileged:
        return []
    kept = [
        name for number, name in enumerate(NAMES) if spec.capabilities & 1 << number or name in INIT_CAPABILITIES
    ]
    return [("cap.keep", " ".join(name.removeprefix("CAP_").lower() for name in kept))]


def _groups(spec: LaunchSpec, layout: Layout) -> list[tuple[str, str]]:
    path = group_name(layout, spec.id)
    return [
        ("cgroup.dir.monitor", f"{path}/monitor"),
        ("cgroup.dir.monitor.pivot", f"{path}/pivot"),
        ("cgroup.dir.container", f"{path}/payload"),
        # lxc would use the profile that it ships where AppArmor is on, and pyrt's other engine uses none.
        ("apparmor.profile", "unconfined"),
    ]
