/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's log: frames appended to segment files in one directory, the oldest segment dropped at the cap.
 *
 *   <offset of its first byte, 16 hex digits>.log   frames (frames.h), never straddling two segments
 *   <the same>.idx                                  records of two u64, big endian: the offset of a frame, and the
 *                                                   CLOCK_REALTIME nanoseconds at which it was appended
 *
 * Offsets are global: they count every byte ever appended, and never start again. Not thread-safe: the caller locks.
 * A log may also be in memory, where nothing of it is left when it is closed, or a view: of the files of a log that
 * somebody else may be writing, as they are now, with nothing repaired. Where in it are which lines is in log_lines.h.
 * Nothing here is durable against a power cut: a log is not worth an fsync on the data path.
 */
#ifndef PYRT_LOG_H
#define PYRT_LOG_H

#include "frames.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PYRT_LOG_MIN_SEGMENT 4096
#define PYRT_LOG_INDEX_RECORD 16

struct pyrt_segment {
    struct pyrt_segment *next; /* newer */
    uint64_t base;             /* global offset of its first byte; also its name */
    uint64_t size;
    uint64_t payload; /* stream bytes in it, without headers and notices; PYRT_LOG_UNCOUNTED until somebody asks */
    int fd;           /* owned; -1 while nobody reads it */
    unsigned users;   /* readers that need fd; in memory the log itself is one to the end */
};

#define PYRT_LOG_UNCOUNTED UINT64_MAX

struct pyrt_log {
    int dirfd; /* owned */
    uint64_t max_size_bytes;
    unsigned max_files;
    struct pyrt_segment *oldest, *newest; /* both NULL while nothing has been written */
    unsigned count;
    uint64_t end;          /* global offset of the next byte */
    int index_fd;          /* owned; of the newest segment, -1 if it could not be made */
    uint64_t index_size;   /* bytes */
    uint64_t indexed_tick; /* the millisecond of the last record */
    bool memory; /* dirfd is -1, and the segments are memfds */
    bool view;   /* nothing is appended, and files may go at any time; between segments there may be gaps */
};

/*
 * Opens the log in `dirfd` (duplicated), which may hold an earlier one: it is continued, after whatever is not a whole
 * frame has been cut off its end. Segments that do not join up with the newest are left alone and not part of it.
 */
int pyrt_log_open(struct pyrt_log *log, int dirfd, uint64_t max_size_bytes, unsigned max_files);
int pyrt_log_open_memory(struct pyrt_log *log, uint64_t max_size_bytes, unsigned max_files);
int pyrt_log_open_view(struct pyrt_log *log, int dirfd);
void pyrt_log_close(struct pyrt_log *log);

uint64_t pyrt_log_start(const struct pyrt_log *log);

/* The largest chunk worth a frame in a log of this cap: a full segment holds several. */
size_t pyrt_log_largest_payload(const struct pyrt_log *log);

/* Payload bytes that fit into the newest segment; 0 when the next frame should start a new one. */
size_t pyrt_log_room(const struct pyrt_log *log);

/* Whether starting a new segment has to drop the oldest first; the caller looks after its readers, then drops. */
bool pyrt_log_is_full(const struct pyrt_log *log);
void pyrt_log_drop_oldest(struct pyrt_log *log);
int pyrt_log_start_segment(struct pyrt_log *log);

/*
 * Appends whole frames, `size` bytes that carry `payload` stream bytes, to the newest segment. All or nothing: on an
 * error the log is as it was. `now_ns` goes to the index.
 */
int pyrt_log_append(struct pyrt_log *log, const void *frames, size_t size, uint64_t payload, uint64_t now_ns);

/* The segment that holds `offset`, or the one behind the gap that does; NULL at the end. Not before the log's start. */
struct pyrt_segment *pyrt_log_find(const struct pyrt_log *log, uint64_t offset);

/* Makes segment->fd usable until the matching release. */
int pyrt_log_acquire(struct pyrt_log *log, struct pyrt_segment *segment);
void pyrt_log_release(struct pyrt_log *log, struct pyrt_segment *segment);

/* The first frame boundary at or after `offset`, within its segment. */
int pyrt_log_boundary(struct pyrt_log *log, struct pyrt_segment *segment, uint64_t offset, uint64_t *boundary);

/* Counts the stream bytes in the segment from `from`, a frame boundary, to its end. */
int pyrt_log_payload(struct pyrt_log *log, struct pyrt_segment *segment, uint64_t from, uint64_t *payload);

/*
 * Walks the frames of a segment file between two offsets in the file. Stops at the first thing that is not a frame of
 * a log, at one that passes `to`, or after the frame that holds `until`. Gives the offset where it stopped, and the
 * stream bytes passed over.
 */
int pyrt_log_walk(int fd, uint64_t from, uint64_t to, uint64_t until, uint64_t *stopped, uint64_t *payload);

/* "%016llx.log" or .idx */
#define PYRT_LOG_NAME 24
void pyrt_log_name(char name[PYRT_LOG_NAME], uint64_t base, const char *suffix);

/* Lists the segments in log->dirfd and repairs the newest; part of pyrt_log_open. */
int pyrt_log_recover(struct pyrt_log *log);

/* Whether a frame may stand in a log; what is wrong with one that may not, or with a ret of pyrt_frame_decode. */
bool pyrt_log_is_frame(const struct pyrt_frame *frame);
const char *pyrt_log_fault(int ret);

/* --- the index (log_index.c) --- */

/* The offset in the file of an indexed frame at or before `offset`; 0 when the index does not know better. */
uint64_t pyrt_log_indexed(const struct pyrt_log *log, const struct pyrt_segment *segment, uint64_t offset);

/* Where what was appended at `time_ns` or later begins: a frame boundary, at the latest the log's end. */
uint64_t pyrt_log_since(const struct pyrt_log *log, uint64_t time_ns);

/* When the frames of a log were appended, for a reader that goes forward. Zero it first. */
#define PYRT_LOG_CLOCK_RECORDS 64
struct pyrt_log_clock {
    bool set, exhausted; /* exhausted: the index has no more of this segment */
    uint64_t base;
    uint64_t next_record;
    unsigned at, count;
    uint64_t time_ns;
    struct {
        uint64_t offset, time_ns;
    } records[PYRT_LOG_CLOCK_RECORDS];
};

/* When the frame at `offset` was. Where the index says nothing: when the segment was last written. Needs segment->fd. */
uint64_t pyrt_log_time(const struct pyrt_log *log, const struct pyrt_segment *segment, struct pyrt_log_clock *clock,
                       uint64_t offset);

#endif
