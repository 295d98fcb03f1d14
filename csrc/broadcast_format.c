/* SPDX-License-Identifier: Apache-2.0 */
/* The output side for readers that get lines, with times or as JSON, instead of the log's bytes. */
#define _GNU_SOURCE
#include "broadcast_parts.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* The broadcaster's buffer serves both ways: no stream is being read now. */
#define BLOCK_BYTES ((size_t)65536)
#define RESULT_BYTES (PYRT_READ_BYTES - BLOCK_BYTES)
_Static_assert(RESULT_BYTES >= PYRT_ENTRY_MAX + 32768, "there is room for an entry and then some");

static struct pyrt_formatted result_buffer(struct reader *reader)
{
    return (struct pyrt_formatted){.data = reader->channel->broadcaster->buffer + BLOCK_BYTES, .capacity = RESULT_BYTES};
}

/* Sends what it can; the rest goes aside, because the reader's place is behind it. */
static ssize_t send_result(struct reader *reader, const struct pyrt_formatted *result)
{
    ssize_t sent = write(reader->fd, result->data, result->size);
    if (sent < 0 && errno != EAGAIN && errno != EINTR)
        return -errno;
    size_t done = sent < 0 ? 0 : (size_t)sent, rest = result->size - done;
    if (rest > 0) {
        unsigned char *aside = pyrt_put_aside(reader, rest);
        if (!aside)
            return -ENOMEM;
        memcpy(aside, result->data + done, rest);
    }
    return (ssize_t)result->size;
}

/* Takes in one block of the log, until the result is full. Returns 0 or -errno. */
static int format_block(struct reader *reader, const unsigned char *block, uint64_t block_end, struct pyrt_formatted *result)
{
    struct formatting *formatting = reader->formatting;
    const struct pyrt_log *log = &reader->channel->log;
    uint64_t start = reader->position;
    for (;;) {
        if (reader->frame_left == 0) {
            if (reader->position + PYRT_FRAME_HEADER > block_end)
                return 0;
            formatting->time_ns = pyrt_log_time(log, reader->segment, &formatting->clock, reader->position);
            int ret = pyrt_enter_frame(reader, block + (reader->position - start), PYRT_FRAME_HEADER, true);
            if (ret < 0)
                return ret;
            continue; /* it may be empty */
        }
        if (!reader->frame_wanted) {
            reader->position += reader->frame_left; /* passed over, in the block or not */
            reader->frame_left = 0;
            continue;
        }
        uint64_t held = reader->position < block_end ? block_end - reader->position : 0;
        uint32_t part = reader->frame_left < held ? reader->frame_left : (uint32_t)held;
        if (part == 0)
            return 0;
        ssize_t taken = pyrt_format(&formatting->formatter, reader->frame_type, formatting->time_ns,
                                    block + (reader->position - start), part, result);
        if (taken < 0)
            return (int)taken;
        reader->position += (uint64_t)taken;
        reader->frame_left -= (uint32_t)taken;
        if ((uint32_t)taken < part)
            return 0;
    }
}

ssize_t pyrt_send_formatted(struct reader *reader, uint64_t end)
{
    unsigned char *block = reader->channel->broadcaster->buffer;
    uint64_t start = reader->position;
    size_t size = end - start < BLOCK_BYTES ? (size_t)(end - start) : BLOCK_BYTES;
    ssize_t got = pread(reader->segment->fd, block, size, (off_t)(start - reader->segment->base));
    if (got <= 0)
        return got < 0 ? -errno : -EIO;
    struct pyrt_formatted result = result_buffer(reader);
    int ret = format_block(reader, block, start + (uint64_t)got, &result);
    if (ret < 0)
        return ret;
    pyrt_format_close(&reader->formatting->formatter, &result);
    if (result.size > 0)
        return send_result(reader, &result);
    return reader->position > start ? (ssize_t)(reader->position - start) : -EBADMSG;
}

ssize_t pyrt_send_rests(struct reader *reader)
{
    struct pyrt_formatted result = result_buffer(reader);
    pyrt_format_rests(&reader->formatting->formatter, &result);
    pyrt_format_close(&reader->formatting->formatter, &result);
    return send_result(reader, &result);
}
