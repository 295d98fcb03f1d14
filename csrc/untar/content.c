/* SPDX-License-Identifier: Apache-2.0 */
/* From the archive into files; see content.h. */
#include "content.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define CHECK_SPACE_BYTES (16 * 1024 * 1024) /* smaller files are not worth a statvfs each */
#define HOLE_BYTES 4096

static int failed(struct job *job)
{
    job->step = "cannot be written";
    return -errno;
}

static int write_all(struct job *job, int fd, const uint8_t *data, size_t length)
{
    while (length > 0) {
        ssize_t done = write(fd, data, length);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return failed(job);
        data += done;
        length -= (size_t)done;
    }
    return 0;
}

static bool is_zero(const uint8_t *data, size_t length)
{
    return data[0] == 0 && memcmp(data, data + 1, length - 1) == 0;
}

/* As write_all(), and whole blocks of zeros are skipped; `offset` is where in the file this is. */
static int write_sparse(struct job *job, int fd, uint64_t offset, const uint8_t *data, size_t length)
{
    size_t start = 0, at = 0;
    int ret;

    while (at < length) {
        size_t piece = HOLE_BYTES - (size_t)((offset + at) % HOLE_BYTES);

        if (piece > length - at)
            piece = length - at;
        if (piece == HOLE_BYTES && is_zero(data + at, piece)) {
            if ((ret = write_all(job, fd, data + start, at - start)) < 0)
                return ret;
            if (lseek(fd, HOLE_BYTES, SEEK_CUR) < 0)
                return failed(job);
            start = at + piece;
        }
        at += piece;
    }
    return write_all(job, fd, data + start, length - start);
}

int write_content(struct job *job, struct tar_reader *reader, int fd, const struct tar_entry *entry)
{
    const uint8_t *data = NULL;
    struct statvfs space;
    uint64_t offset = 0;
    ssize_t got;
    int ret;

    /* A size nobody can hold is refused before the disk is filled with the attempt. */
    if (!job->owners && entry->size > CHECK_SPACE_BYTES && fstatvfs(fd, &space) == 0 &&
        entry->size / space.f_frsize > space.f_bavail) {
        errno = ENOSPC;
        return failed(job);
    }
    while ((got = tar_content(reader, &data)) > 0) {
        ret = job->owners ? write_sparse(job, fd, offset, data, (size_t)got) : write_all(job, fd, data, (size_t)got);
        if (ret < 0)
            return ret;
        offset += (uint64_t)got;
        job->bytes += (uint64_t)got;
        job->bytes_left -= (uint64_t)got;
    }
    if (got == 0 && job->owners && ftruncate(fd, (off_t)entry->size) < 0)
        return failed(job);
    return (int)got;
}
