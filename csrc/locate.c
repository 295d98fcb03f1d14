/* SPDX-License-Identifier: Apache-2.0 */
/* Looks a path up component by component where it must, by the kernel where it can; see locate.h. */
#define _GNU_SOURCE
#include "locate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/syscalls.h"

#define LINKS_MAX 40 /* the kernel's own limit */
#define TRIES 1000   /* EAGAIN: a rename elsewhere raced with the proof that we stayed inside; it may go on for ever */

static int open_directory(int root_fd, const char *path, uint64_t flags, uint64_t resolve)
{
    int fd = -EAGAIN;

    for (int i = 0; fd == -EAGAIN && i < TRIES; i++)
        fd = sys_openat2(root_fd, path, flags | O_DIRECTORY | O_CLOEXEC, resolve);
    return fd;
}

static int itself(int root_fd, uint64_t resolve, const char *path, struct located *found)
{
    found->base[0] = '\0';
    found->exists = true;
    found->fd = open_directory(root_fd, path, O_RDONLY, resolve);
    if (found->fd < 0)
        return found->fd;
    return fstat(found->fd, &found->status) < 0 ? -errno : 0;
}

/* Cut `text` into directory and name, and look the name up. 1: it is a symbolic link, and `text` is where it leads. */
static int step(int root_fd, uint64_t resolve, char *text, bool follow, struct located *found)
{
    char target[PATH_MAX], joined[2 * PATH_MAX];
    size_t length = strlen(text);
    const char *parent = ".", *base = text;
    char *slash;
    ssize_t got;

    while (length > 1 && text[length - 1] == '/') {
        found->slash = true;
        text[--length] = '\0';
    }
    slash = strrchr(text, '/');
    if (slash) {
        base = slash + 1;
        parent = slash == text ? "/" : text;
    }
    if (!*base || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
        return itself(root_fd, resolve, text, found);
    if (strlen(base) > NAME_MAX)
        return -ENAMETOOLONG;
    strcpy(found->base, base);
    if (slash)
        *slash = '\0';
    found->fd = open_directory(root_fd, parent, O_PATH, resolve);
    if (found->fd < 0)
        return found->fd;
    found->exists = fstatat(found->fd, found->base, &found->status, AT_SYMLINK_NOFOLLOW) == 0;
    if (!found->exists)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISLNK(found->status.st_mode) || !(follow || found->slash))
        return 0;
    got = readlinkat(found->fd, found->base, target, sizeof target - 1);
    if (got < 0)
        return -errno;
    target[got] = '\0';
    if (target[0] == '/')
        snprintf(joined, sizeof joined, "%s", target);
    else
        snprintf(joined, sizeof joined, "%s/%s", parent, target); /* the kernel takes ".." for what it is there */
    if (strlen(joined) >= PATH_MAX)
        return -ENAMETOOLONG;
    strcpy(text, joined);
    close(found->fd);
    found->fd = -1;
    return 1;
}

int locate(int root_fd, uint64_t resolve, const char *path, bool follow, struct located *found)
{
    char text[PATH_MAX];
    int ret = 1;

    *found = (struct located){.fd = -1};
    if (!*path)
        return -ENOENT;
    if (strlen(path) >= sizeof text)
        return -ENAMETOOLONG;
    strcpy(text, path);
    for (int i = 0; ret == 1 && i < LINKS_MAX; i++)
        ret = step(root_fd, resolve, text, follow, found);
    if (ret == 0)
        return 0;
    if (found->fd >= 0)
        close(found->fd);
    found->fd = -1;
    return ret == 1 ? -ELOOP : ret;
}
