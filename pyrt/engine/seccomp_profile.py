# SPDX-License-Identifier: Apache-2.0
"""The system calls a container may make when nobody says otherwise.

The policy is that of docker's default profile: what ordinary programs use, further ones with the capability that the
kernel asks for anyway. An allow-list; what is on none of these lists fails with EPERM, and with ENOSYS if it is newer
than the lists, so that a libc which tries the newest call first falls back to the older one. Names that an architecture
does not have are skipped there. Left out on purpose: io_uring_*, keyctl, add_key, request_key, userfaultfd, kexec_*,
swapon, nfsservctl, the old sysctl, uselib.
"""

from __future__ import annotations

import functools

from pyrt.engine.seccomp_rules import ABSENT, ALLOW, ARCHITECTURES, DENY, Compare, Profile, Rule

FILES = """
    access chdir chmod chown chown32 close close_range creat faccessat faccessat2 fadvise64 fadvise64_64 fallocate
    fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync file_getattr
    file_setattr flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents
    getdents64 inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl lchown lchown32 link linkat listmount
    lseek _llseek lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 readlink
    readlinkat rename renameat renameat2 rmdir stat stat64 statfs statfs64 statmount statx symlink symlinkat sync
    sync_file_range syncfs truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes
    fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr
    lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat
"""
DATA = """
    cachestat copy_file_range dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2
    epoll_wait epoll_wait_old eventfd eventfd2 io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64
    io_setup io_submit pipe pipe2 poll ppoll ppoll_time64 pread64 preadv preadv2 pselect6 pselect6_time64 pwrite64
    pwritev pwritev2 read readahead readv select _newselect sendfile sendfile64 signalfd signalfd4 splice tee
    timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 vmsplice write writev
"""
SOCKETS = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg
    send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair
"""
MEMORY = """
    brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect
    mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages
"""
PROCESSES = """
    execve execveat exit exit_group fork vfork wait4 waitid waitpid kill tgkill tkill getpgid getpgrp getpid getppid
    getsid gettid setpgid setsid set_tid_address pidfd_open pidfd_send_signal process_mrelease prctl arch_prctl
    modify_ldt get_thread_area set_thread_area getcpu getpriority setpriority getrlimit ugetrlimit setrlimit prlimit64
    getrusage ioprio_get ioprio_set sched_getaffinity sched_getattr sched_getparam sched_get_priority_max
    sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity
    sched_setattr sched_setparam sched_setscheduler sched_yield rseq get_robust_list set_robust_list futex futex_time64
    futex_requeue futex_wait futex_waitv futex_wake restart_syscall ptrace process_vm_readv process_vm_writev
"""  # the last three only reach one's own processes; before Linux 4.8 ptrace was a way around seccomp, we need 5.6
SIGNALS = """
    alarm pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn
"""
IDENTITY = """
    capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32
    getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32
    setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32
    landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp
"""
IPC = """
    ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
    mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
"""
TIME = """
    adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create
    timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 times
"""  # the adjusting ones are checked by CAP_SYS_TIME
SYSTEM = "getrandom sysinfo uname uretprobe uprobe"
ARM = "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"

BY_CAPABILITY: dict[str, str] = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules
        lsm_set_self_attr mount mount_setattr move_mount open_tree open_tree_attr perf_event_open quotactl quotactl_fd
        setdomainname sethostname setns syslog umount umount2 unshare
    """,
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYSLOG": "syslog",
}

# Newer than libseccomp 2.5.4 (Debian 12, up to Linux 5.17); these numbers are the same on every architecture we know.
NUMBERS: dict[str, int] = {
    "cachestat": 451, "fchmodat2": 452, "map_shadow_stack": 453, "futex_wake": 454, "futex_wait": 455,
    "futex_requeue": 456, "statmount": 457, "listmount": 458, "lsm_get_self_attr": 459, "lsm_set_self_attr": 460,
    "lsm_list_modules": 461, "mseal": 462, "setxattrat": 463, "getxattrat": 464, "listxattrat": 465,
    "removexattrat": 466, "open_tree_attr": 467, "file_getattr": 468, "file_setattr": 469,
}  # fmt: skip
NUMBERS_X86_64 = {"uretprobe": 335, "uprobe": 336}

_LOW_32 = 0xFFFFFFFF
# New mount, cgroup, uts, ipc, user, pid and network namespace. (A new time namespace takes clone3 or unshare.)
NAMESPACE_FLAGS = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
# (mask, value): families 0 to 47 but AF_ALG (38) and AF_VSOCK (40). The kernel takes the argument for an int, so only
# its lower half may count: an allow rule like "family > 40" lets 38 + 2^32 through.
FAMILIES = ((~31, 0), (~3, 32), (~1, 36), (~0, 39), (~0, 41), (~1, 42), (~3, 44))
# PER_LINUX, PER_LINUX32, each also with UNAME26, and "only ask". ADDR_NO_RANDOMIZE and READ_IMPLIES_EXEC are not there.
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


def _masked(name: str, mask: int, value: int) -> Rule:
    return Rule((name,), ALLOW, (Compare(0, "SCMP_CMP_MASKED_EQ", mask & _LOW_32, value),))


@functools.lru_cache(maxsize=16)
def default_profile(capabilities: frozenset[str], machine: str) -> Profile:
    """Return the default policy for a container with these capabilities (full names) on a machine (as in uname)."""
    lists = [FILES, DATA, SOCKETS, MEMORY, PROCESSES, SIGNALS, IDENTITY, IPC, TIME, SYSTEM]
    if machine == "aarch64":
        lists.append(ARM)
    lists += [names for capability, names in BY_CAPABILITY.items() if capability in capabilities]
    allowed = sorted({name for names in lists for name in names.split()})
    rules = [Rule(tuple(allowed))]
    if "clone" not in allowed:
        rules.append(_masked("clone", NAMESPACE_FLAGS, 0))
        rules.append(Rule(("clone3",), ABSENT))  # its flags are behind a pointer: glibc must take clone instead
    rules += [_masked("socket", mask, value) for mask, value in FAMILIES]
    rules += [_masked("personality", _LOW_32, value) for value in PERSONALITIES]
    numbers = NUMBERS | (NUMBERS_X86_64 if machine == "x86_64" else {})
    return Profile(
        default=DENY,
        architectures=ARCHITECTURES[machine],
        rules=tuple(rules),
        numbers=tuple(numbers.items()),
        # No LSM of ours could see the family behind socketcall's pointer, so it may not make sockets at all. 32-bit
        # programs of the last ten years use socket(2); those that do not need a profile of their own.
        socketcall_opens=False,
    )
