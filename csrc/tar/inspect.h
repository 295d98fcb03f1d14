/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one name in a directory stands for, found out so that the answer is about one and the same object even while
 * somebody else puts another in its place: it is opened by what it is said to be, and what was opened is looked at.
 */
#ifndef PYRT_TAR_INSPECT_H
#define PYRT_TAR_INSPECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "tar/bytes.h"
#include "tar/encode.h"

#define INSPECT_XATTRS_MAX 1024

/* overlayfs' own marks on a directory of a container's own layer. */
enum overlay_mark { MARK_NONE, MARK_OPAQUE, MARK_WHITEOUTS };

struct object {
    struct stat status;
    int fd;              /* owned; of directories and regular files open for reading, else -1 */
    struct bytes target; /* of a symbolic link, NUL terminated */
    struct bytes names, values; /* what `xattrs` points into */
    struct item_xattr xattrs[INSPECT_XATTRS_MAX]; /* those that an archive carries, sorted by name */
    size_t xattr_count;
    bool xattrs_lost;    /* some have names that no archive can carry */
};

/* Look at `name` in the directory dirfd; `type` is readdir's hint. 0 or -errno; -ENOENT: it is gone, -EBUSY: it never
   stays the same long enough. The object is then the caller's, to be given to object_clear. */
int object_open(struct object *object, int dirfd, const char *name, uint8_t type);

/* The same of a directory that is open; the descriptor stays the caller's. */
int object_of_directory(struct object *object, int fd);

/* Read the extended attributes of what is open. Symbolic links and special files are taken to have none. */
int object_read_xattrs(struct object *object, int fd);

void object_clear(struct object *object);

/* The directory's descriptor, which becomes the caller's. */
int object_take_fd(struct object *object);

/* Is this overlayfs' mark for "gone"? `mark` is that of the directory it is in. 1, 0 or -errno. */
int object_is_whiteout(const struct object *object, enum overlay_mark mark);

/* A directory's own mark. >= 0, or -errno. */
int object_mark(int fd);

#endif
