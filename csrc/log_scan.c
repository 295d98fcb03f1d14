/* SPDX-License-Identifier: Apache-2.0 */
/* Reads what a log has on disk: finds its segments again, cuts off a torn end, finds frame boundaries, counts. */
#include "log.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_BYTES 65536

bool pyrt_log_is_frame(const struct pyrt_frame *frame)
{
    /* Never stream 0: a hole left by a power cut reads as zeros, and would pass for empty frames of it. */
    return frame->type == PYRT_STDOUT || frame->type == PYRT_STDERR || frame->type == PYRT_NOTICE;
}

const char *pyrt_log_fault(int ret)
{
    switch (ret) {
    case -EPROTO:
        return "an unknown type of frame";
    case -EMSGSIZE:
        return "a frame that is too long";
    case -EBADMSG:
        return "no frame";
    default:
        return "a frame that is none of a log";
    }
}

int pyrt_log_walk(int fd, uint64_t from, uint64_t to, uint64_t until, uint64_t *stopped, uint64_t *payload)
{
    unsigned char *block = malloc(BLOCK_BYTES);
    if (!block)
        return -ENOMEM;
    uint64_t at = from, count = 0;
    uint64_t block_at = 0;
    size_t block_size = 0;
    int ret = 0;

    while (at < to && at <= until) {
        if (at < block_at || at + PYRT_FRAME_HEADER > block_at + block_size) {
            ssize_t got = pread(fd, block, BLOCK_BYTES, (off_t)at);
            if (got < 0) {
                ret = -errno;
                break;
            }
            block_at = at;
            block_size = (size_t)got;
        }
        struct pyrt_frame frame;
        size_t held = (size_t)(block_at + block_size - at);
        if (pyrt_frame_decode(block + (at - block_at), held, PYRT_FRAME_MAX, &frame) <= 0 || !pyrt_log_is_frame(&frame))
            break;
        uint64_t next = at + PYRT_FRAME_HEADER + frame.length;
        if (next > to)
            break;
        if (frame.type != PYRT_NOTICE)
            count += frame.length;
        at = next;
        if (at > until)
            break;
    }
    free(block);
    *stopped = at;
    *payload = count;
    return ret;
}

int pyrt_log_boundary(struct pyrt_log *log, struct pyrt_segment *segment, uint64_t offset, uint64_t *boundary)
{
    uint64_t wanted = offset - segment->base, stopped = 0, payload;
    if (wanted == 0) {
        *boundary = offset;
        return 0;
    }
    int ret = pyrt_log_acquire(log, segment);
    if (ret < 0)
        return ret;
    /* The frame that holds the byte before `offset` ends at the boundary looked for. */
    uint64_t from = pyrt_log_indexed(log, segment, offset - 1);
    ret = pyrt_log_walk(segment->fd, from, segment->size, wanted - 1, &stopped, &payload);
    if (ret == 0 && stopped < wanted && from > 0) /* the index misled */
        ret = pyrt_log_walk(segment->fd, 0, segment->size, wanted - 1, &stopped, &payload);
    pyrt_log_release(log, segment);
    if (ret == 0 && stopped < wanted)
        ret = -EBADMSG;
    *boundary = segment->base + stopped;
    return ret;
}

int pyrt_log_payload(struct pyrt_log *log, struct pyrt_segment *segment, uint64_t from, uint64_t *payload)
{
    bool whole = from == segment->base;
    if (whole && segment->payload != PYRT_LOG_UNCOUNTED) {
        *payload = segment->payload;
        return 0;
    }
    int ret = pyrt_log_acquire(log, segment);
    if (ret < 0)
        return ret;
    uint64_t stopped;
    ret = pyrt_log_walk(segment->fd, from - segment->base, segment->size, UINT64_MAX, &stopped, payload);
    pyrt_log_release(log, segment);
    if (ret == 0 && whole)
        segment->payload = *payload;
    return ret;
}

static bool parse_name(const char *name, uint64_t *base)
{
    uint64_t value = 0;
    for (int i = 0; i < 16; i++) {
        const char *digits = "0123456789abcdef", *digit = name[i] ? strchr(digits, name[i]) : NULL;
        if (!digit)
            return false;
        value = value << 4 | (uint64_t)(digit - digits);
    }
    *base = value;
    return value <= INT64_MAX && strcmp(name + 16, ".log") == 0;
}

static int by_base(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* The bases of the segments in the directory, in order; *bases is the caller's to free. Returns how many. */
static ssize_t list_bases(int dirfd, uint64_t **bases)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* a position of its own */
    if (fd < 0)
        return -errno;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int ret = -errno;
        close(fd);
        return ret;
    }
    size_t count = 0, room = 0;
    ssize_t ret = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        uint64_t base;
        if (!parse_name(entry->d_name, &base))
            continue;
        if (count == room) {
            room = room ? room * 2 : 16;
            uint64_t *grown = reallocarray(*bases, room, sizeof **bases);
            if (!grown) {
                ret = -ENOMEM;
                break;
            }
            *bases = grown;
        }
        (*bases)[count++] = base;
    }
    closedir(dir);
    if (ret < 0)
        return ret;
    if (count > 0)
        qsort(*bases, count, sizeof **bases, by_base);
    return (ssize_t)count;
}

