# SPDX-License-Identifier: Apache-2.0
"""pyrt.core.joining alone: a second program in a container, its streams, its status, and every way to fail."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrt.core import namespaces
from pyrt.core.joining import Joining
from pyrt.core.namespaces import Plan, Slot, StepError, collect
from tests.integration.core.conftest import Ran, base, read, shell
from tests.processes import wait_until

pytestmark = pytest.mark.root

KINDS = ("mnt", "uts", "ipc", "pid", "net", "cgroup")


@pytest.fixture
def container(rootfs: Path) -> Iterator[Slot]:
    """A container that waits for the end of its input."""
    out, into = os.pipe2(os.O_CLOEXEC)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    with namespaces.prepare() as slot:
        slot.start(base("cat").rootfs(str(rootfs)).hostname("joined").stdio(stdin=True), (out, null, null))
        os.close(out)
        os.close(null)
        try:
            yield slot
        finally:
            os.close(into)
            try:
                slot.signal(signal.SIGKILL)
                slot.wait()
            except (ProcessLookupError, ChildProcessError):
                pass


def join(container: Slot, plan: Plan, *, stdin: bytes | None = None) -> Ran:
    """Run a program beside the container's, to its end; at most what pipes hold."""
    pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
    (in_out, in_into), (out, out_into), (err, err_into) = pipes
    try:
        plan.join().stdio(stdin=stdin is not None)
        fds = (out_into, err_into) if stdin is None else (in_out, out_into, err_into)
        with Joining() as joining:
            joining.go(container.pidfd, plan, fds)
            _, pidfd = joining.start()
        os.write(in_into, stdin or b"")
        os.close(in_into)
        in_into = -1
        status = collect(pidfd)
        os.close(pidfd)
        os.set_blocking(out, False)
        os.set_blocking(err, False)
        return Ran(status, read(out), read(err))
    finally:
        for fd in (in_out, in_into, out, out_into, err, err_into):
            if fd >= 0:
                os.close(fd)


def test_it_is_in_the_containers_namespaces(container: Slot) -> None:
    script = "for n in mnt uts ipc pid net cgroup; do readlink /proc/self/ns/$n; done; hostname; pwd; exit 7"
    ran = join(container, shell(script))
    links = [os.readlink(f"/proc/{container.pid}/ns/{kind}") for kind in KINDS]
    assert (ran.status, ran.out.splitlines()) == (7, [*links, "joined", "/"])


def test_its_session_and_its_parent(container: Slot) -> None:
    ran = join(container, shell("echo $PPID; cut -d' ' -f1,5,6 /proc/$$/stat; echo $$"))
    parent, ids, own = ran.out.splitlines()
    assert parent == "0", "the parent is outside"
    assert ids.split() == [own] * 3, "it leads a session and a group"


def test_streams(container: Slot) -> None:
    assert join(container, base("cat"), stdin=b"hello\0\xc3\xbc").out == "hello\0ü"
    ran = join(container, shell("cat; readlink /proc/self/fd/0; echo err >&2"))
    assert (ran.out, ran.err) == ("/dev/null\n", "err\n")


def test_no_streams_at_all(container: Slot, tmp_path: Path) -> None:
    with Joining() as joining:
        joining.go(container.pidfd, shell("probe fds >/dev/shm/fds; exit 3").join().no_stdio())
        _, pidfd = joining.start()
    assert collect(pidfd) == 3
    os.close(pidfd)
    assert join(container, base("cat", "/dev/shm/fds")).out == "0 /dev/null\n1 /dev/shm/fds\n2 /dev/null\n"


def test_only_its_standard_descriptors(container: Slot) -> None:
    inheritable = os.open("/etc", os.O_RDONLY)
    os.set_inheritable(inheritable, True)
    try:
        lines = join(container, base("probe", "fds")).out.splitlines()
    finally:
        os.close(inheritable)
    assert [line.split()[0] for line in lines] == ["0", "1", "2"]
    assert lines[0] == "0 /dev/null" and all(line.split()[1].startswith("pipe:") for line in lines[1:])


STATUSES = [("exit 0", 0), ("exit 255", 255), ("kill -9 $$", -9), ("kill -15 $$", -15)]


@pytest.mark.parametrize(("code", "status"), STATUSES)
def test_statuses(container: Slot, code: str, status: int) -> None:
    assert join(container, shell(code)).status == status


def test_user_capabilities_and_privileges(container: Slot) -> None:
    plan = base("sh", "-c", "id -u; id -G; grep -E '^(Cap|NoNewPrivs)' /proc/self/status")
    plan.user("12345:77").capabilities(0x4FB).no_new_privileges()
    lines = join(container, plan).out.splitlines()
    assert lines[:2] == ["12345", "77"]
    status = dict(line.split() for line in lines[2:])
    assert status["CapBnd:"].lstrip("0") == "4fb" and int(status["CapEff:"], 16) == int(status["CapInh:"], 16) == 0
    assert status["NoNewPrivs:"] == "1"


