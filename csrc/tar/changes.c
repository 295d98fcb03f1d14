/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells changes; see job.h. What it costs depends on the layer, not on what lies below it: only where a directory hides
 * everything below it are the names there read.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "tar/job.h"

/* Of a walk's level, beside the mark of its directory. */
enum {
    LEVEL_MARK = 3,     /* enum overlay_mark */
    LEVEL_HIDING = 4,   /* nothing of the old tree shines through here */
    LEVEL_PENDING = 8,  /* a directory made to lead to a mount: told only if something else is in it */
};

static int failed(struct job *job, const char *step, int code)
{
    if (code < 0 && !job->step)
        job->step = step;
    return code;
}

static int put(struct job *job, char kind, const char *path, size_t length)
{
    int ret;

    if ((ret = output_write(&job->output, &kind, 1)) < 0 || (ret = output_write(&job->output, "/", 1)) < 0 ||
        (ret = output_write(&job->output, path, length)) < 0 || (ret = output_write(&job->output, "", 1)) < 0)
        return failed(job, "cannot be told", ret);
    job->entries++;
    return 0;
}

/* Tell of the current entry, after the directories above it that have waited for something to be in them. */
static int tell(struct job *job, char kind)
{
    const char *path = walk_path(&job->walk);
    int ret;

    for (size_t i = 0; i < job->walk.depth; i++) {
        struct walk_level *level = &job->walk.levels[i];

        if (!(level->flags & LEVEL_PENDING))
            continue;
        level->flags &= ~(unsigned)LEVEL_PENDING;
        if ((ret = put(job, 'A', path, level->path_length)) < 0)
            return ret;
    }
    return put(job, kind, path, strlen(path));
}

enum target { TARGET_NONE, TARGET_ABOVE, TARGET_EXACT };

/* Does pyrt mount something at this path, or below it? */
static enum target target_at(const struct job *job, const char *path)
{
    size_t length = strlen(path);
    enum target found = TARGET_NONE;

    for (size_t i = 0; i < job->target_count && found != TARGET_EXACT; i++) {
        const char *target = job->targets[i];

        if (strncmp(target, path, length) == 0 && (target[length] == '/' || target[length] == '\0'))
            found = target[length] ? TARGET_ABOVE : TARGET_EXACT;
    }
    return found;
}

static bool same_xattrs(const struct object *a, const struct object *b)
{
    if (a->xattr_count != b->xattr_count)
        return false;
    for (size_t i = 0; i < a->xattr_count; i++) {
        const struct item_xattr *x = &a->xattrs[i], *y = &b->xattrs[i];

        if (strcmp(x->name, y->name) != 0 || x->length != y->length || memcmp(x->value, y->value, x->length) != 0)
            return false;
    }
    return true;
}

/* 1: the same bytes; 0: not; -errno. */
static int same_content(int a, int b)
{
    static uint8_t left[65536], right[65536];
    off_t at = 0;

    for (;;) {
        ssize_t got = pread(a, left, sizeof left, at), other = pread(b, right, sizeof right, at);

        if (got < 0 || other < 0)
            return errno == EINTR ? 0 : -errno;
        if (got != other || memcmp(left, right, (size_t)got) != 0)
            return 0;
        if (got == 0)
            return 1;
        at += got;
    }
}

/* Would an archive say the same of both? 1, 0 or -errno. Times of change and access, and numbers of links, are no part of it. */
static int same(struct job *job)
{
    const struct stat *a = &job->object.status, *b = &job->other.status;
    int ret;

    if (a->st_mode != b->st_mode || a->st_uid != b->st_uid || a->st_gid != b->st_gid)
        return 0;
    if (a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec)
        return 0;
    if (S_ISLNK(a->st_mode))
        return strcmp((char *)job->object.target.data, (char *)job->other.target.data) == 0;
    if (S_ISCHR(a->st_mode) || S_ISBLK(a->st_mode))
        return a->st_rdev == b->st_rdev;
    if (job->object.fd < 0)
        return 1;
    if (S_ISREG(a->st_mode) && a->st_size != b->st_size)
        return 0;
    if ((ret = object_read_xattrs(&job->object, job->object.fd)) < 0 ||
        (ret = object_read_xattrs(&job->other, job->other.fd)) < 0)
        return ret;
    if (!same_xattrs(&job->object, &job->other))
        return 0;
    return S_ISREG(a->st_mode) ? same_content(job->object.fd, job->other.fd) : 1;
}

