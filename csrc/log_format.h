/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Output line by line: with the time in front of each line, or as JSON, one object a line, as docker's json-file has it:
 *
 *   2026-01-31T12:00:00.000000000Z the line
 *   {"log":"the line\n","stream":"stdout","time":"2026-01-31T12:00:00.000000000Z"}
 *
 * A line is shown when its end is there, with the time of that; the lines of the two streams come in the order of their
 * ends, and what has no newline at the end of all. One longer than PYRT_LINE_BYTES comes in several pieces, of which the last alone ends with a newline: in JSON
 * each is an object, with times only the first has one in front.
 *
 * JSON is text, and a container's output may be anything. Bytes that are no UTF-8 are U+FFFD in "log", as in docker;
 * such an object has a fourth member, "base64", with the bytes of the piece as they were.
 *
 * Nothing here does I/O; memory is bounded, PYRT_LINE_BYTES a stream at most.
 */
#ifndef PYRT_LOG_FORMAT_H
#define PYRT_LOG_FORMAT_H

#include "frames.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define PYRT_LINE_BYTES ((size_t)16384) /* docker's own limit */
/* Every byte as an escape of six and once more in base64, the header of a frame, and the members' names. */
#define PYRT_ENTRY_MAX (PYRT_LINE_BYTES * 6 + (PYRT_LINE_BYTES + 2) / 3 * 4 + 256)

enum pyrt_style { PYRT_STYLE_PLAIN, PYRT_STYLE_TIMES, PYRT_STYLE_JSON };

struct pyrt_formatter {
    enum pyrt_style style;
    bool framed; /* the result is frames; else the bytes alone, and no notices */
    struct {
        unsigned char *bytes; /* owned; what there is of a line without its end, or NULL */
        size_t size;
        bool continued; /* of this line something has been shown already */
        uint64_t time_ns, turn; /* of its last bytes */
    } lines[4];    /* by type of frame */
    uint64_t turn; /* counts what was added to lines */
    time_t second; /* that the text of a time was made for */
    char text[32]; /* 2026-01-31T12:00:00.123456789Z */
};

/* Where the result goes; room for PYRT_ENTRY_MAX at least. */
struct pyrt_formatted {
    unsigned char *data; /* borrowed */
    size_t capacity, size;
    size_t frame;  /* where the header of the frame stands that is being filled */
    unsigned type; /* of it; PYRT_STDIN: there is none */
};

void pyrt_formatter_init(struct pyrt_formatter *formatter, enum pyrt_style style, bool framed);
void pyrt_formatter_free(struct pyrt_formatter *formatter);

/* Takes in what a frame of this time holds, or part of it. Returns the bytes taken: all, or until `out` is full. */
ssize_t pyrt_format(struct pyrt_formatter *formatter, unsigned type, uint64_t time_ns, const unsigned char *data,
                    size_t size, struct pyrt_formatted *out);

/* Shows what there is of lines without an end: nothing more comes of them. Returns 1, or 0 when `out` was full before. */
int pyrt_format_rests(struct pyrt_formatter *formatter, struct pyrt_formatted *out);
bool pyrt_format_pending(const struct pyrt_formatter *formatter);

/* Completes the frame that is being filled. */
void pyrt_format_close(struct pyrt_formatter *formatter, struct pyrt_formatted *out);

/* --- the text itself (log_json.c) --- */

/* The length of the UTF-8 character at `data`, or minus the number of bytes that are none and stand for one U+FFFD. */
int pyrt_utf8(const unsigned char *data, size_t size);

/* How many bytes at the end may be the beginning of a character that goes on: 0 to 3. */
size_t pyrt_utf8_cut(const unsigned char *data, size_t size);

/* Writes the inside of a JSON string, at most 6 * size bytes; *clean says whether all of it was UTF-8. */
size_t pyrt_json_escape(unsigned char *out, const unsigned char *data, size_t size, bool *clean);
size_t pyrt_base64(unsigned char *out, const unsigned char *data, size_t size);

#endif
