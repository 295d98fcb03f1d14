/* SPDX-License-Identifier: Apache-2.0 */
/* Opens, makes and removes directories beneath the root; see tree.h. */
#define _GNU_SOURCE
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/syscalls.h"

#define LATER_MAX 100000

/* A mode that a directory gets in the end. */
struct later {
    struct later *next; /* owned */
    mode_t mode;
    char name[];
};

#define DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* The path is clean: without ".." the kernel never has to ask for another try (EAGAIN). */
static int open_beneath(const struct tree *tree, int fd, const char *path)
{
    uint64_t resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | (tree->copy ? 0 : RESOLVE_NO_XDEV);
    /* O_NOFOLLOW would turn the last component's ELOOP into ENOTDIR */
    int opened = sys_openat2(fd, *path ? path : ".", DIRECTORY & ~O_NOFOLLOW, resolve), ret;

    if (opened >= 0 && tree->copy && (ret = tree_allows(opened)) < 0) {
        close(opened);
        return ret;
    }
    return opened;
}

int tree_allows(int fd)
{
    struct statfs status;

    if (fstatfs(fd, &status) < 0)
        return -errno;
    switch ((unsigned long)status.f_type) {
    case PROC_SUPER_MAGIC:
    case SYSFS_MAGIC:
    case CGROUP_SUPER_MAGIC:
    case CGROUP2_SUPER_MAGIC:
        return -EPERM;
    }
    return 0;
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
    int child = open_beneath(tree, fd, base), ret;

    if (child != -ENOENT && child != -ENOTDIR)
        return child;
    if (child == -ENOTDIR) {
        if (tree->copy || fstatat(fd, base, &found, AT_SYMLINK_NOFOLLOW) < 0 || !tree_is_whiteout(&found))
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
    if (!tree->copy && futimens(fd, times) < 0)
        return -errno;
    child = open_beneath(tree, fd, base);
    if (child >= 0 && opaque && (ret = tree_set_opaque(child)) < 0) {
        close(child);
        return ret;
    }
    return child;
}

/* Walk down component by component; `path` is written to while that goes on, and left as it was. */
static int make_path(struct tree *tree, char *path)
{
    int fd = open_beneath(tree, tree->root_fd, "");

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
    fd = open_beneath(tree, tree->root_fd, path);
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
    return open_beneath(tree, tree->root_fd, path);
}

int tree_leave(struct tree *tree)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, tree->parent_mtime};
    int ret;

    if (tree->parent_fd < 0)
        return 0;
    /* of a copy: where it goes has changed, and may show it; and a directory that was there may be another user's */
    ret = tree->copy && !tree->parent[0] ? 0 : futimens(tree->parent_fd, times) < 0 ? -errno : 0;
    close(tree->parent_fd);
    tree->parent_fd = -1;
    return tree->copy && ret == -EPERM ? 0 : ret;
}

int tree_set_mode_later(struct tree *tree, const char *name, mode_t mode)
{
    struct later *later = tree->later_count < LATER_MAX ? malloc(sizeof *later + strlen(name) + 1) : NULL;

    if (!later)
        return -ENOMEM;
    *later = (struct later){.next = tree->later, .mode = mode};
    strcpy(later->name, name);
    tree->later = later;
    tree->later_count++;
    return 0;
}

int tree_finish(struct tree *tree)
{
    int ret = tree_leave(tree), fd;

    while (ret == 0 && tree->later) { /* the last one first: what is within comes before what it is in */
        struct later *later = tree->later;

        fd = open_beneath(tree, tree->root_fd, later->name);
        ret = fd < 0 ? fd : fchmod(fd, later->mode) < 0 ? -errno : 0;
        if (fd >= 0)
            close(fd);
        tree->later = later->next;
        free(later);
    }
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
