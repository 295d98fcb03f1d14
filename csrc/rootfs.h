/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a tool of ours gets at a container's files.
 *
 * Of a container that runs: through the mount namespace of one of its processes, as the container itself sees its
 * root. Of one that does not: the overlay is mounted, in a mount namespace that ends with this process. Either way the
 * result is one descriptor of a mount that nobody else sees and that opens no device and runs nothing; what is in it
 * belongs to the container, and is to be reached from that descriptor alone, following nothing unchecked.
 *
 * The functions change the calling process: its mount namespace, its root and its working directory.
 */
#ifndef PYRT_ROOTFS_H
#define PYRT_ROOTFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROOTFS_MASKS_MAX 64

enum rootfs_flag {
    ROOTFS_WRITABLE = 1,  /* else the mount is read-only */
    ROOTFS_SUBMOUNTS = 2, /* of one that runs: with what is mounted in it, volumes, /proc and /dev included */
};

/* An entry of the layer that the overlay's options call /proc/mask, as in csrc/plan.h; mode 0 is a whiteout. */
struct rootfs_mask {
    uint32_t mode, uid, gid;
    const char *path;
};

struct rootfs {
    int pidfd;               /* of a process of the container; -1: it does not run, and the rest counts */
    const char *directory;   /* where relative paths in the options start */
    const char *options;     /* as mount(8) -o has them */
    size_t mask_count;
    struct rootfs_mask masks[ROOTFS_MASKS_MAX];
};

/*
 * Take a word of the command line, and what follows it:
 *     --pidfd N | --overlay-directory DIR --overlay-options OPTIONS [--mask MODE:UID:GID:PATH]...
 * All strings are borrowed. 1: taken, *at is at its last word; 0: it is none of these; -EINVAL.
 */
int rootfs_argument(struct rootfs *rootfs, char ***at);

/* Has it been said where the root is? */
bool rootfs_given(const struct rootfs *rootfs);

/*
 * Open the container's root. A descriptor (O_PATH, the caller's), or -errno, with *step saying what could not be done.
 * Afterwards the process is in the container's mount namespace, or in one of its own.
 */
int rootfs_open(const struct rootfs *rootfs, unsigned flags, const char **step);

/* A mount of our own of the directory that fd refers to, without what is mounted in it. A descriptor, or -errno. */
int rootfs_clone(int fd, unsigned flags, const char **step);

/*
 * Give up what a reader of other people's files does not need: everything outside the directory `root_fd`, and every
 * capability but those in `keep` (bit n: capability n). 0 or -errno.
 */
int rootfs_confine(int root_fd, uint64_t keep, const char **step);

#endif
