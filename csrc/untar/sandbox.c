/* SPDX-License-Identifier: Apache-2.0 */
/* Shuts the process into the directory it fills; see sandbox.h. */
#define _GNU_SOURCE
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* <sys/mount.h> and <linux/mount.h> do not go together in glibc 2.36, so the old calls are declared here. */
int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);
int umount2(const char *target, int flags);
#define DETACH 2 /* MNT_DETACH */

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

/* A mount of the target alone, put over itself, because pivot_root(2) wants a mount. Returns its descriptor. */
static int mount_target(void)
{
    struct mount_attr attributes = {
        .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSYMFOLLOW,
    };
    int fd = (int)syscall(SYS_open_tree, AT_FDCWD, ".", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

    if (fd < 0)
        return -errno;
    if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attributes, sizeof attributes) == 0 &&
        syscall(SYS_move_mount, fd, "", AT_FDCWD, ".", MOVE_MOUNT_F_EMPTY_PATH) == 0)
        return fd;
    int code = errno;
    close(fd);
    return -code;
}

/* "." over "." stacks the old root on the new one, from where it is taken off. */
static int pivot(void)
{
    if (syscall(SYS_pivot_root, ".", ".") == 0)
        return umount2(".", DETACH) < 0 ? -errno : 0;
    /* An initramfs cannot be pivoted away from. No descriptor of ours leads outside, so chroot holds. */
    return errno == EINVAL && chroot(".") == 0 ? 0 : -errno;
}

int sandbox_enter(int target_fd, const char **step)
{
    int fd, ret;

    /* The working directory is carried into the new namespace; a descriptor would stay in the old one. */
    *step = "enter the target";
    if (fchdir(target_fd) < 0)
        return -errno;
    close(target_fd);
    *step = "make a mount namespace";
    if (unshare(CLONE_NEWNS) < 0)
        return -errno;
    *step = "make the mounts private";
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -errno;
    *step = "mount the target";
    fd = mount_target();
    if (fd < 0)
        return fd;
    *step = "make the target the root";
    ret = fchdir(fd) < 0 ? -errno : pivot();
    close(fd);
    if (ret < 0)
        return ret;
    if (chdir("/") < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}
