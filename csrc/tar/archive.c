/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a tree as an archive; see job.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "tar/job.h"

#define WHITEOUT ".wh."
#define OPAQUE ".wh..wh..opq"

static int failed(struct job *job, const char *step, int code)
{
    if (code < 0 && !job->step)
        job->step = step;
    return code;
}

int job_warn(struct job *job, const char *text)
{
    const char *name = walk_path(&job->walk);
    size_t length = strnlen(name, WARNING_NAME_MAX);

    if (job->warning_count++ >= WARNINGS_MAX)
        return 0;
    if (bytes_append(&job->warnings, name, length) < 0 || bytes_append(&job->warnings, "", 1) < 0)
        return -ENOMEM;
    return bytes_append(&job->warnings, text, strlen(text) + 1);
}

static int put_headers(struct job *job, const struct tar_item *item)
{
    int ret;

    job->headers.used = 0;
    ret = encode_item(item, &job->headers);
    if (ret == 0)
        ret = output_write(&job->output, job->headers.data, job->headers.used);
    job->entries += ret == 0;
    return failed(job, "cannot be written to the archive", ret);
}

/* Everything that an object says of itself. Names are filled in by the caller. */
static struct tar_item describe(const struct object *object)
{
    const struct stat *status = &object->status;

    return (struct tar_item){
        .mode = status->st_mode & 07777,
        .uid = status->st_uid,
        .gid = status->st_gid,
        .mtime = status->st_mtim,
        .xattrs = object->xattrs,
        .xattr_count = object->xattr_count,
    };
}

/* A mark of the layer's: an empty file with a name that says it all. `name` is a component or "" for the directory. */
static int put_mark(struct job *job, const char *directory, size_t length, const char *name, const char *prefix)
{
    struct tar_item item = {.type = TAR_REGULAR, .mode = 0};
    struct bytes path = {0};
    int ret = bytes_append(&path, directory, length);

    if (ret == 0 && length)
        ret = bytes_append(&path, "/", 1);
    if (ret == 0)
        ret = bytes_append(&path, prefix, strlen(prefix));
    if (ret == 0)
        ret = bytes_append(&path, name, strlen(name) + 1);
    item.name = (const char *)path.data;
    ret = ret < 0 ? failed(job, "cannot be written to the archive", ret) : put_headers(job, &item);
    bytes_free(&path);
    return ret;
}

