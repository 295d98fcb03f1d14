/* SPDX-License-Identifier: Apache-2.0 */
/* Opens, makes and removes directories beneath the root; see tree.h. */
#define _GNU_SOURCE
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static int open_beneath(int fd, const char *path)
{
    struct open_how how = {
        .flags = DIRECTORY & ~O_NOFOLLOW, /* which would turn the last component's ELOOP into ENOTDIR */
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    };
    int opened;

    do /* EAGAIN: a rename elsewhere raced with the kernel's proof that we stayed beneath */
        opened = (int)syscall(SYS_openat2, fd, *path ? path : ".", &how, sizeof how);
    while (opened < 0 && errno == EAGAIN);
    return opened < 0 ? -errno : opened;
}

int tree_is_whiteout(const struct stat *status)
{
    return S_ISCHR(status->st_mode) && status->st_rdev == makedev(0, 0);
}

int tree_set_opaque(int fd)
{
    return fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0 ? -errno : 0;
}

/* The one directory `base` in fd, made if it is missing, or if only a whiteout is there: then it hides what is below. */
static int open_or_make(struct tree *tree, int fd, const char *base)
{
    struct stat before, found;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};
    bool opaque = false;
    int child = open_beneath(fd, base), ret;

    if (child != -ENOENT && child != -ENOTDIR)
        return child;
    if (child == -ENOTDIR) {
        if (fstatat(fd, base, &found, AT_SYMLINK_NOFOLLOW) < 0 || !tree_is_whiteout(&found))
            return child;
        opaque = true;
    }
    if (tree->entries_left == 0)
        return -EDQUOT;
    tree->entries_left--;
    if (fstat(fd, &before) < 0)
        return -errno;
    if ((opaque && unlinkat(fd, base, 0) < 0) || mkdirat(fd, base, 0755) < 0)
        return -errno;
    times[1] = before.st_mtim;
    if (futimens(fd, times) < 0)
        return -errno;
    child = open_beneath(fd, base);
    if (child >= 0 && opaque && (ret = tree_set_opaque(child)) < 0) {
        close(child);
        return ret;
    }
    return child;
}

/* Walk down component by component; `path` is written to while that goes on, and left as it was. */
static int make_path(struct tree *tree, char *path)
{
    int fd = open_beneath(tree->root_fd, "");

    for (char *at = path; fd >= 0 && *at;) {
        size_t size = strcspn(at, "/");
        char after = at[size];
        int child;

        at[size] = '\0';
        child = open_or_make(tree, fd, at);
        at[size] = after;
        close(fd);
        fd = child;
        at += size + (after == '/');
    }
    return fd;
}

/* The path of the directory that holds `name`, into `out` (NAME_BYTES_MAX + 1 bytes). */
static void directory_of(const char *name, char *out)
{
    size_t length = (size_t)(name_base(name) - name);

    length -= length > 0; /* the slash */
    memcpy(out, name, length);
    out[length] = '\0';
}

int tree_parent(struct tree *tree, const char *name)
{
    char path[NAME_BYTES_MAX + 1];
    struct stat status;
    int fd, ret;

    directory_of(name, path);
    if (tree->parent_fd >= 0 && strcmp(path, tree->parent) == 0)
        return tree->parent_fd;
    if ((ret = tree_leave(tree)) < 0)
        return ret;
    fd = open_beneath(tree->root_fd, path);
    if (fd == -ENOENT || fd == -ENOTDIR)
        fd = make_path(tree, path);
    if (fd < 0)
        return fd;
    if (fstat(fd, &status) < 0) {
        ret = -errno;
        close(fd);
        return ret;
    }
    tree->parent_fd = fd;
    tree->parent_mtime = status.st_mtim;
    strcpy(tree->parent, path);
    return fd;
}

int tree_existing_parent(struct tree *tree, const char *name)
{
    char path[NAME_BYTES_MAX + 1];

    directory_of(name, path);
    return open_beneath(tree->root_fd, path);
}

int tree_leave(struct tree *tree)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, tree->parent_mtime};
    int ret;

    if (tree->parent_fd < 0)
        return 0;
    ret = futimens(tree->parent_fd, times) < 0 ? -errno : 0;
    close(tree->parent_fd);
    tree->parent_fd = -1;
    return ret;
}

void tree_set_mtime(struct tree *tree, const char *name, struct timespec mtime)
{
    if (tree->parent_fd >= 0 && strcmp(name, tree->parent) == 0)
        tree->parent_mtime = mtime;
}

/* What a pass over one directory found. */
enum pass { EMPTY, REMOVED, DESCEND };

/* Remove what can be removed in fd; stop at the first directory that is not empty and open it into *child. */
static int remove_pass(int fd, enum pass *result, int *child)
{
    char buffer[16384] __attribute__((aligned(8)));
    ssize_t got;

    *result = EMPTY;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return -errno;
    while ((got = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0) {
        for (ssize_t at = 0; at < got;) {
            const struct dirent64 *entry = (const struct dirent64 *)(buffer + at);

            at += entry->d_reclen;
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                continue;
            *result = REMOVED;
            if (unlinkat(fd, entry->d_name, 0) == 0 || unlinkat(fd, entry->d_name, AT_REMOVEDIR) == 0)
                continue;
            if (errno != ENOTEMPTY && errno != EEXIST)
                return -errno;
            *result = DESCEND;
            *child = openat(fd, entry->d_name, DIRECTORY);
            return *child < 0 ? -errno : 0;
        }
    }
    return got < 0 ? -errno : 0;
}

/*
 * Empty a directory, with one descriptor and no memory of the way, so that depth costs nothing: down into the first
 * directory that is not empty, up by ".." when it is. That is safe here, where nobody else can move directories
 * about, and where the process' root is the tree itself.
 */
static int remove_contents(int fd /* owned */)
{
    uint64_t depth = 0;
    enum pass pass;
    int next, ret;

    for (;;) {
        next = -1;
        ret = remove_pass(fd, &pass, &next);
        if (ret < 0 || (pass == EMPTY && depth == 0))
            break;
        if (pass == REMOVED)
            continue; /* some file systems skip entries while others go: look again */
        if (pass == EMPTY && (next = openat(fd, "..", DIRECTORY)) < 0) {
            ret = -errno;
            break;
        }
        depth += pass == DESCEND ? 1 : (uint64_t)-1;
        close(fd);
        fd = next;
    }
    close(fd);
    return ret;
}

int tree_remove(int parent_fd, const char *base)
{
    int fd, ret;

    if (unlinkat(parent_fd, base, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    if (unlinkat(parent_fd, base, AT_REMOVEDIR) == 0)
        return 0;
    fd = openat(parent_fd, base, DIRECTORY);
    if (fd < 0)
        return -errno;
    if ((ret = remove_contents(fd)) < 0)
        return ret;
    return unlinkat(parent_fd, base, AT_REMOVEDIR) < 0 ? -errno : 0;
}
