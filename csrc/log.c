/* SPDX-License-Identifier: Apache-2.0 */
/* The segmented log: appending, rolling, dropping, finding. What is on disk already is read in log_scan.c. */
#define _GNU_SOURCE
#include "log.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Above this a larger read gains nothing measurable, and the copy falls out of the cache. */
#define LARGEST_PAYLOAD ((size_t)256 * 1024)

void pyrt_log_name(char name[PYRT_LOG_NAME], uint64_t base, const char *suffix)
{
    snprintf(name, PYRT_LOG_NAME, "%016llx.%s", (unsigned long long)base, suffix);
}

static int open_file(const struct pyrt_log *log, uint64_t base, const char *suffix, int flags)
{
    char name[PYRT_LOG_NAME];
    pyrt_log_name(name, base, suffix);
    if (log->memory) {
        int memfd = memfd_create(name, MFD_CLOEXEC);
        return memfd < 0 ? -errno : memfd;
    }
    /* O_NONBLOCK: whatever else may lie there under this name, opening it must not hang. */
    int fd = openat(log->dirfd, name, flags | (log->view ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    return fd < 0 ? -errno : fd;
}

int pyrt_log_open(struct pyrt_log *log, int dirfd, uint64_t max_size_bytes, unsigned max_files)
{
    if (max_size_bytes < PYRT_LOG_MIN_SEGMENT || max_size_bytes > INT64_MAX || max_files < 1)
        return -EINVAL;
    *log = (struct pyrt_log){.max_size_bytes = max_size_bytes, .max_files = max_files, .index_fd = -1};
    log->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 3);
    if (log->dirfd < 0)
        return -errno;

    int ret = pyrt_log_recover(log);
    if (ret == 0 && log->newest) {
        ret = pyrt_log_acquire(log, log->newest);
        log->index_fd = open_file(log, log->newest->base, "idx", O_CREAT);
        if (log->index_fd < 0)
            log->index_fd = -1; /* a log without an index is still a log */
        else
            log->index_size = (uint64_t)lseek(log->index_fd, 0, SEEK_END) / PYRT_LOG_INDEX_RECORD * PYRT_LOG_INDEX_RECORD;
    }
    if (ret < 0) {
        pyrt_log_close(log);
        return ret;
    }
    while (log->count > log->max_files)
        pyrt_log_drop_oldest(log);
    return 0;
}

int pyrt_log_open_memory(struct pyrt_log *log, uint64_t max_size_bytes, unsigned max_files)
{
    if (max_size_bytes < PYRT_LOG_MIN_SEGMENT || max_size_bytes > INT64_MAX || max_files < 1)
        return -EINVAL;
    *log = (struct pyrt_log){
        .max_size_bytes = max_size_bytes, .max_files = max_files, .dirfd = -1, .index_fd = -1, .memory = true};
    return 0;
}

static void close_index(struct pyrt_log *log)
{
    if (log->index_fd >= 0)
        close(log->index_fd);
    log->index_fd = -1;
    log->index_size = 0;
}

void pyrt_log_close(struct pyrt_log *log)
{
    while (log->oldest) {
        struct pyrt_segment *segment = log->oldest;
        log->oldest = segment->next;
        if (segment->fd >= 0)
            close(segment->fd);
        free(segment);
    }
    log->newest = NULL;
    log->count = 0;
    close_index(log);
    if (log->dirfd >= 0)
        close(log->dirfd);
    log->dirfd = -1;
}

uint64_t pyrt_log_start(const struct pyrt_log *log)
{
    return log->oldest ? log->oldest->base : log->end;
}

size_t pyrt_log_largest_payload(const struct pyrt_log *log)
{
    uint64_t eighth = log->max_size_bytes / 8 - PYRT_FRAME_HEADER;
    return eighth < LARGEST_PAYLOAD ? (size_t)eighth : LARGEST_PAYLOAD;
}

size_t pyrt_log_room(const struct pyrt_log *log)
{
    size_t largest = pyrt_log_largest_payload(log);
    size_t worth = largest < 4096 ? largest : 4096; /* a segment is left short rather than filled up with slivers */
    if (!log->newest || log->newest->size + PYRT_FRAME_HEADER + worth > log->max_size_bytes)
        return 0;
    uint64_t room = log->max_size_bytes - log->newest->size - PYRT_FRAME_HEADER;
    return room < largest ? (size_t)room : largest;
}

bool pyrt_log_is_full(const struct pyrt_log *log)
{
    return log->count >= log->max_files;
}

void pyrt_log_drop_oldest(struct pyrt_log *log)
{
    struct pyrt_segment *segment = log->oldest;
    char name[PYRT_LOG_NAME];
    if (!log->memory) {
        pyrt_log_name(name, segment->base, "log");
        unlinkat(log->dirfd, name, 0);
        pyrt_log_name(name, segment->base, "idx");
        unlinkat(log->dirfd, name, 0);
    }

    log->oldest = segment->next;
    log->count--;
    if (log->newest == segment) {
        log->newest = NULL;
        close_index(log);
    }
    if (segment->fd >= 0)
        close(segment->fd);
    free(segment);
}

int pyrt_log_start_segment(struct pyrt_log *log)
{
    struct pyrt_segment *segment = calloc(1, sizeof *segment);
    if (!segment)
        return -ENOMEM;
    segment->base = log->end;
    segment->users = log->memory ? 2 : 1; /* the log itself, as long as it is the newest; it cannot be opened again */
    segment->fd = open_file(log, segment->base, "log", O_CREAT | O_TRUNC);
    if (segment->fd < 0) {
        int ret = segment->fd;
        free(segment);
        return ret;
    }
    close_index(log);
    log->index_fd = log->memory ? -1 : open_file(log, segment->base, "idx", O_CREAT | O_TRUNC);
    if (log->index_fd < 0)
        log->index_fd = -1;

    if (log->newest) {
        log->newest->next = segment;
        pyrt_log_release(log, log->newest);
    } else {
        log->oldest = segment;
    }
    log->newest = segment;
    log->count++;
    return 0;
}

static void index_frame(struct pyrt_log *log, uint64_t offset, uint64_t now_ns)
{
    uint64_t tick = now_ns / 1000000;
    if (log->index_fd < 0 || (tick == log->indexed_tick && log->index_size > 0))
        return;
    uint64_t record[2] = {htobe64(offset), htobe64(now_ns)};
    if (pwrite(log->index_fd, record, sizeof record, (off_t)log->index_size) != sizeof record)
        return; /* the next one lands on the same place */
    log->index_size += sizeof record;
    log->indexed_tick = tick;
}

int pyrt_log_append(struct pyrt_log *log, const void *frames, size_t size, uint64_t payload, uint64_t now_ns)
{
    struct pyrt_segment *segment = log->newest;
    size_t done = 0;
    while (done < size) {
        ssize_t put = pwrite(segment->fd, (const char *)frames + done, size - done, (off_t)(segment->size + done));
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0) {
            int ret = put < 0 ? -errno : -EIO;
            /* What got there must not stand behind the end: after a crash it could be taken for frames. */
            if (done > 0 && ftruncate(segment->fd, (off_t)segment->size) < 0)
                return ret; /* the next append overwrites it */
            return ret;
        }
        done += (size_t)put;
    }
    index_frame(log, log->end, now_ns);
    segment->size += size;
    segment->payload += payload;
    log->end += size;
    return 0;
}

struct pyrt_segment *pyrt_log_find(const struct pyrt_log *log, uint64_t offset)
{
    if (offset >= log->end)
        return NULL;
    if (log->newest && offset >= log->newest->base)
        return log->newest; /* where nearly every reader is */
    struct pyrt_segment *segment = log->oldest;
    while (segment && offset >= segment->base + segment->size)
        segment = segment->next;
    return segment;
}

int pyrt_log_acquire(struct pyrt_log *log, struct pyrt_segment *segment)
{
    if (segment->fd < 0) {
        int fd = open_file(log, segment->base, "log", 0);
        if (fd < 0)
            return fd;
        segment->fd = fd;
    }
    segment->users++;
    return 0;
}

void pyrt_log_release(struct pyrt_log *log, struct pyrt_segment *segment)
{
    (void)log;
    if (--segment->users == 0) {
        close(segment->fd);
        segment->fd = -1;
    }
}
