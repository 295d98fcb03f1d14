/* SPDX-License-Identifier: Apache-2.0 */
/* Makes what an entry describes; see apply.h. */
#define _GNU_SOURCE
#include "apply.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "content.h"
#include "metadata.h"

#define WHITEOUT_BYTES 4 /* ".wh." */

static int failed(struct job *job, const char *step)
{
    job->step = step;
    return -errno;
}

static int refuse(struct tar_reader *reader, int code, const char *text)
{
    snprintf(reader->text, sizeof reader->text, "%s", text);
    return -code;
}

/* Write a new file under a name of its own, and put it into its place when it is whole. */
static int replace_regular(struct job *job, struct tar_reader *reader, int parent_fd, const char *base,
                           const struct tar_entry *entry)
{
    char name[64];
    struct stat found;
    int fd = -1, ret;

    if (fstatat(parent_fd, base, &found, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(found.st_mode))
        return refuse(reader, EISDIR, "is a directory there: a file cannot replace it");
    for (int i = 0; fd < 0 && i < 100; i++) {
        snprintf(name, sizeof name, ".pyrt-copy-%d-%llu", (int)getpid(), (unsigned long long)job->temporaries++);
        fd = openat(parent_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0 && errno != EEXIST)
            return failed(job, "cannot be made");
    }
    if (fd < 0)
        return failed(job, "cannot be made");
    ret = write_content(job, reader, fd, entry);
    if (ret == 0)
        ret = set_metadata(job, fd, entry);
    close(fd);
    if (ret == 0 && renameat(parent_fd, name, parent_fd, base) < 0)
        ret = failed(job, "cannot replace what is there");
    if (ret < 0)
        unlinkat(parent_fd, name, 0);
    return ret;
}

/* Make room for what is no directory. A copy does not remove directories: nobody asked for that. */
static int make_room(struct job *job, struct tar_reader *reader, int parent_fd, const char *base)
{
    int ret;

    if (job->copy) {
        if (unlinkat(parent_fd, base, 0) == 0 || errno == ENOENT)
            return 0;
        if (errno == EISDIR || errno == EPERM) {
            struct stat found;
            if (fstatat(parent_fd, base, &found, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(found.st_mode))
                return refuse(reader, EISDIR, "is a directory there: a file cannot replace it");
            errno = EPERM;
        }
        return failed(job, "cannot replace what is there");
    }
    ret = tree_remove(parent_fd, base);
    job->step = ret < 0 ? "cannot replace what is there" : job->step;
    return ret;
}

static int make_regular(struct job *job, struct tar_reader *reader, int parent_fd, const char *base,
                        const struct tar_entry *entry)
{
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, fd, ret;

    if (job->copy)
        return replace_regular(job, reader, parent_fd, base, entry);
    fd = openat(parent_fd, base, flags, 0600);
    if (fd < 0 && errno == EEXIST) {
        if ((ret = make_room(job, reader, parent_fd, base)) < 0)
            return ret;
        fd = openat(parent_fd, base, flags, 0600);
    }
    if (fd < 0)
        return failed(job, "cannot be made");
    ret = write_content(job, reader, fd, entry);
    if (ret == 0)
        ret = set_metadata(job, fd, entry);
    close(fd);
    return ret;
}

/* A directory over a directory keeps its content; over anything else it replaces it; over a whiteout it is opaque. */
static int make_directory(struct job *job, struct tar_reader *reader, int parent_fd, const char *base,
                          const struct tar_entry *entry)
{
    struct stat found;
    bool opaque = false;
    int fd, ret;

    if (mkdirat(parent_fd, base, 0700) < 0) {
        if (errno != EEXIST || fstatat(parent_fd, base, &found, AT_SYMLINK_NOFOLLOW) < 0)
            return failed(job, "cannot be made");
        if (job->copy && !S_ISDIR(found.st_mode))
            return refuse(reader, ENOTDIR, "is no directory there: a directory cannot replace it");
        opaque = !job->copy && tree_is_whiteout(&found);
        if (!S_ISDIR(found.st_mode) && (unlinkat(parent_fd, base, 0) < 0 || mkdirat(parent_fd, base, 0700) < 0))
            return failed(job, "cannot replace what is there");
    }
    fd = openat(parent_fd, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return failed(job, "cannot be opened");
    ret = opaque ? tree_set_opaque(fd) : 0;
    if (ret == 0 && !(job->copy && tree_allows(fd) < 0)) /* a /proc that is mounted there stays what it is */
        ret = set_metadata(job, fd, entry);
    close(fd);
    return ret;
}

static int make_symlink(struct job *job, int parent_fd, const char *base, const struct tar_entry *entry)
{
    if (symlinkat(entry->link, parent_fd, base) < 0)
        return failed(job, "cannot be made");
    return set_metadata_at(job, parent_fd, base, entry);
}

static int make_node(struct job *job, int parent_fd, const char *base, const struct tar_entry *entry)
{
    mode_t kind = entry->type == TAR_CHARACTER ? S_IFCHR : entry->type == TAR_BLOCKDEV ? S_IFBLK : S_IFIFO;

    if (job->copy && !job->owners && kind != S_IFIFO) {
        job->left_out++;
        return 0;
    }
    if (mknodat(parent_fd, base, kind | entry->mode, makedev(entry->major, entry->minor)) < 0)
        return failed(job, "cannot be made");
    return set_metadata_at(job, parent_fd, base, entry);
}

/* Both ends beneath the root; the link is to the name itself, even where that is a symbolic link. */
static int make_hardlink(struct job *job, struct tar_reader *reader, int parent_fd, const char *base,
                         const struct tar_entry *entry)
{
    const char *target = name_base(entry->link);
    struct stat there, here;
    int from, ret = 0;

    from = *target ? tree_existing_parent(&job->tree, entry->link) : -EISDIR;
    if (from < 0 || fstatat(from, target, &there, AT_SYMLINK_NOFOLLOW) < 0) {
        if (from >= 0)
            close(from);
        return refuse(reader, ENOENT, "is a hard link to something that is not in the archive before it");
    }
    if (S_ISDIR(there.st_mode)) {
        ret = refuse(reader, EISDIR, "is a hard link to a directory");
    } else if (fstatat(parent_fd, base, &here, AT_SYMLINK_NOFOLLOW) == 0 && here.st_ino == there.st_ino) {
        ret = 0; /* to itself, or made before */
    } else if ((ret = make_room(job, reader, parent_fd, base)) < 0) {
        ; /* said already */
    } else if (linkat(from, target, parent_fd, base, 0) < 0) {
        ret = failed(job, "cannot be linked");
    }
    close(from);
    return ret;
}

/* It speaks of the layers below only: what this archive itself put there stays, and hides them. */
static int make_whiteout(struct job *job, int parent_fd, const char *base)
{
    struct stat found;
    int fd, ret;

    if (mknodat(parent_fd, base, S_IFCHR, makedev(0, 0)) == 0)
        return 0;
    if (errno != EEXIST || fstatat(parent_fd, base, &found, AT_SYMLINK_NOFOLLOW) < 0)
        return failed(job, "cannot be made");
    if (!S_ISDIR(found.st_mode))
        return 0;
    fd = openat(parent_fd, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return failed(job, "cannot be opened");
    ret = tree_set_opaque(fd);
    close(fd);
    if (ret < 0)
        job->step = "cannot be made";
    return ret;
}

static int apply_root(struct job *job, struct tar_reader *reader, int root_fd, const struct tar_entry *entry)
{
    int ret;

    if (entry->type != TAR_DIRECTORY)
        return refuse(reader, EINVAL, "would replace the root itself");
    if (job->copy) /* the directory was there before, and is not what is copied */
        return 0;
    ret = set_metadata(job, root_fd, entry);
    tree_set_mtime(&job->tree, "", entry->mtime);
    return ret;
}

static int apply_plain(struct job *job, struct tar_reader *reader, int parent_fd, const struct tar_entry *entry)
{
    const char *base = name_base(entry->name);
    int ret;

    switch (entry->type) {
    case TAR_REGULAR:
        return make_regular(job, reader, parent_fd, base, entry);
    case TAR_DIRECTORY:
        return make_directory(job, reader, parent_fd, base, entry);
    case TAR_HARDLINK:
        return make_hardlink(job, reader, parent_fd, base, entry);
    default:
        break;
    }
    if ((ret = make_room(job, reader, parent_fd, base)) < 0)
        return ret;
    return entry->type == TAR_SYMLINK ? make_symlink(job, parent_fd, base, entry)
                                      : make_node(job, parent_fd, base, entry);
}

/* Why the directory an entry belongs into could not be had, in words about the entry. */
static int no_parent(struct tar_reader *reader, struct job *job, int code)
{
    switch (-code) {
    case ELOOP:
        return refuse(reader, ELOOP, "would be written through a symbolic link");
    case ENOTDIR:
        return refuse(reader, ENOTDIR, "lies beneath something that is no directory");
    case EPERM:
        if (!job->copy)
            break;
        return refuse(reader, EPERM, "would lie in a file system of the kernel's own");
    case EXDEV:
        return refuse(reader, EXDEV, "leaves the image");
    case EDQUOT:
        return refuse(reader, EDQUOT, "is one entry more than the limit");
    }
    job->step = "cannot be made: its directory";
    return code;
}

int apply(struct job *job, struct tar_reader *reader, const struct tar_entry *entry)
{
    enum name_kind kind = job->copy ? NAME_PLAIN : name_kind(entry->name);
    int parent_fd;

    job->step = "cannot be made";
    if (kind == NAME_AUFS)
        return 0;
    if (kind == NAME_BAD)
        return refuse(reader, EINVAL, "is a whiteout of nothing");
    if (job->tree.entries_left == 0)
        return refuse(reader, EDQUOT, "is one entry more than the limit");
    if (entry->size > job->bytes_left)
        return refuse(reader, EDQUOT, "is larger than what is left of the limit");
    parent_fd = tree_parent(&job->tree, entry->name);
    if (parent_fd < 0)
        return no_parent(reader, job, parent_fd);
    job->tree.entries_left--;
    job->entries++;
    if (entry->name[0] == '\0')
        return apply_root(job, reader, parent_fd, entry);
    if (kind == NAME_OPAQUE)
        return tree_set_opaque(parent_fd);
    if (kind == NAME_WHITEOUT)
        return make_whiteout(job, parent_fd, name_base(entry->name) + WHITEOUT_BYTES);
    return apply_plain(job, reader, parent_fd, entry);
}
