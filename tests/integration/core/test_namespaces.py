# SPDX-License-Identifier: Apache-2.0
"""pyrt.core.namespaces alone, as another program would use it: prepare, start, wait, and every way to fail."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

from pyrt.core import namespaces
from pyrt.core.namespaces import Plan, StepError
from tests.integration.core.conftest import Build, base, run, shell
from tests.processes import wait_until

pytestmark = pytest.mark.root


# --- what works ------------------------------------------------------------------------------------------------------


def test_a_program_in_a_directory(rootfs: Path) -> None:
    ran = run(shell("pwd; echo $0 $#; echo err >&2; exit 7").rootfs(str(rootfs)).hostname("web"))
    assert (ran.status, ran.out, ran.err) == (7, "/\nsh 0\n", "err\n")


def test_it_is_the_first_process_of_namespaces_of_its_own(rootfs: Path) -> None:
    script = "echo $$; hostname; for n in mnt uts ipc pid net cgroup; do readlink /proc/self/ns/$n; done; ip -o link"
    lines = run(shell(script).rootfs(str(rootfs)).hostname("web")).out.splitlines()
    assert lines[:2] == ["1", "web"]
    for name, link in zip(("mnt", "uts", "ipc", "pid", "net", "cgroup"), lines[2:8], strict=True):
        assert link.startswith(name) and link != os.readlink(f"/proc/self/ns/{name}")
    assert len(lines) == 9 and "lo:" in lines[8] and "UP" in lines[8]


def test_the_hosts_network_when_asked_for(rootfs: Path) -> None:
    ran = run(shell("readlink /proc/self/ns/net").rootfs(str(rootfs)), which=namespaces.HOST_NETWORK)
    assert ran.out.strip() == os.readlink("/proc/self/ns/net")


def test_stdin_and_its_absence(rootfs: Path) -> None:
    assert run(base("cat").rootfs(str(rootfs)), stdin=b"hello\0\xc3\xbc").out == "hello\0ü"
    assert run(shell("cat; readlink /proc/self/fd/0").rootfs(str(rootfs))).out == "/dev/null\n"


def test_nothing_of_the_caller_gets_in(rootfs: Path) -> None:
    """Descriptors (an inheritable one, too), environment, blocked and ignored signals, the working directory."""
    inheritable = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(inheritable, True)
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    try:
        ran = run(shell("ls /proc/self/fd; env; pwd").rootfs(str(rootfs)))
        masks = run(base("grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status").rootfs(str(rootfs)))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        os.close(inheritable)
    words = ran.out.split()
    assert words[:4] == ["0", "1", "2", "3"], "3 is the directory that ls reads"
    assert [word for word in words if "=" in word and not word.startswith(("SHLVL", "PWD"))] == ["PATH=/bin"]
    assert words[-1] == "/"
    assert [int(line.split()[1], 16) for line in masks.out.splitlines()] == [0, 0, 0]


def test_an_overlay_is_written_to_its_upper_directory_alone(rootfs: Path, tmp_path: Path) -> None:
    for name in ("up,per", "wo:rk", "lower\\2"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower\\2" / "extra").write_text("from the second layer")
    escaped = str(tmp_path / "up,per").replace(",", "\\,"), str(tmp_path / "wo:rk").replace(":", "\\:")
    options = f"lowerdir=lower\\\\2:{rootfs},upperdir={escaped[0]},workdir={escaped[1]}"
    ran = run(shell("cat /extra; echo new >/made; rm /etc/group").overlay(str(tmp_path), options))
    assert (ran.status, ran.out) == (0, "from the second layer")
    assert (tmp_path / "up,per" / "made").read_text() == "new\n"
    assert stat.S_ISCHR((tmp_path / "up,per" / "etc" / "group").lstat().st_mode), "a whiteout"
    assert not (rootfs / "made").exists() and (rootfs / "etc" / "group").exists()


def test_read_only(rootfs: Path) -> None:
    ran = run(shell("touch /x; touch /dev/shm/y && echo shm").rootfs(str(rootfs)).readonly())
    assert ran.out == "shm\n" and "Read-only file system" in ran.err


@pytest.mark.parametrize(("code", "status"), [("exit 0", 0), ("exit 255", 255), ("kill -9 $$; sleep 9", -9)])
def test_statuses(rootfs: Path, code: str, status: int) -> None:
    """A first process cannot kill itself from inside its namespace, so that one is killed from out here."""
    with namespaces.prepare() as slot:
        slot.start(shell(code).rootfs(str(rootfs)).stdio(stdin=False), (1, 2))
        if status < 0:
            slot.signal(-status)
        assert slot.wait() == status


def test_a_terminal(rootfs: Path) -> None:
    with namespaces.prepare() as slot:
        script = "tty; stty size; test -c /dev/console && echo console; read line; echo got $line; exit 5"
        master = slot.start(shell(script).rootfs(str(rootfs)).terminal(33, 121))
        assert master is not None
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        os.write(master, b"word\n")
        assert slot.wait() == 5
        shown = b""
        try:
            while data := os.read(master, 4096):
                shown += data
        except OSError as end:
            assert end.errno == errno.EIO
        assert not os.get_inheritable(master)
        os.close(master)
    lines = shown.decode().replace("word\r\n", "", 1).splitlines()
    assert lines[0] == "/dev/pts/0" and lines[1] in ("33 121", "40 100") and lines[2:] == ["console", "got word"]


def test_the_users_of_the_root(rootfs: Path) -> None:
    for spec, expected in (
        ("bob", "1000 1000 29 50 1000"),
        ("bob:audio", "1000 29 29"),
        ("1000", "1000 1000 29 50 1000"),
        ("4242", "4242 0 0"),
        ("4242:17", "4242 17 17"),
        ("", "0 0 0"),
    ):
        plan = shell("echo $(id -u) $(id -g) $(id -G | tr ' ' '\\n' | sort -n)").rootfs(str(rootfs))
        assert run(plan.user(spec) if spec else plan).out.strip() == expected, spec


def test_files_over_what_the_root_has_or_has_not(rootfs: Path, tmp_path: Path) -> None:
    upper, work = tmp_path / "u", tmp_path / "w"
    upper.mkdir()
    work.mkdir()
    plan = shell("cat /etc/hosts /a/b/c; echo more >>/etc/hosts; cat /etc/hosts; stat -c %a /a/b/c")
    plan.overlay("/", f"lowerdir={rootfs},upperdir={upper},workdir={work}")
    ran = run(plan.file("/etc/hosts", b"hosts\n").file("/a/b/c", b"deep\n", mode=0o600))
    assert ran.out == "hosts\ndeep\nhosts\nmore\n600\n"
    assert (upper / "etc/hosts").read_bytes() == b"", "only a place to mount on"


# --- volumes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "volume"
    path.mkdir()
    (path / "file").write_text("content\n")
    return path


def overlay(rootfs: Path, tmp_path: Path) -> Build:
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={rootfs},upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    return lambda plan: plan.overlay("/", options)


@pytest.mark.parametrize("target", ["/tmp", "/made/for/it", "/home/bob/"])
def test_a_directory(rootfs: Path, tmp_path: Path, volume: Path, target: str) -> None:
    plan = shell(f"cat {target}/file; echo new >{target}/made")
    ran = run(overlay(rootfs, tmp_path)(plan).volume(str(volume), target))
    assert (ran.status, ran.out) == (0, "content\n")
    assert (volume / "made").read_text() == "new\n"


@pytest.mark.parametrize("target", ["/etc/passwd", "/made/for/it"])
def test_a_file(rootfs: Path, tmp_path: Path, volume: Path, target: str) -> None:
    plan = shell(f"cat {target}; echo new >{target}")
    assert run(overlay(rootfs, tmp_path)(plan).volume(str(volume / "file"), target)).out == "content\n"
    assert (volume / "file").read_text() == "new\n"


@pytest.mark.parametrize("source", [".", "file"])
def test_read_only_volumes(rootfs: Path, tmp_path: Path, volume: Path, source: str) -> None:
    plan = shell("touch /v/x || echo >/v; exit 1")
    ran = run(overlay(rootfs, tmp_path)(plan).volume(str(volume / source), "/v", readonly=True))
    assert ran.status != 0 and "Read-only" in ran.err
    assert os.listdir(volume) == ["file"] and (volume / "file").read_text() == "content\n"


def test_two_volumes_one_in_the_other(rootfs: Path, tmp_path: Path, volume: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    plan = overlay(rootfs, tmp_path)(shell("ls /v; touch /v/sub/made"))
    assert run(plan.volume(str(volume), "/v").volume(str(inner), "/v/sub")).out == "file\nsub\n"
    assert os.listdir(inner) == ["made"]


# --- what fails, and how it is told ----------------------------------------------------------------------------------


def failure(plan: Plan | bytes, fds: tuple[int, ...] = (1, 2)) -> StepError:
    before = leftovers()
    with namespaces.prepare() as slot, pytest.raises(StepError) as caught:
        slot.start(plan, fds)
    assert leftovers() == before, "nothing is left of a start that failed"
    return caught.value


def leftovers() -> tuple[list[str], set[str]]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return sorted(os.listdir("/proc/self/fd")), set(children.split())


NOWHERE: list[tuple[Build, str, int]] = [
    (lambda p: p.overlay("/", "lowerdir=/nonexistent,upperdir=/x,workdir=/y"), "root", errno.ENOENT),
    (lambda p: p.overlay("/nonexistent", "lowerdir=."), "root", errno.ENOENT),
    (lambda p: p.overlay("/", "lowerdir=/,nonsense=1"), "root", errno.EINVAL),
    (lambda p: p.overlay("/", ""), "root", errno.EINVAL),
    (lambda p: p.rootfs("/nonexistent"), "root", errno.ENOENT),
    (lambda p: p.rootfs("/etc/passwd"), "root", errno.ENOTDIR),
]


@pytest.mark.parametrize(("root", "step", "number"), NOWHERE)
def test_bad_roots(root: Build, step: str, number: int) -> None:
    error = failure(root(base("true")).stdio(stdin=False))
    assert (error.step, error.errno) == (step, number), str(error)


BAD: list[tuple[Build, str, int, str]] = [
    (lambda p: p.argv(["/nope"]), "exec", errno.ENOENT, "/nope"),
    (lambda p: p.argv(["nope"]), "exec", errno.ENOENT, "nope"),
    (lambda p: p.argv([""]), "exec", errno.ENOENT, ""),
    (lambda p: p.argv(["/etc/passwd"]), "exec", errno.EACCES, "/etc/passwd"),
    (lambda p: p.argv(["/etc"]), "exec", errno.EACCES, "/etc"),
    (lambda p: p.argv(["/etc/passwd/x"]), "exec", errno.ENOTDIR, "/etc/passwd/x"),
    (lambda p: p.argv(["/bin/" + "x" * 300]), "exec", errno.ENAMETOOLONG, "/bin/xxx"),
    (lambda p: p.argv(["true", "x" * (200 << 10)]), "exec", errno.E2BIG, "true"),
    (lambda p: p.cwd("/nope"), "working directory", errno.ENOENT, "/nope"),
    (lambda p: p.cwd("/etc/passwd"), "working directory", errno.ENOTDIR, "/etc/passwd"),
    (lambda p: p.user("nobody-here"), "user", 0, "nobody-here"),
    (lambda p: p.user("bob:nope"), "user", 0, "nope"),
    (lambda p: p.user("4294967295"), "user", 0, "out of range"),
    (lambda p: p.user(":"), "user", 0, "USER:GROUP"),
    (lambda p: p.user("-1"), "user", 0, "no such user"),
    (lambda p: p.volume("/nonexistent", "/v"), "volume", errno.ENOENT, "/nonexistent"),
    (lambda p: p.volume("/etc", "/etc/passwd"), "volume", 0, "not both directories: /etc/passwd"),
    (lambda p: p.volume("/etc", "/etc/passwd/x"), "volume", errno.ENOTDIR, "/etc/passwd/x"),
    (lambda p: p.hostname("h" * 65), "hostname", errno.EINVAL, "hhh"),
    (lambda p: p.address("10.0.0.2", 33, "10.0.0.1"), "network", errno.EINVAL, "eth0"),
    (lambda p: p.address("10.0.0.2", 24, "10.0.0.1"), "network", errno.ENODEV, "eth0"),
    (lambda p: p.seccomp(bytes(8)), "seccomp", errno.EINVAL, "install"),
]


@pytest.mark.parametrize(("change", "step", "number", "text"), BAD)
def test_bad_values(rootfs: Path, change: Build, step: str, number: int, text: str) -> None:
    error = failure(change(base("true").rootfs(str(rootfs)).stdio(stdin=False)))
    assert (error.step, error.errno) == (step, number), str(error)
    assert text in error.text


RECORD = struct.Struct("=HHI")
WHOLE = bytes(base("true").rootfs("/nonexistent").stdio(stdin=False))


@pytest.mark.parametrize(
    ("plan", "number"),
    [
        (b"", errno.EBADMSG),
        (b"\xff" * 100, errno.EBADMSG),
        (b"\0" * 100, errno.EBADMSG),
        (b"GET / HTTP/1.1\r\n\r\n", errno.EBADMSG),
        (WHOLE[:-1], errno.EBADMSG),
        (WHOLE + b"x", errno.EBADMSG),
        (WHOLE + RECORD.pack(99, 0, 0), errno.EBADMSG),
        (WHOLE + RECORD.pack(1, 0, 0xFFFFFFFF), errno.EBADMSG),
        (WHOLE + RECORD.pack(1, 0, 3) + b"abc", errno.EBADMSG),
        (bytes(Plan().argv(["true"]).env([])), errno.EBADMSG),
        (bytes(Plan().argv([]).env([]).rootfs("/")), errno.EBADMSG),
        (WHOLE + bytes(Plan().seccomp(bytes(12))), errno.EBADMSG),
        (WHOLE + bytes(Plan().seccomp(bytes(8 * 4097))), errno.E2BIG),
        (WHOLE + bytes(Plan().volume("/a", "/b")) * 65, errno.E2BIG),
        (WHOLE + bytes(Plan().file("/a", b"")) * 9, errno.E2BIG),
        (WHOLE + bytes(Plan().mask("a")) * 65, errno.E2BIG),
    ],
)
def test_plans_that_are_none(plan: bytes, number: int) -> None:
    error = failure(plan)
    assert (error.step, error.errno) == ("plan", number), str(error)


@pytest.mark.parametrize("fds", [(), (1,), (0, 1, 2)])
def test_other_descriptors_than_the_plan_speaks_of(rootfs: Path, fds: tuple[int, ...]) -> None:
    error = failure(base("true").rootfs(str(rootfs)).stdio(stdin=False), fds)
    assert (error.step, error.errno, error.text) == ("plan", errno.EBADMSG, "descriptors")


def test_what_the_parent_itself_refuses_to_send(rootfs: Path) -> None:
    plan = base("true").rootfs(str(rootfs)).stdio(stdin=False)
    assert failure(plan, (0, 1, 2, 2, 2, 2)).errno == errno.E2BIG
    assert failure(bytes(plan) + bytes(9 << 20)).errno == errno.E2BIG
    assert failure(plan, (1, 9999)).errno == errno.EBADF


def test_an_init_that_is_killed_while_parked(rootfs: Path) -> None:
    for _ in range(5):
        with namespaces.prepare() as slot:
            slot.signal(signal.SIGKILL)
            os.waitid(os.P_PIDFD, slot.pidfd, os.WEXITED | os.WNOWAIT)
            with pytest.raises(StepError) as caught:
                slot.start(base("true").rootfs(str(rootfs)).stdio(stdin=False), (1, 2))
            assert (caught.value.step, caught.value.errno) == ("init", 0)
            assert "died before it could start" in str(caught.value)


def gated(rootfs: Path, directory: Path) -> bytes:
    """A program that leaves a mark in `directory` when it runs."""
    return bytes(shell("touch /marks/ran").rootfs(str(rootfs)).volume(str(directory), "/marks").no_stdio().gate())


def in_place(slot: namespaces.Slot) -> bool:
    return Path(f"/proc/{slot.pid}/root/marks").is_dir()


def test_a_program_waits_at_its_gate(rootfs: Path, tmp_path: Path) -> None:
    with namespaces.prepare() as slot:
        slot.go(gated(rootfs, tmp_path))
        wait_until(lambda: in_place(slot), what="everything being in place")
        time.sleep(0.05)
        assert os.listdir(tmp_path) == [] and (report := slot.report()) and report.kind == namespaces.PARKED
        with pytest.raises(BlockingIOError):
            slot.report(wait=False)
        slot.open_gate()
        assert (report := slot.report()) and report.kind == namespaces.EXECUTING
        assert slot.report() is None and slot.wait() == 0
        slot.started = True
    assert os.listdir(tmp_path) == ["ran"]


def test_a_gate_that_stays_closed(rootfs: Path, tmp_path: Path) -> None:
    before = leftovers()
    with namespaces.prepare() as slot:
        slot.go(gated(rootfs, tmp_path))
        wait_until(lambda: in_place(slot), what="everything being in place")
        slot.hang_up()  # as when the parent ends
        assert slot.wait() == 0
    assert leftovers() == before and os.listdir(tmp_path) == []
    with namespaces.prepare() as slot:
        slot.go(gated(rootfs, tmp_path))
    assert leftovers() == before and os.listdir(tmp_path) == []
    with namespaces.prepare() as slot:
        slot.go(bytes(base("true").rootfs("/nonexistent").no_stdio().gate()))
        slot.open_gate()  # the init has failed before it got there, or will
        while (report := slot.report()) and report.kind != namespaces.FAILED:
            pass
        assert report and report.step == "root" and slot.report() is None


def test_a_slot_that_is_not_used_leaves_nothing() -> None:
    before = leftovers()
    with namespaces.prepare() as slot:
        report = slot.report()
        assert report is not None and report.kind == namespaces.PARKED
        with pytest.raises(BlockingIOError):
            slot.report(wait=False)
        pid = slot.pid
    slot.close()
    assert leftovers() == before and not os.path.exists(f"/proc/{pid}")


def test_a_clone_that_the_kernel_refuses() -> None:
    with open("/dev/null") as file:
        with pytest.raises(StepError) as caught:
            namespaces.prepare(cgroup_fd=file.fileno())
        assert caught.value.step == "clone" and caught.value.errno in (errno.EBADF, errno.EINVAL)
        with pytest.raises(StepError) as caught:
            namespaces.prepare(namespaces.HOST_NETWORK, netns_fd=file.fileno())
        assert (caught.value.step, caught.value.errno) == ("clone", errno.EINVAL)
    with pytest.raises(StepError) as caught:
        namespaces.prepare(namespaces.ALL | 0xFF)
    assert (caught.value.step, caught.value.errno) == ("clone", errno.EINVAL)


# --- the program that becomes the container --------------------------------------------------------------------------


def test_the_init_is_sealed() -> None:
    fd = namespaces.init_program()
    assert fd == namespaces.init_program(), "made once"
    seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    wanted = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    assert seals & wanted == wanted and not os.get_inheritable(fd)
    for attempt in (lambda: os.pwrite(fd, b"x", 0), lambda: os.ftruncate(fd, 0)):
        with pytest.raises(PermissionError):
            attempt()
    again = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
    with pytest.raises(PermissionError):
        os.write(again, b"x")
    os.close(again)  # while it is open for writing the kernel executes it for nobody


def test_what_is_seen_from_inside(rootfs: Path) -> None:
    """/proc/self/exe is the container's own program, and of the init's memfd there is nothing (CVE-2019-5736)."""
    script = (
        "readlink /proc/1/exe; ls -l /proc/1/fd | grep -c memfd; grep -c memfd /proc/1/maps; cat /proc/1/comm; true"
    )
    assert run(shell(script).rootfs(str(rootfs))).out.split() == ["/bin/busybox", "0", "0", "sh"]


def test_a_program_that_is_the_init_itself(rootfs: Path) -> None:
    """The trick of CVE-2019-5736: a path that leads to the running program leads to a sealed copy, or nowhere."""
    before = subprocess.run(["sha256sum", f"/proc/self/fd/{namespaces.init_program()}"], capture_output=True).stdout
    with namespaces.prepare() as slot, pytest.raises(StepError):
        slot.start(base("/proc/self/exe", "0").rootfs(str(rootfs)).stdio(stdin=False), (1, 2))
        assert slot.wait() != 0
        raise StepError("exec", 0)
    after = subprocess.run(["sha256sum", f"/proc/self/fd/{namespaces.init_program()}"], capture_output=True).stdout
    assert before == after
