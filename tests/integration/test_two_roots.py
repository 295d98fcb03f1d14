# SPDX-License-Identifier: Apache-2.0
"""Two roots with two run directories live side by side; one root has one owner."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ledger
from tests.harness import Pyrt, start_instance
from tests.processes import wait_until

pytestmark = pytest.mark.root


@pytest.fixture
def other(pyrt: Pyrt, bb_tar: bytes) -> Iterator[Pyrt]:
    instance = start_instance(pytest.fail)
    try:
        instance.ok("import", "-", "bb", input=bb_tar)
        yield instance
    finally:
        instance.close()


def test_each_sees_only_its_own(pyrt: Pyrt, other: Pyrt) -> None:
    pyrt.detached("--name", "same", "bb", "sleep", "60")
    other.detached("--name", "same", "bb", "sleep", "60")
    assert pyrt.ok("ps", "-q").lines != other.ok("ps", "-q").lines
    other.ok("rm", "-f", "same")
    assert pyrt.status_of("same").startswith("Up")
    pyrt.ok("rm", "-f", "same")


def test_both_have_a_network(pyrt: Pyrt, other: Pyrt) -> None:
    for instance in (pyrt, other):
        gateway = instance.run("bb", "ip", "route").text.split()[2]
        assert instance.run("bb", "ip", "-o", "addr", "show", "eth0").text
        assert (
            subprocess.run(["ip", "-o", "addr", "show", instance.bridge], capture_output=True, text=True).stdout.count(
                gateway
            )
            == 1
        )


def test_flags_and_variables_mean_the_same(pyrt: Pyrt) -> None:
    flags = ["--root", str(pyrt.root), "--run-dir", str(pyrt.run_dir)]
    environment = {name: value for name, value in pyrt.environment.items() if name not in ("PYRT_ROOT", "PYRT_RUN_DIR")}
    done = subprocess.run([pyrt.client, *flags, "images"], env=environment, capture_output=True, timeout=20, text=True)
    assert done.returncode == 0 and "bb" in done.stdout
    host = {**environment, "PYRT_HOST": f"unix://{pyrt.run_dir}/pyrt.sock"}
    done = subprocess.run([pyrt.client, "images"], env=host, capture_output=True, timeout=20, text=True)
    assert done.returncode == 0 and "bb" in done.stdout


def test_a_root_has_one_owner(pyrt: Pyrt, tmp_path: object) -> None:
    environment = {**pyrt.environment, "PYRT_RUN_DIR": f"{tmp_path}/s"}
    done = subprocess.run([pyrt.client, "-d"], env=environment, capture_output=True, timeout=20, text=True)
    assert done.returncode == 125
    assert done.stderr.startswith("Error: ") and str(pyrt.root) in done.stderr


def test_a_daemon_of_another_root_is_not_taken_for_this_one(pyrt: Pyrt, tmp_path: Path) -> None:
    result = pyrt("ps", env={"PYRT_ROOT": str(tmp_path)})
    assert result.status == 125 and f"serves the root {pyrt.root}" in result.error


def test_an_instance_that_was_closed_leaves_nothing(pyrt: Pyrt, bb_tar: bytes) -> None:
    with ledger.watch(pyrt.subject):
        instance = start_instance(pytest.fail)
        instance.ok("import", "-", "bb", input=bb_tar)
        instance.detached("-p", "127.0.0.1::80", "bb", "sleep", "60")
        subject = instance.subject()
        instance.close()
    kinds = ("mounts elsewhere", "cgroups", "processes", "files", "unix sockets")

    def gone() -> bool:  # daemon and supervisor are orphans: whoever inherits them may collect them a little later
        left = ledger.take(subject).counts
        return not any(left[kind] for kind in kinds)

    wait_until(gone, what="nothing left of the instance")
