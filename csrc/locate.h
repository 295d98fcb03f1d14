/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds what a path names, as the directory that holds it and its name there, so that it can be opened, made or
 * replaced by descriptor afterwards, whatever becomes of the path meanwhile.
 */
#ifndef PYRT_LOCATE_H
#define PYRT_LOCATE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct located {
    int fd;                  /* owned: the directory that holds `base`; where base is "", the directory itself */
    char base[NAME_MAX + 1]; /* "" for /, "." and ".." */
    bool slash;              /* a slash is behind it: only a directory will do */
    bool exists;
    struct stat status; /* of what is there, if something is */
};

/*
 * Look `path` up from root_fd (AT_FDCWD: as open(2) does), its directories by openat2 with the flags `resolve`. With
 * `follow`, or a slash behind it, a symbolic link at its end is followed too; one that leads to nothing names what is
 * not there. 0, or -errno: ENOENT and ENOTDIR are about the directories on the way.
 */
int locate(int root_fd, uint64_t resolve, const char *path, bool follow, struct located *found);

#endif
