/* SPDX-License-Identifier: Apache-2.0 */
/* Opens containers' roots; see rootfs.h. */
#define _GNU_SOURCE
#include "rootfs.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "base/syscalls.h"

/* In a namespace of ours: a tmpfs over a directory that exists everywhere, as csrc/init/stage.c does it. */
#define STAGE "/proc"
#define MASK STAGE "/mask"
#define ROOT STAGE "/root"

/* <linux/mount.h> and <sys/mount.h> do not go together in glibc 2.36. */
#define ATTR_RDONLY 0x00000001
#define ATTR_NOSUID 0x00000002
#define ATTR_NODEV 0x00000004
#define ATTR_NOEXEC 0x00000008
#define ATTR_ATIME 0x00000070
#define ATTR_NOATIME 0x00000010

static bool number(const char **text, char end, int base, uint32_t *value)
{
    char *stop;

    errno = 0;
    unsigned long parsed = strtoul(*text, &stop, base);
    if (errno || stop == *text || *stop != end || parsed > UINT32_MAX)
        return false;
    *value = (uint32_t)parsed;
    *text = stop + 1;
    return true;
}

static bool add_mask(struct rootfs *rootfs, const char *text)
{
    struct rootfs_mask *mask = &rootfs->masks[rootfs->mask_count];

    if (rootfs->mask_count == ROOTFS_MASKS_MAX || !number(&text, ':', 8, &mask->mode) ||
        !number(&text, ':', 10, &mask->uid) || !number(&text, ':', 10, &mask->gid))
        return false;
    mask->path = *text ? text : ".";
    rootfs->mask_count++;
    return true;
}

int rootfs_argument(struct rootfs *rootfs, char ***at)
{
    static const char *const WORDS[] = {"--pidfd", "--overlay-directory", "--overlay-options", "--mask"};
    const char *word = **at, *value = (*at)[1];
    size_t which = 0;
    uint32_t fd;

    while (which < sizeof WORDS / sizeof *WORDS && strcmp(word, WORDS[which]) != 0)
        which++;
    if (which == sizeof WORDS / sizeof *WORDS)
        return 0;
    if (!value)
        return -EINVAL;
    ++*at;
    switch (which) {
    case 0:
        if (!number(&value, '\0', 10, &fd) || fd > INT32_MAX)
            return -EINVAL;
        rootfs->pidfd = (int)fd;
        return 1;
    case 1:
        rootfs->directory = value;
        return 1;
    case 2:
        rootfs->options = value;
        return 1;
    default:
        return add_mask(rootfs, value) ? 1 : -EINVAL;
    }
}

bool rootfs_given(const struct rootfs *rootfs)
{
    return rootfs->pidfd >= 0 || (rootfs->directory && rootfs->options);
}

/* Reading leaves no trace (no access times), and what is opened by mistake is never a device. */
static int clone_mount(int fd, const char *path, unsigned flags)
{
    bool deep = flags & ROOTFS_SUBMOUNTS;
    struct pyrt_mount_attr attributes = {
        .attr_set = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC | (flags & ROOTFS_WRITABLE ? 0 : ATTR_RDONLY | ATTR_NOATIME),
        .attr_clr = flags & ROOTFS_WRITABLE ? 0 : ATTR_ATIME,
    };
    unsigned how = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (*path ? 0 : AT_EMPTY_PATH) | (deep ? AT_RECURSIVE : 0);
    int tree = sys_open_tree(fd, path, how);

    if (tree < 0)
        return tree;
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | (deep ? AT_RECURSIVE : 0), &attributes, sizeof attributes) < 0) {
        int code = errno;
        close(tree);
        return -code;
    }
    return tree;
}

int rootfs_clone(int fd, unsigned flags, const char **step)
{
    *step = "mount the directory";
    return clone_mount(fd, "", flags & ~(unsigned)ROOTFS_SUBMOUNTS);
}

static int make_masks(const struct rootfs *rootfs)
{
    int fd = open(MASK, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret = 0;

    if (fd < 0)
        return -errno;
    for (size_t i = 0; ret == 0 && i < rootfs->mask_count; i++) {
        const struct rootfs_mask *mask = &rootfs->masks[i];

        if (!mask->mode)
            ret = mknodat(fd, mask->path, S_IFCHR, 0) < 0 ? -errno : 0;
        else if (strcmp(mask->path, ".") != 0 && mkdirat(fd, mask->path, 0700) < 0)
            ret = -errno;
        else if (fchownat(fd, mask->path, mask->uid, mask->gid, 0) < 0 || fchmodat(fd, mask->path, mask->mode & 07777, 0) < 0)
            ret = -errno;
    }
    close(fd);
    return ret;
}

/* The paths here are pyrt's own; nothing of the container is looked up before its root is one mount. */
static int open_stopped(const struct rootfs *rootfs, unsigned flags, const char **step)
{
    int ret;

    *step = "make a mount namespace";
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -errno;
    *step = "make a place for the root";
    if (mount("tmpfs", STAGE, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755") < 0 || mkdir(MASK, 0755) < 0 ||
        mkdir(ROOT, 0755) < 0)
        return -errno;
    if ((ret = make_masks(rootfs)) < 0)
        return ret;
    *step = "mount the container's root";
    if (chdir(rootfs->directory) < 0 || mount("overlay", ROOT, "overlay", 0, rootfs->options) < 0)
        return -errno;
    return clone_mount(AT_FDCWD, ROOT, flags & ~(unsigned)ROOTFS_SUBMOUNTS);
}

int rootfs_open(const struct rootfs *rootfs, unsigned flags, const char **step)
{
    /* In the container's namespaces or not: none of its processes may look into this one. */
    *step = "become undumpable";
    if (prctl(PR_SET_DUMPABLE, 0) < 0)
        return -errno;
    if (rootfs->pidfd < 0)
        return open_stopped(rootfs, flags, step);
    *step = "join the container's mount namespace";
    if (setns(rootfs->pidfd, CLONE_NEWNS) < 0)
        return -errno;
    *step = "open the container's root";
    return clone_mount(AT_FDCWD, "/", flags);
}

int rootfs_confine(int root_fd, uint64_t keep, const char **step)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {.effective = (uint32_t)keep, .permitted = (uint32_t)keep},
        {.effective = (uint32_t)(keep >> 32), .permitted = (uint32_t)(keep >> 32)},
    };

    *step = "enter the directory";
    if (fchdir(root_fd) < 0 || chroot(".") < 0)
        return -errno;
    *step = "give up privileges";
    if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_capset, &header, data) < 0)
        return -errno;
    return 0;
}
