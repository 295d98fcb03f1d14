# SPDX-License-Identifier: Apache-2.0
"""A container by Python alone: ctypes for the system calls, os.fork for the processes, the steps of the C floor.

usage: plain_python.py LOWERDIR SCRATCHDIR BPF_FILE
One run of /bin/true for each line of standard input, each answered by a line "EXEC_US WHOLE_US".

It is a contender and no way to do it: between fork and exec runs an interpreter, whose parent's threads are gone.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time

NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWPID, NEWNET = 1 << 17, 1 << 25, 1 << 26, 1 << 27, 1 << 29, 1 << 30
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE, STRICTATIME = (
    1, 2, 4, 8, 32, 1 << 12, 1 << 14, 1 << 18, 1 << 24,
)  # fmt: skip
DETACH = 2
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}[os.uname().machine]
SYS_KEYCTL = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
SYS_CAPSET = {"x86_64": 126, "aarch64": 91}[os.uname().machine]
SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}[os.uname().machine]
PR_CAPBSET_DROP = 24
CAPABILITIES = 0x800405FB  # the floor's
SIOCSIFFLAGS = 0x8914
QUIET = NOSUID | NODEV | NOEXEC

# Of either version's files those are written that are there. The floor's group of devices is left out.
GROUPS: tuple[tuple[str, dict[str, str]], ...] = (
    ("unified", {}),
    ("memory", {"memory.limit_in_bytes": "536870912", "memory.memsw.limit_in_bytes": "1073741824",
                "memory.max": "536870912", "memory.swap.max": "536870912"}),
    ("cpu", {"cpu.cfs_quota_us": "100000", "cpu.max": "100000 100000"}),
    ("pids", {"pids.max": "1024"}),
)  # fmt: skip
ON_V1 = os.path.exists("/sys/fs/cgroup/memory/cgroup.procs")
NAME = f"pyrt-python{os.getpid()}"
NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
LINKS = (("/proc/self/fd", "fd"), ("/proc/self/fd/0", "stdin"), ("/proc/self/fd/1", "stdout"),
         ("/proc/self/fd/2", "stderr"), ("pts/ptmx", "ptmx"))  # fmt: skip
MASKED_FILES = ("kcore", "keys", "latency_stats", "sched_debug", "timer_list", "timer_stats", "interrupts")
MASKED = ("/proc/acpi", "/proc/asound", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap")
READONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")

libc = ctypes.CDLL(None, use_errno=True)


def call(function: str, *arguments: object) -> None:
    if getattr(libc, function)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"{function}{arguments}")


def mount(kind: str, target: str, flags: int, options: str | None = None, *, source: str | None = None) -> None:
    data = None if options is None else options.encode()
    call("mount", (source or kind).encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data)


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def group_path(hierarchy: str) -> str:
    return f"/sys/fs/cgroup/{f'{hierarchy}/' if ON_V1 else ''}{NAME}"


def make_groups() -> None:
    for hierarchy, limits in GROUPS:
        os.makedirs(group_path(hierarchy), exist_ok=True)
        for name, value in limits.items():
            path = f"{group_path(hierarchy)}/{name}"
            if os.path.exists(path):
                write(path, value)


def make_root(lower: str, up: str, work: str) -> None:
    call("mount", None, b"/", None, ctypes.c_ulong(REC | PRIVATE), None)
    mount("overlay", lower, 0, f"lowerdir={lower},upperdir={up},workdir={work}")
    os.chdir(lower)  # noqa: TID251
    mount("proc", "proc", QUIET)
    mount("sysfs", "sys", QUIET | RDONLY)
    mount("tmpfs", "dev", NOSUID | STRICTATIME, "mode=755,size=65536k")
    for name, major, minor in NODES:
        os.mknod(f"dev/{name}", 0o20666, os.makedev(major, minor))
    for target, name in LINKS:
        os.symlink(target, f"dev/{name}")
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(f"dev/{name}")
    mount("devpts", "dev/pts", NOSUID | NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5")
    mount("tmpfs", "dev/shm", QUIET, "mode=1777,size=65536k")
    mount("mqueue", "dev/mqueue", QUIET)
    call("syscall", SYS_PIVOT_ROOT, b".", b".")
    call("umount2", b".", DETACH)
    os.chdir("/")  # noqa: TID251


def protect_paths() -> None:
    for name in MASKED_FILES:
        if os.path.exists(f"/proc/{name}"):
            mount("none", f"/proc/{name}", BIND, source="/dev/null")
    for path in MASKED:
        if os.path.exists(path):
            mount("tmpfs", path, RDONLY, "size=0k")
    for path in (f"/proc/{name}" for name in READONLY):
        if os.path.exists(path):
            mount("none", path, BIND | REC, source=path)
            mount("none", path, BIND | REMOUNT | RDONLY | QUIET)


def loopback_up() -> None:
    fd = libc.socket(2, 2, 0)
    call("ioctl", fd, ctypes.c_ulong(SIOCSIFFLAGS), b"lo".ljust(16, b"\0") + (0x41).to_bytes(24, "little"))
    os.close(fd)


def drop_privileges(program: bytes) -> None:
    class Filter(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]

    call("syscall", SYS_SECCOMP, 1, 0, ctypes.byref(Filter(len(program) // 8, program)))
    for number in range(64):
        if not CAPABILITIES >> number & 1 and libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0:
            break
    sets = CAPABILITIES.to_bytes(4, "little") * 2 + bytes(16)
    call("syscall", SYS_CAPSET, (0x20080522).to_bytes(4, "little") + bytes(4), sets)


def contain(lower: str, scratch: str, program: bytes, executed_fd: int) -> None:
    """In the first child: the groups and namespaces; then in the second, which is pid 1 there, everything else."""
    for hierarchy, _ in GROUPS:
        write(f"{group_path(hierarchy)}/cgroup.procs", str(os.getpid()))
    call("unshare", NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWPID | NEWNET)
    pid = os.fork()  # noqa: TID251
    if pid:
        os.close(executed_fd)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 255)
    make_root(lower, f"{scratch}/up", f"{scratch}/work")
    protect_paths()
    loopback_up()
    call("syscall", SYS_KEYCTL, 1, None)
    call("sethostname", b"python", 6)
    os.setsid()
    drop_privileges(program)
    os.execve("/bin/true", ["/bin/true"], {"HOME": "/", "PATH": "/bin"})


def one_run(lower: str, scratch: str, program: bytes) -> tuple[float, float]:
    begin = time.perf_counter()
    for name in ("up", "work"):
        os.mkdir(f"{scratch}/{name}")
    read_fd, executed_fd = os.pipe2(os.O_CLOEXEC)
    make_groups()
    pid = os.fork()  # noqa: TID251
    if not pid:
        try:
            contain(lower, scratch, program, executed_fd)
        except BaseException as error:
            os.write(2, f"{error}\n".encode())
        os._exit(1)
    os.close(executed_fd)
    os.read(read_fd, 1)
    to_exec = time.perf_counter() - begin
    os.close(read_fd)
    status = os.waitpid(pid, 0)[1]
    remove(scratch)
    whole = time.perf_counter() - begin
    if status:
        sys.exit("the run failed")
    return to_exec * 1e6, whole * 1e6


def remove(scratch: str) -> None:
    for hierarchy, _ in GROUPS:
        while True:
            try:
                os.rmdir(group_path(hierarchy))
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.001)
                continue
            break
    for name in ("up", "work/work", "work"):
        if os.path.isdir(f"{scratch}/{name}"):
            os.rmdir(f"{scratch}/{name}")


if __name__ == "__main__":
    with open(sys.argv[3], "rb") as file:
        filter_program = file.read()
    for _ in sys.stdin:
        print(*(f"{figure:.1f}" for figure in one_run(sys.argv[1], sys.argv[2], filter_program)), flush=True)
