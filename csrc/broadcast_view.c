/* SPDX-License-Identifier: Apache-2.0 */
/* Readers of a log that nobody writes: nothing in it is believed before it has been looked at. */
#define _GNU_SOURCE
#include "broadcast_parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CHECK_BYTES ((uint64_t)1 << 20) /* at a time */
#define FAILED 125
#define TEXT_BYTES 4096

/* The reader's last words, in place of those it would have had: what is wrong, and that the command has failed. */
static int tell_damage(struct reader *reader, int fault)
{
    if (reader->formatting && pyrt_format_pending(&reader->formatting->formatter)) {
        ssize_t sent = pyrt_send_rests(reader);
        if (sent < 0)
            return (int)sent;
    }
    char text[TEXT_BYTES];
    int chars = snprintf(text, sizeof text, "%sthe log is damaged from here on: %s/%016llx.log: %s%s",
                         reader->raw ? "Error: " : "", reader->channel->path, (unsigned long long)reader->segment->base,
                         pyrt_log_fault(fault), reader->raw ? "\n" : "");
    size_t length = (size_t)chars < sizeof text ? (size_t)chars : sizeof text - 1;
    size_t header = reader->raw ? 0 : PYRT_FRAME_HEADER, exit = reader->raw ? 0 : PYRT_FRAME_HEADER + 4;
    unsigned char *aside = pyrt_put_aside(reader, header + length + exit);
    if (!aside)
        return -ENOMEM;
    memcpy(aside + header, text, length);
    if (!reader->raw) {
        pyrt_frame_encode(aside, PYRT_ERROR, length);
        pyrt_frame_encode(aside + header + length, PYRT_EXIT, 4);
        memcpy(aside + header + length + PYRT_FRAME_HEADER, (unsigned char[4]){0, 0, 0, FAILED}, 4);
    }
    reader->ending = true;
    return 1;
}

/* There is no whole frame where the reader stands: a torn one, which a crash leaves, is the end of its segment. */
static int pass_over(struct reader *reader)
{
    const struct pyrt_segment *segment = reader->segment;
    unsigned char header[PYRT_FRAME_HEADER];
    struct pyrt_frame frame;
    ssize_t got = pread(segment->fd, header, sizeof header, (off_t)(reader->position - segment->base));
    if (got < 0)
        return -errno;
    int ret = pyrt_frame_decode(header, (size_t)got, PYRT_FRAME_MAX, &frame);
    if (ret < 0 || (ret > 0 && !pyrt_log_is_frame(&frame)))
        return tell_damage(reader, ret);
    reader->position = segment->base + segment->size;
    return 1;
}

int pyrt_check_view(struct reader *reader, uint64_t *end)
{
    struct pyrt_log *log = &reader->channel->log;
    struct pyrt_segment *segment = pyrt_log_find(log, reader->position);
    if (!segment)
        return -EIO;
    if (reader->segment != segment) {
        int ret = pyrt_log_acquire(log, segment);
        if (ret < 0 && ret != -ENOENT)
            return ret;
        if (reader->segment)
            pyrt_log_release(log, reader->segment);
        reader->segment = ret == 0 ? segment : NULL;
        reader->checked = 0;
        if (reader->position < segment->base)
            reader->position = segment->base;
        if (ret < 0) { /* dropped, by the cap of a later run */
            reader->position = segment->base + segment->size;
            return 1;
        }
    }
    if (reader->checked <= reader->position) {
        uint64_t at = reader->position - segment->base, stopped, payload;
        int ret = pyrt_log_walk(segment->fd, at, segment->size, at + CHECK_BYTES, &stopped, &payload);
        if (ret < 0)
            return ret;
        if (stopped == at)
            return pass_over(reader);
        reader->checked = segment->base + stopped;
    }
    *end = reader->checked < reader->until ? reader->checked : reader->until;
    return 0;
}
