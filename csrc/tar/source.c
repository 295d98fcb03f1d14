/* SPDX-License-Identifier: Apache-2.0 */
/* An archive of what somebody named, and not of a whole tree; see job.h. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "locate.h"
#include "tar/job.h"

static int failed(struct job *job, const char *step, int code)
{
    if (code < 0 && !job->step)
        job->step = step;
    return code;
}

/* What the archive's names begin with: the last component as it was written, "" where only the content is meant. */
static int put_title(struct job *job, const char *path)
{
    size_t end = strlen(path), start;

    while (end > 0 && path[end - 1] == '/')
        end--;
    start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    if ((end - start == 1 && path[start] == '.') || (end - start == 2 && memcmp(path + start, "..", 2) == 0))
        start = end;
    job->walk.path.used = 0;
    if (bytes_append(&job->walk.path, path + start, end - start) < 0)
        return -ENOMEM;
    return bytes_append(&job->walk.path, "", 1);
}

static int open_found(struct job *job, struct located *found)
{
    int ret;

    if (!found->exists)
        return -ENOENT;
    if (found->slash && !S_ISDIR(found->status.st_mode))
        return -ENOTDIR;
    if (found->base[0])
        return object_open(&job->object, found->fd, found->base, IFTODT(found->status.st_mode));
    ret = object_of_directory(&job->object, found->fd);
    job->object.fd = fcntl(found->fd, F_DUPFD_CLOEXEC, 0);
    return ret == 0 && job->object.fd < 0 ? -errno : ret;
}

int archive_copy(struct job *job, int root_fd, uint64_t resolve, const char *path, bool follow)
{
    struct located found;
    int ret = locate(root_fd, resolve, path, follow, &found);

    job->copy = true;
    if (ret == 0) {
        ret = open_found(job, &found);
        close(found.fd);
    }
    if (ret < 0)
        return failed(job, "cannot be opened", ret);
    if ((ret = put_title(job, path)) < 0)
        return failed(job, "cannot be opened", ret);
    if (job->owners && job->object.fd >= 0 && (ret = object_read_xattrs(&job->object, job->object.fd)) < 0)
        return failed(job, "cannot be read: its extended attributes", ret);
    return archive_object(job);
}