/* Into a directory of the layer; where the old tree has one too, the two are walked side by side. */
static int descend(struct job *job, unsigned flags)
{
    int fds[WALK_SIDES] = {-1, -1}, mark = object_mark(job->object.fd);

    if (mark < 0)
        return failed(job, "cannot be read", mark);
    if (job->other.fd >= 0 && S_ISDIR(job->other.status.st_mode))
        fds[WALK_OLD] = object_take_fd(&job->other);
    fds[WALK_NEW] = object_take_fd(&job->object);
    flags |= (unsigned)mark | (mark == MARK_OPAQUE ? LEVEL_HIDING : 0);
    const bool list[WALK_SIDES] = {true, flags & LEVEL_HIDING};
    return failed(job, "cannot be listed", walk_enter(&job->walk, fds, list, flags));
}

/* The entry of the layer, which is open, against what was there. */
static int compare(struct job *job, bool existed, unsigned hiding)
{
    const struct stat *status = &job->object.status;
    bool directory = S_ISDIR(status->st_mode), empty = directory || (S_ISREG(status->st_mode) && status->st_size == 0);
    enum target target;
    int ret;

    if (existed) {
        if ((ret = same(job)) < 0)
            return failed(job, "cannot be compared", ret);
        if (ret == 0 && (ret = tell(job, 'C')) < 0)
            return ret;
        return directory ? descend(job, hiding) : 0;
    }
    target = empty ? target_at(job, walk_path(&job->walk)) : TARGET_NONE;
    if (target == TARGET_NONE || (target == TARGET_ABOVE && !directory)) {
        if ((ret = tell(job, 'A')) < 0)
            return ret;
        return directory ? descend(job, 0) : 0;
    }
    return directory ? descend(job, LEVEL_PENDING) : 0;
}

static int open_old(struct job *job, const struct walk_entry *entry, bool *existed)
{
    int ret = -ENOENT;

    if (entry->fd[WALK_OLD] >= 0)
        ret = object_open(&job->other, entry->fd[WALK_OLD], entry->name, entry->in[WALK_OLD] ? entry->type : DT_UNKNOWN);
    *existed = ret == 0;
    return ret == -ENOENT ? 0 : failed(job, "cannot be opened in the image", ret);
}

static int look(struct job *job, const struct walk_entry *entry)
{
    unsigned flags = walk_level(&job->walk)->flags;
    bool existed;
    int ret = open_old(job, entry, &existed);

    if (ret < 0)
        return ret;
    if (!entry->in[WALK_NEW])
        return existed ? tell(job, 'D') : 0;
    ret = object_open(&job->object, entry->fd[WALK_NEW], entry->name, entry->type);
    if (ret == -ENOENT) /* it goes while this is read */
        return 0;
    if (ret < 0)
        return failed(job, ret == -EBUSY ? "does not stay the same long enough to be read" : "cannot be opened", ret);
    if ((ret = object_is_whiteout(&job->object, flags & LEVEL_MARK)) < 0)
        return failed(job, "cannot be read", ret);
    if (ret == 1)
        return existed ? tell(job, 'D') : 0;
    return compare(job, existed, flags & LEVEL_HIDING);
}

static void close_both(struct job *job)
{
    if (job->object.fd >= 0)
        close(object_take_fd(&job->object));
    if (job->other.fd >= 0)
        close(object_take_fd(&job->other));
}

static int begin(struct job *job, int new_fd, int old_fd)
{
    job->object.fd = openat(new_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    job->other.fd = openat(old_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (job->object.fd < 0 || job->other.fd < 0 || fstat(job->other.fd, &job->other.status) < 0)
        return failed(job, "cannot be opened", -errno);
    return descend(job, 0);
}

int changes_tell(struct job *job, int new_fd, int old_fd)
{
    struct walk_entry entry;
    int ret = begin(job, new_fd, old_fd), step = WALK_ENTRY;

    close_both(job);
    while (ret == 0 && (step = walk_next(&job->walk, &entry)) > WALK_END) {
        if (step != WALK_ENTRY)
            continue;
        ret = look(job, &entry);
        close_both(job);
    }
    if (ret == 0 && step < 0)
        return failed(job, "was moved away while it was read", step);
    return ret < 0 ? ret : failed(job, "cannot be told", output_flush(&job->output));
}
