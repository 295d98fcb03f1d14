/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "remove.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define DEPTH_MAX 100

static int remove_below(int dirfd, const char *name, int depth);

static int empty_directory(int fd, int depth)
{
    DIR *directory = fdopendir(fd);
    struct dirent *entry;
    int result = 0;

    if (!directory) {
        result = -errno;
        close(fd);
        return result;
    }
    while ((entry = readdir(directory))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int ret = 0;
        if (entry->d_type == DT_DIR)
            ret = remove_below(dirfd(directory), entry->d_name, depth + 1);
        else if (unlinkat(dirfd(directory), entry->d_name, 0) < 0 && errno != ENOENT)
            ret = errno == EISDIR ? remove_below(dirfd(directory), entry->d_name, depth + 1) : -errno;
        if (result == 0)
            result = ret;
    }
    closedir(directory);
    return result;
}

static int remove_below(int dirfd, const char *name, int depth)
{
    if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0; /* most directories of a container's own layer are empty */
    if (depth == DEPTH_MAX)
        return -ELOOP;
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    int result = empty_directory(fd, depth);
    if (result == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        result = -errno;
    return result;
}

int pyrt_remove_tree(int dirfd, const char *name)
{
    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
        return 0;
    return errno == EISDIR ? remove_below(dirfd, name, 0) : -errno;
}
