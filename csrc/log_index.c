/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the index of a log: where a frame begins, and when it was. What it says is never needed to be true: a record
 * that points nowhere is passed over, and a log without an index is slower to search and knows its times less well.
 */
#include "log.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct record {
    uint64_t offset, time_ns;
};

/* A descriptor of a segment's index and its number of records; -errno when there is none. */
static int open_index(const struct pyrt_log *log, const struct pyrt_segment *segment, uint64_t *records)
{
    char name[PYRT_LOG_NAME];
    pyrt_log_name(name, segment->base, "idx");
    int fd = openat(log->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    off_t size = lseek(fd, 0, SEEK_END);
    *records = size < 0 ? 0 : (uint64_t)size / PYRT_LOG_INDEX_RECORD;
    return fd;
}

/* Reads up to `count` records, and returns how many of them point into the segment: those before the first that does not. */
static unsigned read_records(int fd, const struct pyrt_segment *segment, uint64_t from, struct record *records, unsigned count)
{
    ssize_t got = pread(fd, records, count * sizeof *records, (off_t)(from * PYRT_LOG_INDEX_RECORD));
    unsigned whole = got < 0 ? 0 : (unsigned)((size_t)got / sizeof *records), valid = 0;
    for (; valid < whole; valid++) {
        records[valid].offset = be64toh(records[valid].offset);
        records[valid].time_ns = be64toh(records[valid].time_ns);
        if (records[valid].offset < segment->base || records[valid].offset >= segment->base + segment->size)
            break;
    }
    return valid;
}

/* The number of the first record that is behind `offset`, or not before `time_ns`; the other is UINT64_MAX. */
static uint64_t search(int fd, const struct pyrt_segment *segment, uint64_t records, uint64_t offset, uint64_t time_ns)
{
    uint64_t low = 0, high = records;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        struct record record;
        if (read_records(fd, segment, middle, &record, 1) == 1 && record.offset <= offset && record.time_ns < time_ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint64_t pyrt_log_indexed(const struct pyrt_log *log, const struct pyrt_segment *segment, uint64_t offset)
{
    uint64_t records, found = 0;
    int fd = open_index(log, segment, &records);
    if (fd < 0)
        return 0;
    struct record record;
    uint64_t next = search(fd, segment, records, offset, UINT64_MAX);
    if (next > 0 && read_records(fd, segment, next - 1, &record, 1) == 1)
        found = record.offset - segment->base;
    close(fd);
    return found;
}

/* The last segment whose first frame was before holds the place, or ends there. One without an index has no times: it
 * comes along with the one before it. */
uint64_t pyrt_log_since(const struct pyrt_log *log, uint64_t time_ns)
{
    uint64_t found = pyrt_log_start(log);
    bool later = false;
    for (const struct pyrt_segment *segment = log->oldest; segment && !later; segment = segment->next) {
        uint64_t records;
        struct record record;
        int fd = open_index(log, segment, &records);
        if (fd < 0)
            continue;
        if (read_records(fd, segment, 0, &record, 1) == 1) {
            later = record.time_ns >= time_ns;
            uint64_t number = later ? 0 : search(fd, segment, records, UINT64_MAX, time_ns);
            if (!later && read_records(fd, segment, number, &record, 1) == 1)
                found = record.offset;
            else if (!later)
                found = segment->next ? segment->next->base : log->end;
        }
        close(fd);
    }
    return found;
}

/* Moves the clock's records on: the last one stays in front. */
static void read_on(const struct pyrt_log *log, const struct pyrt_segment *segment, struct pyrt_log_clock *clock)
{
    bool live = segment == log->newest && !log->view;
    if (live && clock->next_record >= log->index_size / PYRT_LOG_INDEX_RECORD)
        return;
    uint64_t records;
    int fd = live ? log->index_fd : open_index(log, segment, &records);
    unsigned kept = clock->count > 0 ? 1 : 0, got = 0;
    if (kept)
        clock->records[0] = clock->records[clock->count - 1];
    if (fd >= 0) {
        struct record read[PYRT_LOG_CLOCK_RECORDS];
        got = read_records(fd, segment, clock->next_record, read, PYRT_LOG_CLOCK_RECORDS - kept);
        for (unsigned i = 0; i < got; i++) {
            clock->records[kept + i].offset = read[i].offset;
            clock->records[kept + i].time_ns = read[i].time_ns;
        }
        if (!live)
            close(fd);
    }
    clock->at = 0;
    clock->count = kept + got;
    clock->next_record += got;
    clock->exhausted = got == 0 && !live;
}

/* Sets the clock before `offset`. Without an index it keeps the last time it knew, unless it knew none. */
static void set_clock(const struct pyrt_log *log, const struct pyrt_segment *segment, struct pyrt_log_clock *clock, uint64_t offset)
{
    uint64_t records, next = 0;
    int fd = open_index(log, segment, &records);
    if (fd >= 0) {
        next = search(fd, segment, records, offset, UINT64_MAX);
        close(fd);
    }
    struct stat status;
    if (fd < 0 && clock->time_ns == 0 && fstat(segment->fd, &status) == 0)
        clock->time_ns = (uint64_t)status.st_mtim.tv_sec * 1000000000u + (uint64_t)status.st_mtim.tv_nsec;
    clock->set = true;
    clock->exhausted = false;
    clock->base = segment->base;
    clock->next_record = next > 0 ? next - 1 : 0;
    clock->at = clock->count = 0;
    read_on(log, segment, clock);
}

uint64_t pyrt_log_time(const struct pyrt_log *log, const struct pyrt_segment *segment, struct pyrt_log_clock *clock,
                       uint64_t offset)
{
    if (!clock->set || clock->base != segment->base)
        set_clock(log, segment, clock, offset);
    for (;;) {
        if (clock->at < clock->count && clock->records[clock->at].offset <= offset)
            clock->time_ns = clock->records[clock->at].time_ns;
        if (clock->at + 1 < clock->count) {
            if (clock->records[clock->at + 1].offset > offset)
                break;
            clock->at++;
            continue;
        }
        uint64_t before = clock->next_record;
        if (!clock->exhausted)
            read_on(log, segment, clock);
        if (clock->next_record == before)
            break;
    }
    return clock->time_ns;
}
