# SPDX-License-Identifier: Apache-2.0
"""A root file system as a plain directory, and a way to run one program in it with pyrt.core.namespaces alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyrt.core import namespaces
from pyrt.core.namespaces import Plan

PATH = "PATH=/bin"
Build = Callable[[Plan], Plan]


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended, and what it wrote."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory, bb_tar: bytes) -> Path:
    """Busybox and the probe, unpacked; read by many tests, written by none."""
    path = tmp_path_factory.mktemp("rootfs")
    path.chmod(0o755)  # it becomes /, also for other users than root
    subprocess.run(["tar", "-x", "-C", path], input=bb_tar, check=True)
    return path


def base(*argv: str) -> Plan:
    return Plan().argv(argv).env([PATH])


def shell(script: str) -> Plan:
    return base("sh", "-c", script)


def run(plan: Plan, *, which: int = namespaces.ALL, stdin: bytes | None = None, privileged: bool = False) -> Ran:
    """Start a plan that says everything but stdio, wait for its end, collect its output (at most what pipes hold)."""
    pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
    (in_out, in_into), (out, out_into), (err, err_into) = pipes
    try:
        plan.stdio(stdin=stdin is not None)
        fds: Sequence[int] = (out_into, err_into) if stdin is None else (in_out, out_into, err_into)
        with namespaces.prepare(which, privileged=privileged) as slot:
            assert slot.start(plan, fds) is None
            os.write(in_into, stdin or b"")
            os.close(in_into)
            in_into = -1
            status = slot.wait()
        os.set_blocking(out, False)
        os.set_blocking(err, False)
        return Ran(status, read(out), read(err))
    finally:
        for fd in (in_out, in_into, out, out_into, err, err_into):
            if fd >= 0:
                os.close(fd)


def read(fd: int) -> str:
    try:
        return os.read(fd, 1 << 16).decode()
    except BlockingIOError:
        return ""