def fails(container: Slot, plan: Plan) -> StepError:
    with pytest.raises(StepError) as caught:
        join(container, plan)
    with pytest.raises(ChildProcessError):  # nothing is left of it but the container itself
        while os.waitpid(-1, os.WNOHANG) == (0, 0):
            raise ChildProcessError
    return caught.value


def test_a_program_that_is_not_there(container: Slot) -> None:
    assert (fails(container, base("nosuch")).step, fails(container, base("nosuch")).errno) == ("exec", errno.ENOENT)
    assert fails(container, base("/etc/passwd")).errno == errno.EACCES


@pytest.mark.parametrize("word", [f"/proc/self/fd/{fd}" for fd in range(8)])
def test_ways_out_through_a_descriptor(container: Slot, word: str) -> None:
    assert fails(container, base("true").cwd(word)).step == "working directory"
    assert fails(container, base(f"{word}/../../../bin/true")).step == "exec"


def test_a_directory_that_is_gone(container: Slot) -> None:
    assert fails(container, base("true").cwd("/dev/shm/nosuch")).errno == errno.ENOENT
    with Joining() as joining:
        leave = "mkdir /dev/shm/gone; cd /dev/shm/gone; rmdir ../gone; sleep 99"
        joining.go(container.pidfd, shell(leave).join().no_stdio())
        pid, pidfd = joining.start()
    inside = next(line.split()[-1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "NSpid" in line)
    wait_until(lambda: os.readlink(f"/proc/{pid}/cwd").endswith("(deleted)"), what="a directory that is gone")
    error = fails(container, base("true").cwd(f"/proc/{inside}/cwd"))
    assert error.step == "working directory"
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert collect(pidfd) == -9
    os.close(pidfd)


def test_users_that_cannot_be(container: Slot) -> None:
    assert "no such user" in str(fails(container, base("true").user("nobody-here")))
    assert "out of range" in str(fails(container, base("true").user("4294967296")))


def test_a_dev_that_lies(container: Slot) -> None:
    """The container has its way with /dev; what is not the device it claims to be is not used."""
    for make in ("ln -s /etc/passwd /dev/null", "mkfifo /dev/null", "touch /dev/null", "mkdir /dev/null"):
        assert join(container, shell(f"rm -rf /dev/null; {make}"), stdin=b"").status == 0
        assert fails(container, base("true")).step == "stdio"
    assert join(container, shell("rm -rf /dev/null; mknod -m 666 /dev/null c 1 3"), stdin=b"").status == 0
    assert join(container, base("true")).status == 0


def test_a_terminal(container: Slot) -> None:
    with Joining() as joining:
        joining.go(container.pidfd, base("probe", "tty").join().terminal(33, 121), terminal=True)
        _, pidfd = joining.start()
        master = joining.terminal_fd
    shown = b""
    try:
        while part := os.read(master, 4096):
            shown += part
    except OSError as error:
        assert error.errno == errno.EIO
    assert collect(pidfd) == 0
    os.close(pidfd)
    os.close(master)
    own = [line for line in shown.decode().splitlines() if not line.startswith("session")]
    assert own[:5] == ["isatty 0 1", "isatty 1 1", "isatty 2 1", "size 33 121", "/dev/tty ok"]


def test_a_terminal_from_what_is_no_devpts(container: Slot) -> None:
    """Who may mount in there can put anything over it: it has to be a devpts, and its own ptmx."""
    for cover in ("mount -t tmpfs none /dev/pts && mknod /dev/pts/ptmx c 5 2", "mount --bind /dev/null /dev/pts/ptmx"):
        assert join(container, shell(cover), stdin=b"").status == 0
        with Joining() as joining:
            joining.go(container.pidfd, base("true").join().terminal(24, 80), terminal=True)
            with pytest.raises(StepError) as caught:
                joining.start()
            assert caught.value.step == "terminal"
        assert join(container, shell("umount /dev/pts/ptmx || umount /dev/pts"), stdin=b"").status == 0


def test_plans_for_another_purpose(container: Slot, rootfs: Path) -> None:
    assert fails(container, base("true").rootfs(str(rootfs))).step == "plan"
    with namespaces.prepare() as slot, pytest.raises(StepError) as caught:
        slot.start(base("true").join().no_stdio())
    assert caught.value.step == "plan"


def test_a_container_that_has_ended(container: Slot) -> None:
    container.signal(signal.SIGKILL)
    container.wait()
    assert (fails(container, base("true")).step, fails(container, base("true")).errno) == ("join", errno.ESRCH)


def test_it_ends_with_the_container(container: Slot) -> None:
    with Joining() as joining:
        joining.go(container.pidfd, base("sleep", "99").join().no_stdio())
        _, pidfd = joining.start()
    container.signal(signal.SIGKILL)
    assert collect(pidfd) == -9
    os.close(pidfd)
    assert container.wait() == -9


def test_a_joining_that_is_given_up(container: Slot) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with Joining():
        pass
    with Joining() as joining:
        joining.go(container.pidfd, base("sleep", "99").join().no_stdio())
        while not joining.advance(wait=True):
            pass
    assert len(os.listdir("/proc/self/fd")) == before