/* Cuts the newest segment behind its last whole frame, and the index behind the last record that points into it. */
static int cut_torn_end(struct pyrt_log *log, struct pyrt_segment *segment, uint64_t file_size)
{
    int ret = pyrt_log_acquire(log, segment);
    if (ret < 0)
        return ret;
    ret = pyrt_log_walk(segment->fd, 0, file_size, UINT64_MAX, &segment->size, &segment->payload);
    if (ret == 0 && segment->size < file_size && ftruncate(segment->fd, (off_t)segment->size) < 0)
        ret = -errno;
    pyrt_log_release(log, segment);
    if (ret < 0)
        return ret;

    char name[PYRT_LOG_NAME];
    pyrt_log_name(name, segment->base, "idx");
    int fd = openat(log->dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return 0;
    off_t size = lseek(fd, 0, SEEK_END);
    uint64_t records = size < 0 ? 0 : (uint64_t)size / PYRT_LOG_INDEX_RECORD, record[2];
    while (records > 0 &&
           (pread(fd, record, sizeof record, (off_t)((records - 1) * PYRT_LOG_INDEX_RECORD)) != sizeof record ||
            be64toh(record[0]) >= segment->base + segment->size || be64toh(record[0]) < segment->base))
        records--;
    ret = ftruncate(fd, (off_t)(records * PYRT_LOG_INDEX_RECORD)) < 0 ? -errno : 0;
    close(fd);
    return ret;
}

static int add_viewed(struct pyrt_log *log, uint64_t base, uint64_t limit)
{
    char name[PYRT_LOG_NAME];
    struct stat status;
    pyrt_log_name(name, base, "log");
    if (fstatat(log->dirfd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno; /* dropped meanwhile, by the cap */
    if (!S_ISREG(status.st_mode))
        return S_ISDIR(status.st_mode) ? -EISDIR : -EINVAL;
    struct pyrt_segment *segment = calloc(1, sizeof *segment);
    if (!segment)
        return -ENOMEM;
    uint64_t size = (uint64_t)status.st_size < limit - base ? (uint64_t)status.st_size : limit - base;
    *segment = (struct pyrt_segment){.base = base, .size = size, .payload = PYRT_LOG_UNCOUNTED, .fd = -1};
    if (log->newest)
        log->newest->next = segment;
    else
        log->oldest = segment;
    log->newest = segment;
    log->end = base + size;
    log->count++;
    return 0;
}

int pyrt_log_open_view(struct pyrt_log *log, int dirfd)
{
    *log = (struct pyrt_log){.max_size_bytes = INT64_MAX, .max_files = UINT_MAX, .index_fd = -1, .view = true};
    log->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 3);
    if (log->dirfd < 0)
        return -errno;
    uint64_t *bases = NULL;
    ssize_t count = list_bases(log->dirfd, &bases);
    int ret = count < 0 ? (int)count : 0;
    for (ssize_t i = 0; ret == 0 && i < count; i++)
        ret = add_viewed(log, bases[i], i + 1 < count ? bases[i + 1] : INT64_MAX);
    free(bases);
    if (ret < 0)
        pyrt_log_close(log);
    return ret;
}

int pyrt_log_recover(struct pyrt_log *log)
{
    uint64_t *bases = NULL;
    ssize_t count = list_bases(log->dirfd, &bases);
    int ret = count < 0 ? (int)count : 0;

    /* From the newest backwards, as long as they join up. */
    for (ssize_t i = count - 1; ret == 0 && i >= 0; i--) {
        char name[PYRT_LOG_NAME];
        struct stat status;
        pyrt_log_name(name, bases[i], "log");
        if (fstatat(log->dirfd, name, &status, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(status.st_mode)) {
            ret = log->newest ? 0 : -EINVAL;
            break;
        }
        if (log->oldest && bases[i] + (uint64_t)status.st_size < log->oldest->base)
            break;
        struct pyrt_segment *segment = calloc(1, sizeof *segment);
        if (!segment) {
            ret = -ENOMEM;
            break;
        }
        *segment = (struct pyrt_segment){.base = bases[i], .payload = PYRT_LOG_UNCOUNTED, .fd = -1, .next = log->oldest};
        if (!log->newest) {
            log->newest = segment;
            ret = cut_torn_end(log, segment, (uint64_t)status.st_size);
        } else {
            segment->size = log->oldest->base - bases[i];
        }
        log->oldest = segment;
        log->count++;
    }
    free(bases);
    if (log->newest)
        log->end = log->newest->base + log->newest->size;
    return ret;
}
