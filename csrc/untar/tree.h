/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory being filled. Every path is resolved by the kernel beneath one root descriptor, without following any
 * symbolic link (openat2); everything else is done by descriptor, or by a single name in a parent so opened.
 *
 * The parent of the last entry stays open, because archives come directory by directory. Making something in a
 * directory changes the directory's time; the time it had is put back when the parent is closed, which gives every
 * directory its own time in the end without remembering all of them.
 */
#ifndef PYRT_UNTAR_TREE_H
#define PYRT_UNTAR_TREE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "name.h"

struct tree {
    int root_fd;
    bool copy;                       /* into a place in use: no whiteouts, and mounts are crossed */
    int parent_fd;                   /* -1: none is open */
    char parent[NAME_BYTES_MAX + 1]; /* its clean path */
    struct timespec parent_mtime;    /* what it gets when it is closed */
    uint64_t entries_left;           /* directories that archives leave out count too */
    struct later *later;             /* owned; of a copy by somebody who is not root */
    size_t later_count;
};

/* The directory that is to hold the clean path `name`, made (0755, root's) where it is missing. A borrowed fd. */
int tree_parent(struct tree *tree, const char *name);

/* The same of something that must exist: an fd of the caller's own. */
int tree_existing_parent(struct tree *tree, const char *name);

/* Close the parent and put back its time. */
int tree_leave(struct tree *tree);

/*
 * The directory at the clean path `name` is to have this mode when all is done, because its owner could not fill it
 * with that. 0 or -ENOMEM, also beyond a bound.
 */
int tree_set_mode_later(struct tree *tree, const char *name, mode_t mode);

/* Close the parent, and give the modes that were put off. */
int tree_finish(struct tree *tree);

/* Nothing is copied into file systems that are the kernel's own words. 0, or -EPERM for one of them. */
int tree_allows(int fd);

/* The directory at the clean path `name` has been given this time: let tree_leave() not undo it. */
void tree_set_mtime(struct tree *tree, const char *name, struct timespec mtime);

/* Remove `base` in the directory, whatever it is and however deep. Nothing there is no error. */
int tree_remove(int parent_fd, const char *base);

/* Is this overlayfs' mark for "gone"? */
int tree_is_whiteout(const struct stat *status);

/* Let a directory hide everything that layers below have in it. */
int tree_set_opaque(int fd);

#endif
