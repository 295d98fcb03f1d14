# SPDX-License-Identifier: Apache-2.0
"""exec into a container that has been waiting for it: nothing of ours can be got hold of, and nothing leads out."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrt.engine import capabilities
from tests.harness import REPOSITORY, Pyrt
from tests.processes import wait_until

pytestmark = [pytest.mark.root, pytest.mark.both_engines]

SOURCE = Path(__file__).with_name("hunter.c")
ROUNDS = 200


@pytest.fixture(scope="module")
def hunter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hunter") / "hunter"
    flags = ["-std=gnu11", "-O2", "-static", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", path, SOURCE], check=True)
    return path


def hunt(pyrt: Pyrt, hunter: Path, *flags: str) -> dict[str, set[str]]:
    """Have it lie in wait while programs come in; returns what it has found, by kind."""
    command = ("-v", f"{hunter}:/hunter:ro", *flags, "bb", "/hunter")
    pyrt.detached("--name", "prey", *command)
    wait_until(lambda: pyrt.ok("logs", "prey").text == "ready", what="the hunter being ready")
    for _ in range(ROUNDS):
        pyrt.ok("exec", "prey", "true")
    pyrt.ok("kill", "-s", "TERM", "prey")
    pyrt.ok("wait", "prey")
    found: dict[str, set[str]] = {}
    for line in pyrt.ok("logs", "prey").lines[1:]:
        kind, _, detail = line.partition(" ")
        found.setdefault(kind, set()).add(detail)
    pyrt.ok("rm", "prey")
    return found


def test_nothing_of_ours_can_be_caught(pyrt: Pyrt, hunter: Path) -> None:
    found = hunt(pyrt, hunter)
    assert int(found.pop("seen").pop()) > 0, "it has not come upon a single one: that proves nothing"
    default = capabilities.mask(capabilities.DEFAULT)
    assert found.pop("rights", set()) <= {f"{default:016x} 2"}, "it never has more rights than the container"
    assert found == {}


def test_who_may_trace_catches_nothing_but_an_equal(pyrt: Pyrt, hunter: Path) -> None:
    """With CAP_SYS_PTRACE it can get hold of ours; there is nothing to be gained by that."""
    found = hunt(pyrt, hunter, "--cap-add", "SYS_PTRACE")
    assert int(found.pop("seen").pop()) > 0
    rights = capabilities.mask(capabilities.DEFAULT | {"CAP_SYS_PTRACE"})
    assert found.pop("rights", set()) <= {f"{rights:016x} 2"}
    assert found.pop("fd", set()) <= {"pipe:", "socket:", "/dev/null"}, "no directory, no file of the host's"
    assert set(found) <= {"caught"}
    assert pyrt("run", "--rm", "bb", "true").status == 0


def test_a_tracer_that_keeps_the_dead_holds_up_nobody_else(pyrt: Pyrt, hunter: Path) -> None:
    """A traced process that has ended is its tracer's to collect; the supervisor must not wait for that."""
    command = ("-v", f"{hunter}:/hunter:ro", "--cap-add", "SYS_PTRACE", "bb", "/hunter", "keep")
    pyrt.detached("--name", "prey", *command)
    held = [pyrt.start("exec", "prey", "true") for _ in range(20)]
    assert pyrt.run("bb", "echo", "unharmed").text == "unharmed"
    pyrt.ok("kill", "prey")
    assert {client.wait(timeout=20) for client in held} <= {0, 137, 125}
    assert pyrt.run("bb", "echo", "unharmed").text == "unharmed"
    pyrt.ok("rm", "prey")


