/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls and constants that the oldest supported C library (glibc 2.35) does not offer.
 * Each wrapper returns >= 0 or -errno.
 */
#ifndef PYRT_BASE_SYSCALLS_H
#define PYRT_BASE_SYSCALLS_H

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef OPEN_TREE_CLOEXEC
#define OPEN_TREE_CLOEXEC O_CLOEXEC
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 0x00000004
#endif
#ifndef MOVE_MOUNT_T_EMPTY_PATH
#define MOVE_MOUNT_T_EMPTY_PATH 0x00000040
#endif
#ifndef MOUNT_ATTR_RDONLY
#define MOUNT_ATTR_RDONLY 0x00000001
#endif
#ifndef MOUNT_ATTR_NOSUID
#define MOUNT_ATTR_NOSUID 0x00000002
#define MOUNT_ATTR_NODEV 0x00000004
#define MOUNT_ATTR_NOEXEC 0x00000008
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

/* struct mount_attr and struct clone_args have grown with time; these are the parts pyrt fills. */
struct pyrt_mount_attr {
    uint64_t attr_set, attr_clr, propagation, userns_fd;
};

struct pyrt_clone_args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

static inline int sys_result(long ret)
{
    return ret < 0 ? -errno : (int)ret;
}

static inline int sys_openat2(int dirfd, const char *path, uint64_t flags, uint64_t resolve)
{
    struct open_how how = {.flags = flags, .resolve = resolve};
    return sys_result(syscall(SYS_openat2, dirfd, path, &how, sizeof how));
}

static inline int sys_open_tree(int dirfd, const char *path, unsigned flags)
{
    return sys_result(syscall(SYS_open_tree, dirfd, path, flags));
}

/* Moves the mount that from_fd refers to onto the directory or file that to_fd refers to. */
static inline int sys_move_mount(int from_fd, int to_fd)
{
    return sys_result(syscall(SYS_move_mount, from_fd, "", to_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
}

static inline int sys_mount_set_readonly(int mount_fd, int recursive)
{
    struct pyrt_mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
    return sys_result(syscall(SYS_mount_setattr, mount_fd, "", flags, &attr, sizeof attr));
}

static inline int sys_fsopen(const char *type)
{
    return sys_result(syscall(SYS_fsopen, type, 1 /* FSOPEN_CLOEXEC */));
}

static inline int sys_fsconfig_create(int context)
{
    return sys_result(syscall(SYS_fsconfig, context, 6 /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0));
}

static inline int sys_fsmount(int context, unsigned attributes)
{
    return sys_result(syscall(SYS_fsmount, context, 1 /* FSMOUNT_CLOEXEC */, attributes));
}

static inline int sys_pivot_root(const char *new_root, const char *put_old)
{
    return sys_result(syscall(SYS_pivot_root, new_root, put_old));
}

static inline int sys_close_range(unsigned first, unsigned last, unsigned flags)
{
    return sys_result(syscall(SYS_close_range, first, last, flags));
}

#endif
