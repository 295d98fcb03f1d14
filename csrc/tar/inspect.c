/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at single objects; see inspect.h. */
#define _GNU_SOURCE
#include "tar/inspect.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ATTEMPTS 16
#define LIST_MAX 65536
#define COMMON (O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
#define OPAQUE "trusted.overlay.opaque"
#define WHITEOUT "trusted.overlay.whiteout"

static uint8_t type_of(mode_t mode)
{
    return (uint8_t)IFTODT(mode);
}

/* A target may be as long as a page; its length is known only once it was read. */
static int read_target(struct object *object, int fd)
{
    size_t room = (size_t)object->status.st_size + 1;
    ssize_t got;

    for (;; room = room < 256 ? 256 : room * 2) {
        object->target.used = 0;
        if (bytes_reserve(&object->target, room) < 0)
            return -ENOMEM;
        got = readlinkat(fd, "", (char *)object->target.data, room);
        if (got < 0)
            return -errno;
        if ((size_t)got < room)
            break;
    }
    object->target.used = (size_t)got + 1;
    object->target.data[got] = '\0';
    return 0;
}

static int open_by_type(struct object *object, int dirfd, const char *name, uint8_t type)
{
    int flags = type == DT_DIR ? COMMON | O_DIRECTORY : type == DT_REG ? COMMON : O_PATH | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(dirfd, name, flags), ret = 0;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &object->status) < 0)
        ret = -errno;
    else if (type_of(object->status.st_mode) != type)
        ret = -EAGAIN;
    else if (type == DT_LNK)
        ret = read_target(object, fd);
    if (ret == 0 && (type == DT_DIR || type == DT_REG))
        object->fd = fd;
    else
        close(fd);
    return ret;
}

int object_open(struct object *object, int dirfd, const char *name, uint8_t type)
{
    struct stat status;
    int ret;

    object->fd = -1;
    object->target.used = object->xattr_count = 0;
    object->xattrs_lost = false;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        if (type == DT_UNKNOWN || attempt > 0) {
            if (fstatat(dirfd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
            type = type_of(status.st_mode);
        }
        ret = open_by_type(object, dirfd, name, type);
        /* these say that it is no longer what it was: a link, no directory, a device on a mount without devices */
        if (ret == 0 || (ret != -EAGAIN && ret != -ELOOP && ret != -ENOTDIR && ret != -ENXIO && ret != -EACCES))
            return ret == -ESTALE ? -ENOENT : ret;
    }
    return ret == -EACCES ? ret : -EBUSY;
}

int object_of_directory(struct object *object, int fd)
{
    object->fd = -1;
    object->target.used = object->xattr_count = 0;
    object->xattrs_lost = false;
    return fstat(fd, &object->status) < 0 ? -errno : 0;
}

int object_take_fd(struct object *object)
{
    int fd = object->fd;

    object->fd = -1;
    return fd;
}

void object_clear(struct object *object)
{
    if (object->fd >= 0)
        close(object->fd);
    bytes_free(&object->target);
    bytes_free(&object->names);
    bytes_free(&object->values);
    object->fd = -1;
    object->xattr_count = 0;
}

/* What an archive carries: what the user set, capabilities, access lists. Labels and overlayfs' own are the host's. */
static bool carried(const char *name)
{
    if (strncmp(name, "user.", 5) == 0)
        return strncmp(name, "user.overlay.", 13) != 0;
    return strcmp(name, "security.capability") == 0 || strcmp(name, "system.posix_acl_access") == 0 ||
           strcmp(name, "system.posix_acl_default") == 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct item_xattr *)a)->name, ((const struct item_xattr *)b)->name);
}

/* The value, appended to object->values; its address is filled in when all are there, since they move. */
static int read_value(struct object *object, int fd, const char *name)
{
    ssize_t size;

    for (;;) {
        if ((size = fgetxattr(fd, name, NULL, 0)) < 0)
            break;
        if (bytes_reserve(&object->values, (size_t)size + 1) < 0)
            return -ENOMEM;
        size = fgetxattr(fd, name, object->values.data + object->values.used, object->values.room - object->values.used);
        if (size >= 0 || errno != ERANGE)
            break;
    }
    if (size < 0)
        return errno == ENODATA ? 0 : -errno;
    object->xattrs[object->xattr_count++] = (struct item_xattr){.name = name, .length = (size_t)size};
    object->values.used += (size_t)size;
    return 0;
}

int object_read_xattrs(struct object *object, int fd)
{
    const uint8_t *value;
    ssize_t size;
    int ret = 0;

    object->xattr_count = object->values.used = 0;
    if ((size = flistxattr(fd, NULL, 0)) == 0 || (size < 0 && errno == ENOTSUP))
        return 0;
    if (bytes_reserve(&object->names, LIST_MAX) < 0)
        return -ENOMEM;
    size = flistxattr(fd, (char *)object->names.data, LIST_MAX);
    if (size < 0)
        return errno == ENOTSUP ? 0 : -errno;
    for (const char *name = (char *)object->names.data; ret == 0 && name < (char *)object->names.data + size;
         name += strlen(name) + 1) {
        if (!carried(name))
            continue;
        if (strchr(name, '=') || object->xattr_count == INSPECT_XATTRS_MAX)
            object->xattrs_lost = true;
        else
            ret = read_value(object, fd, name);
    }
    value = object->values.data;
    for (size_t i = 0; i < object->xattr_count; value += object->xattrs[i++].length)
        object->xattrs[i].value = value;
    qsort(object->xattrs, object->xattr_count, sizeof *object->xattrs, by_name);
    return ret;
}

int object_mark(int fd)
{
    char value[2];
    ssize_t size = fgetxattr(fd, OPAQUE, value, sizeof value);

    if (size < 0)
        return errno == ENODATA || errno == ENOTSUP || errno == ERANGE ? MARK_NONE : -errno;
    return size == 1 && value[0] == 'y' ? MARK_OPAQUE : size == 1 && value[0] == 'x' ? MARK_WHITEOUTS : MARK_NONE;
}

int object_is_whiteout(const struct object *object, enum overlay_mark mark)
{
    const struct stat *status = &object->status;

    if (S_ISCHR(status->st_mode))
        return status->st_rdev == makedev(0, 0);
    if (mark != MARK_WHITEOUTS || !S_ISREG(status->st_mode) || status->st_size > 0)
        return 0;
    if (fgetxattr(object->fd, WHITEOUT, NULL, 0) >= 0)
        return 1;
    return errno == ENODATA || errno == ENOTSUP ? 0 : -errno;
}