/* The content as it is said to be long, its holes as zeros; whatever becomes of the file, the sizes stay true. */
static int put_content(struct job *job, int fd, uint64_t size)
{
    uint64_t missing = 0, before = job->output.total;
    off_t at = 0;
    int ret = 0;

    while (ret == 0 && (uint64_t)at < size) {
        off_t data = lseek(fd, at, SEEK_DATA), hole;

        if (data < 0 && errno == ENXIO) /* a hole to the end, or it has become shorter */
            break;
        if (data < 0)
            data = at;
        if ((uint64_t)data >= size)
            break;
        hole = lseek(fd, data, SEEK_HOLE);
        if (hole <= data || (uint64_t)hole > size)
            hole = (off_t)size;
        if ((ret = output_zeros(&job->output, (uint64_t)(data - at))) == 0)
            ret = output_file(&job->output, fd, data, (uint64_t)(hole - data), &missing);
        at = hole;
    }
    if (ret == 0 && (uint64_t)at < size)
        ret = output_zeros(&job->output, size - (uint64_t)at);
    job->bytes += job->output.total - before;
    if (ret == 0)
        ret = output_zeros(&job->output, (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK);
    return failed(job, "cannot be read", ret);
}

/* A size that has changed since it was written into the header: what follows it is cut or padded. */
static int check_size(struct job *job, int fd, uint64_t size)
{
    struct stat now;

    if (fstat(fd, &now) < 0)
        return failed(job, "cannot be read", -errno);
    if ((uint64_t)now.st_size == size)
        return 0;
    return job_warn(job, (uint64_t)now.st_size < size ? "became shorter while it was read: zeros follow"
                                                      : "became longer while it was read: it was cut");
}

static int put_file(struct job *job, struct tar_item *item)
{
    uint64_t size = (uint64_t)job->object.status.st_size;
    int fd = job->object.fd, ret;

    item->type = TAR_REGULAR;
    item->size = size;
    if ((ret = put_headers(job, item)) < 0 || (ret = put_content(job, fd, size)) < 0)
        return ret;
    return check_size(job, fd, size);
}

/* The same file under another of its names. Directories have one name only. */
static int put_hard_link(struct job *job, struct tar_item *item, bool *done)
{
    const struct stat *status = &job->object.status;
    const char *first;
    int ret;

    *done = false;
    if (status->st_nlink < 2 || S_ISDIR(status->st_mode))
        return 0;
    ret = links_meet(&job->links, status->st_dev, status->st_ino, walk_path(&job->walk), &first);
    if (ret < 0 || !first)
        return failed(job, "cannot be remembered", ret);
    *done = true;
    item->type = TAR_HARDLINK;
    item->link = first;
    item->xattr_count = 0;
    return put_headers(job, item);
}

/* Nothing in these is a file, and some of it never ends. */
static bool kernel_own(int fd)
{
    struct statfs status;

    if (fstatfs(fd, &status) < 0)
        return false;
    switch ((unsigned long)status.f_type) {
    case PROC_SUPER_MAGIC:
    case SYSFS_MAGIC:
    case CGROUP_SUPER_MAGIC:
    case CGROUP2_SUPER_MAGIC:
        return true;
    }
    return false;
}

static int put_directory(struct job *job, struct tar_item *item)
{
    const bool list[WALK_SIDES] = {true, false};
    size_t length = strlen(walk_path(&job->walk));
    struct bytes name = {0};
    int fds[WALK_SIDES] = {-1, -1}, mark = 0, ret;

    if (bytes_append(&name, length ? walk_path(&job->walk) : ".", length ? length : 1) < 0 ||
        bytes_append(&name, "/", 2) < 0)
        ret = failed(job, "cannot be written to the archive", -ENOMEM);
    else {
        item->type = TAR_DIRECTORY;
        item->name = (const char *)name.data;
        ret = put_headers(job, item);
    }
    bytes_free(&name);
    if (ret == 0 && job->layer)
        ret = mark = object_mark(job->object.fd);
    if (mark == MARK_OPAQUE)
        ret = put_mark(job, walk_path(&job->walk), length, "", OPAQUE);
    if (ret < 0)
        return failed(job, "cannot be read", ret);
    if (job->copy && kernel_own(job->object.fd))
        return 0;
    fds[WALK_NEW] = object_take_fd(&job->object);
    return failed(job, "cannot be listed", walk_enter(&job->walk, fds, list, (unsigned)mark));
}

static int put_object(struct job *job)
{
    struct tar_item item = describe(&job->object);
    const struct stat *status = &job->object.status;
    bool done;
    int ret;

    item.name = walk_path(&job->walk);
    if ((ret = put_hard_link(job, &item, &done)) < 0 || done)
        return ret;
    switch (status->st_mode & S_IFMT) {
    case S_IFREG:
        return put_file(job, &item);
    case S_IFDIR:
        return put_directory(job, &item);
    case S_IFLNK:
        item.type = TAR_SYMLINK;
        item.link = (const char *)job->object.target.data;
        item.mode = 0777;
        break;
    case S_IFCHR:
    case S_IFBLK:
        item.type = S_ISCHR(status->st_mode) ? TAR_CHARACTER : TAR_BLOCKDEV;
        item.major = major(status->st_rdev);
        item.minor = minor(status->st_rdev);
        break;
    case S_IFIFO:
        item.type = TAR_FIFO;
        break;
    default:
        return job_warn(job, "is a socket, which no archive can hold: it is left out");
    }
    return put_headers(job, &item);
}

static int put_entry(struct job *job, const struct walk_entry *entry)
{
    enum overlay_mark mark = walk_level(&job->walk)->flags;
    int ret = object_open(&job->object, entry->fd[WALK_NEW], entry->name, entry->type);

    if (ret == -ENOENT) /* deleted since its directory was listed */
        return 0;
    if (ret < 0)
        return failed(job, ret == -EBUSY ? "does not stay the same long enough to be read" : "cannot be opened", ret);
    if (job->layer) {
        const char *path = walk_path(&job->walk);
        size_t parent = walk_level(&job->walk)->path_length;

        if ((ret = object_is_whiteout(&job->object, mark)) < 0)
            return failed(job, "cannot be read", ret);
        if (ret == 1)
            return put_mark(job, path, parent, entry->name, WHITEOUT);
        if (strncmp(entry->name, WHITEOUT, strlen(WHITEOUT)) == 0)
            return job_warn(job, "has a name that means a deleted file in a layer: it is left out");
    }
    if (job->object.fd >= 0 && (!job->copy || job->owners) &&
        (ret = object_read_xattrs(&job->object, job->object.fd)) < 0)
        return failed(job, "cannot be read: its extended attributes", ret);
    if (job->object.xattrs_lost && (ret = job_warn(job, "has extended attributes that no archive can hold")) < 0)
        return ret;
    return put_object(job);
}

/* The object itself, then everything in it, then the archive's end. */
int archive_object(struct job *job)
{
    struct walk_entry entry;
    int ret = put_object(job), step = WALK_ENTRY;

    object_clear(&job->object);
    while (ret == 0 && (step = walk_next(&job->walk, &entry)) > WALK_END) {
        if (step != WALK_ENTRY)
            continue;
        ret = put_entry(job, &entry);
        if (job->object.fd >= 0)
            close(object_take_fd(&job->object));
    }
    if (ret == 0 && step < 0)
        return failed(job, "was moved away while it was read", step);
    if (ret == 0)
        ret = output_zeros(&job->output, 2 * TAR_BLOCK);
    if (ret == 0)
        ret = output_flush(&job->output);
    return failed(job, "cannot be written to the archive", ret);
}

int archive_tree(struct job *job, int root_fd)
{
    int fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret;

    if (fd < 0)
        return failed(job, "cannot be opened", -errno);
    if ((ret = object_of_directory(&job->object, fd)) == 0)
        ret = object_read_xattrs(&job->object, fd);
    job->object.fd = fd;
    return ret < 0 ? failed(job, "cannot be read", ret) : archive_object(job);
}
