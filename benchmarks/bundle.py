# SPDX-License-Identifier: Apache-2.0
"""An OCI bundle with the namespaces, mounts, capabilities and limits that pyrt gives a container, for crun and runc."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MEMORY_BYTES, CPU_QUOTA, PIDS = 512 << 20, 100_000, 1024
HOSTNAME = "pyrt-bench"
CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT"
    ).split()
]


def write(directory: Path, rootfs: Path, argv: Sequence[str] = ("/bin/true",)) -> Path:
    """Make a bundle in a new directory."""
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(_config(rootfs, argv)))
    return directory


def _config(rootfs: Path, argv: Sequence[str]) -> dict[str, Any]:
    mask = [
        "/proc/acpi",
        "/proc/kcore",
        "/proc/keys",
        "/proc/timer_list",
        "/proc/interrupts",
        "/proc/scsi",
        "/sys/firmware",
    ]
    quiet = ["nosuid", "noexec", "nodev"]
    return {
        "ociVersion": "1.0.2",
        "hostname": HOSTNAME,
        "root": {"path": str(rootfs), "readonly": False},
        "process": {
            "args": list(argv),
            "cwd": "/",
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/"],
            "user": {"uid": 0, "gid": 0},
            "capabilities": {name: CAPABILITIES for name in ("bounding", "effective", "permitted")},
        },
        "mounts": [
            _mount("/proc", "proc", *quiet),
            _mount("/sys", "sysfs", *quiet, "ro"),
            _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            _mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
            _mount("/dev/shm", "tmpfs", *quiet, "mode=1777", "size=65536k"),
            _mount("/dev/mqueue", "mqueue", *quiet),
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "resources": {
                "memory": {"limit": MEMORY_BYTES},
                "cpu": {"quota": CPU_QUOTA, "period": 100_000},
                "pids": {"limit": PIDS},
            },
            "maskedPaths": mask,
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }


def _mount(target: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": kind, "options": list(options)}
