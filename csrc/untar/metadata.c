/* SPDX-License-Identifier: Apache-2.0 */
/* Owners, modes, extended attributes and times; see metadata.h. */
#define _GNU_SOURCE
#include "metadata.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static int failed(struct job *job, const char *step)
{
    job->step = step;
    return -errno;
}

static bool xattr_allowed(const char *name)
{
    if (strcmp(name, "security.capability") == 0 || strcmp(name, "system.posix_acl_access") == 0 ||
        strcmp(name, "system.posix_acl_default") == 0)
        return true;
    return strncmp(name, "user.", 5) == 0 && strncmp(name, "user.overlay.", 13) != 0;
}

/* Only root can do it, and the copy is not root's. */
static bool is_roots(const struct job *job)
{
    return job->copy && errno == EPERM && geteuid() != 0;
}

static int set_xattrs(struct job *job, int fd, const struct tar_entry *entry)
{
    for (size_t i = 0; i < entry->xattr_count; i++) {
        const struct tar_xattr *xattr = &entry->xattrs[i];

        if (!xattr_allowed(xattr->name) || fsetxattr(fd, xattr->name, xattr->value.data, xattr->value.length, 0) == 0 ||
            is_roots(job))
            continue;
        /* a store that knows no user.* (tmpfs before 6.6) is no reason to refuse an image; a lost capability is */
        if (errno != ENOTSUP || strcmp(xattr->name, "security.capability") == 0)
            return failed(job, "cannot be given an extended attribute");
    }
    return 0;
}

/* The mode that suits the owner it has now. */
static int suit_owner(struct job *job, int fd, const struct tar_entry *entry, mode_t *mode)
{
    struct stat now;

    *mode = entry->mode;
    if (!job->copy || !(*mode & (S_ISUID | S_ISGID)))
        return 0;
    if (fstat(fd, &now) < 0)
        return failed(job, "cannot be looked at");
    if (now.st_uid != entry->uid)
        *mode &= ~(mode_t)S_ISUID;
    if (now.st_gid != entry->gid)
        *mode &= ~(mode_t)S_ISGID;
    return 0;
}

/* Owner first: chown(2) clears set-user-id bits and capabilities. The time last: everything else changes it. */
int set_metadata(struct job *job, int fd, const struct tar_entry *entry)
{
    struct timespec times[2] = {entry->mtime, entry->mtime};
    bool owners = !job->copy || job->owners;
    mode_t mode;
    int ret;

    if (owners && fchown(fd, entry->uid, entry->gid) < 0 && !is_roots(job))
        return failed(job, "cannot be given its owner");
    if ((ret = suit_owner(job, fd, entry, &mode)) < 0)
        return ret;
    if (entry->type == TAR_DIRECTORY && job->copy && (mode & S_IRWXU) != S_IRWXU && geteuid() != 0) {
        if ((ret = tree_set_mode_later(&job->tree, entry->name, mode)) < 0)
            return ret;
        mode |= S_IRWXU;
    }
    if (fchmod(fd, mode) < 0)
        return failed(job, "cannot be given its mode");
    if (owners && (ret = set_xattrs(job, fd, entry)) < 0)
        return ret;
    return futimens(fd, times) < 0 ? failed(job, "cannot be given its time") : 0;
}

int set_metadata_at(struct job *job, int parent_fd, const char *base, const struct tar_entry *entry)
{
    struct timespec times[2] = {entry->mtime, entry->mtime};

    if ((!job->copy || job->owners) && fchownat(parent_fd, base, entry->uid, entry->gid, AT_SYMLINK_NOFOLLOW) < 0 &&
        !is_roots(job))
        return failed(job, "cannot be given its owner");
    if (utimensat(parent_fd, base, times, AT_SYMLINK_NOFOLLOW) < 0)
        return failed(job, "cannot be given its time");
    return 0;
}
