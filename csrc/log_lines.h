/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds lines in a log: the last N, and those of a time, without reading it from its start.
 *
 * A line is what one stream wrote up to a newline; what a stream has written behind its last newline is one too. It
 * belongs where it ends: lines are in the order of their ends, and a line's time is that of the frame with its end. So
 * a line whose beginning is older than its time is shown whole. (A part that lies more than PYRT_LINE_REACH bytes of
 * log from the rest counts as a line of its own: the search has to end somewhere.)
 *
 * The end of a log in the past is where it ended then: what had no newline yet was a line.
 */
#ifndef PYRT_LOG_LINES_H
#define PYRT_LOG_LINES_H

#include "log.h"

#define PYRT_LINE_REACH (1u << 20)
#define PYRT_ALL_LINES UINT64_MAX

struct pyrt_lines {
    uint64_t tail;     /* at most so many, the last; or PYRT_ALL_LINES */
    uint64_t since_ns; /* that ended then or later; 0: all */
    uint64_t until_ns; /* that ended then or before, INT64_MAX and above: all */
};

struct pyrt_cut {
    uint64_t from;      /* the frame to begin with */
    uint64_t starts[4]; /* by type of frame: what of it stands before is not wanted */
    uint64_t end;       /* a frame boundary */
};

/*
 * Finds lines in a log that is a view. Returns 0, or -errno; -EBADMSG: it is damaged where it had to be read.
 * `damaged` gets the offset of that.
 */
int pyrt_log_cut(struct pyrt_log *view, const struct pyrt_lines *lines, struct pyrt_cut *cut, uint64_t *damaged);

/* A part of one frame of an output stream, as pyrt_log_scan comes by. */
struct pyrt_piece {
    unsigned type;
    uint64_t frame, frame_end; /* offsets: where the frame begins and ends */
    uint64_t at;               /* offset of data[0] */
    const unsigned char *data;
    size_t size;
};

/*
 * Reads the log between two offsets, a frame boundary and any other, and shows each piece of output to `visit` until it
 * returns true. A frame torn by a crash, at the end of a segment, is passed over. *stopped is the boundary reached:
 * `to` or behind it, or where there is no frame, with -EBADMSG.
 */
typedef bool pyrt_visit(void *context, const struct pyrt_piece *piece);
int pyrt_log_scan(struct pyrt_log *view, uint64_t from, uint64_t to, pyrt_visit *visit, void *context, uint64_t *stopped);

#endif
