# SPDX-License-Identifier: Apache-2.0
"""What the default seccomp program must decide for every system call number, written down apart from the profile.

The profile says what is allowed; this says what is not, so that a name slipping into (or out of) a list shows up here.
For a container with the default capabilities, all arguments zero.
"""

from __future__ import annotations

CLONE3 = 435
HIGHEST = 469  # the newest x86_64 call that the profile has heard of

DENIED_X86_64 = {
    "syslog": 103, "uselib": 134, "ustat": 136, "sysfs": 139, "vhangup": 153, "pivot_root": 155, "_sysctl": 156,
    "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169,
    "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173, "create_module": 174, "init_module": 175,
    "delete_module": 176, "get_kernel_syms": 177, "query_module": 178, "quotactl": 179, "nfsservctl": 180,
    "getpmsg": 181, "putpmsg": 182, "afs_syscall": 183, "tuxcall": 184, "security": 185, "lookup_dcookie": 212,
    "clock_settime": 227, "vserver": 236, "mbind": 237, "set_mempolicy": 238, "get_mempolicy": 239, "kexec_load": 246,
    "add_key": 248, "request_key": 249, "keyctl": 250, "migrate_pages": 256, "unshare": 272, "move_pages": 279,
    "perf_event_open": 298, "fanotify_init": 300, "open_by_handle_at": 304, "setns": 308, "kcmp": 312,
    "finit_module": 313, "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425,
    "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429, "fsopen": 430,
    "fsconfig": 431, "fsmount": 432, "fspick": 433, "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442,
    "quotactl_fd": 443, "set_mempolicy_home_node": 450, "lsm_get_self_attr": 459, "lsm_set_self_attr": 460,
    "lsm_list_modules": 461, "open_tree_attr": 467,
}  # fmt: skip
ABSENT_X86_64 = {*range(337, 424), CLONE3, *range(HIGHEST + 1, 601)}

DENIED_I386 = {
    "break": 17, "oldstat": 18, "mount": 21, "umount": 22, "stime": 25, "oldfstat": 28, "stty": 31, "gtty": 32,
    "nice": 34, "ftime": 35, "prof": 44, "signal": 48, "acct": 51, "umount2": 52, "lock": 53, "mpx": 56, "ulimit": 58,
    "oldolduname": 59, "ustat": 62, "sigaction": 67, "sgetmask": 68, "ssetmask": 69, "sigsuspend": 72,
    "sigpending": 73, "sethostname": 74, "settimeofday": 79, "oldlstat": 84, "uselib": 86, "swapon": 87, "reboot": 88,
    "readdir": 89, "profil": 98, "ioperm": 101, "syslog": 103, "olduname": 109, "iopl": 110, "vhangup": 111,
    "idle": 112, "vm86old": 113, "swapoff": 115, "setdomainname": 121, "create_module": 127, "init_module": 128,
    "delete_module": 129, "get_kernel_syms": 130, "quotactl": 131, "bdflush": 134, "sysfs": 135, "afs_syscall": 137,
    "_sysctl": 149, "vm86": 166, "query_module": 167, "nfsservctl": 169, "getpmsg": 188, "putpmsg": 189,
    "pivot_root": 217, "unused 222": 222, "unused 223": 223, "unused 251": 251, "lookup_dcookie": 253,
    "clock_settime": 264, "vserver": 273, "mbind": 274, "get_mempolicy": 275, "set_mempolicy": 276, "kexec_load": 283,
    "unused 285": 285, "add_key": 286, "request_key": 287, "keyctl": 288, "migrate_pages": 294, "unshare": 310,
    "move_pages": 317, "perf_event_open": 336, "fanotify_init": 338, "open_by_handle_at": 342, "setns": 346,
    "kcmp": 349, "finit_module": 350, "bpf": 357, "userfaultfd": 374, "unused 387": 387, "unused 388": 388,
    "unused 389": 389, "unused 390": 390, "unused 391": 391, "unused 392": 392, "clock_settime64": 404,
    "unused 415": 415, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "pidfd_getfd": 438,
    "process_madvise": 440, "mount_setattr": 442, "quotactl_fd": 443, "set_mempolicy_home_node": 450,
}  # fmt: skip
ABSENT_I386 = {CLONE3, *range(500, 601)}
# What lies between depends on how new libseccomp is: it knows the numbers of foreign architectures, we do not.
UNCERTAIN_I386 = range(451, 500)


def expected(architecture: str, number: int) -> str | None:
    """Return "allow", "EPERM" or "ENOSYS", or None where it may be either."""
    if architecture == "x32":
        return "ENOSYS"
    denied, absent = (DENIED_X86_64, ABSENT_X86_64) if architecture == "x86_64" else (DENIED_I386, ABSENT_I386)
    if architecture == "i386" and number in UNCERTAIN_I386:
        return None
    if number in absent:
        return "ENOSYS"
    return "EPERM" if number in denied.values() else "allow"