def test_our_program_cannot_be_overwritten(pyrt: Pyrt) -> None:
    """CVE-2019-5736: a program that is /proc/self/exe, and a writer for whatever is executed."""
    program = REPOSITORY / "pyrt/core/_libexec/pyrt-init"
    before = hashlib.sha256(program.read_bytes()).digest()
    script = "printf '#!/proc/self/exe\\n' >/bin/trap; chmod 755 /bin/trap; echo ready; "
    script += "while :; do for p in /proc/[0-9]*; do (echo overwritten >$p/exe) 2>/dev/null; done; done"
    pyrt.detached("--name", "prey", "--cap-add", "SYS_PTRACE", "bb", "sh", "-c", script)
    wait_until(lambda: pyrt.ok("logs", "prey").text == "ready", what="the trap being set")
    for _ in range(20):
        assert pyrt("exec", "prey", "/bin/trap").status != 0
        assert pyrt("exec", "prey", "echo", "fine").out in (b"fine\n", b"")
    assert hashlib.sha256(program.read_bytes()).digest() == before
    pyrt.ok("rm", "-f", "prey")


@pytest.fixture
def container(pyrt: Pyrt) -> Iterator[str]:
    pyrt.detached("--name", "prey", "bb", "sleep", "999")
    yield "prey"
    pyrt.ok("rm", "-f", "prey")


def test_only_the_standard_descriptors(pyrt: Pyrt, container: str) -> None:
    for flags in ((), ("-i",), ("-t",), ("-u", "1"), ("--privileged",)):
        lines = pyrt("exec", *flags, container, "probe", "fds").lines
        assert [line.split()[0] for line in lines] == ["0", "1", "2"]
        targets = {line.split()[1].split("[")[0] for line in lines}
        assert targets <= {"pipe:", "/dev/null", "/dev/pts/0"}


def test_ways_out_through_a_descriptor(pyrt: Pyrt, container: str) -> None:
    """CVE-2024-21626: as working directory, as program, by a link in the container to either."""
    pyrt.ok("exec", container, "ln", "-s", "/proc/self/fd/7", "/bin/way")
    for fd in range(3, 10):
        for way in (f"/proc/self/fd/{fd}", f"/proc/self/fd/{fd}/../../.."):
            result = pyrt("exec", "-w", way, container, "cat", "/etc/shadow")
            assert result.status == 125 and result.error.startswith("working directory")
        result = pyrt("exec", container, f"/proc/self/fd/{fd}/../../../bin/sh", "-c", "id")
        assert result.status in (126, 127), str(result)
    assert pyrt("exec", "-w", "/bin/way", container, "true").status == 125
    assert pyrt("exec", container, "/bin/way/../sh", "-c", "id").status in (126, 127)


@pytest.mark.parametrize(
    "trap",
    [
        "rm -f /etc/passwd; mkfifo /etc/passwd",
        "rm -f /etc/passwd; ln -s /proc/self/mem /etc/passwd",
        "rm -f /etc/passwd; mkdir /etc/passwd",
        "echo 'trap:x:4294967296:0::/:/bin/sh' >/etc/passwd",
        "printf 'trap:x:0' >/etc/passwd",
    ],
)
def test_a_passwd_that_is_a_trap(pyrt: Pyrt, container: str, trap: str) -> None:
    pyrt.ok("exec", container, "sh", "-c", trap)
    result = pyrt("exec", "-u", "trap", container, "id")
    assert result.status == 125 and result.error.startswith("user: ")


def test_a_dev_that_is_a_trap(pyrt: Pyrt, container: str) -> None:
    pyrt.ok("exec", container, "sh", "-c", "rm /dev/null; mkfifo /dev/null")
    assert pyrt("exec", container, "true").error.startswith("stdio: /dev/null")
    assert pyrt("exec", "-d", container, "true").error.startswith("stdio: /dev/null")
    assert pyrt("exec", "-i", container, "cat", input=b"still possible").out == b"still possible"


def test_the_containers_environment_is_the_programs_alone(pyrt: Pyrt) -> None:
    """LD_PRELOAD and its kin must not act on anything of ours, which is static and has no environment."""
    names = ("LD_PRELOAD", "LD_AUDIT", "GCONV_PATH", "MALLOC_CHECK_")
    words = [word for name in names for word in ("-e", f"{name}=/x")]
    pyrt.detached("--name", "prey", *words, "bb", "sleep", "999")
    assert "LD_PRELOAD=/x" in pyrt.ok("exec", "prey", "probe", "env").lines
    pyrt.ok("rm", "-f", "prey")
