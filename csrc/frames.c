/* SPDX-License-Identifier: Apache-2.0 */
/* Encodes, checks and splits frames. Pure functions of (pointer, length): no system call, no allocation, no state. */
#include "frames.h"

#include <errno.h>
#include <string.h>

const char *pyrt_frame_name(unsigned type)
{
    switch ((enum pyrt_frame_type)type) {
    case PYRT_STDIN: return "STDIN";
    case PYRT_STDOUT: return "STDOUT";
    case PYRT_STDERR: return "STDERR";
    case PYRT_NOTICE: return "NOTICE";
    case PYRT_CALL: return "CALL";
    case PYRT_EXIT: return "EXIT";
    case PYRT_RESIZE: return "RESIZE";
    case PYRT_SIGNAL: return "SIGNAL";
    case PYRT_DETACH: return "DETACH";
    case PYRT_ERROR: return "ERROR";
    case PYRT_START: return "START";
    case PYRT_ASK: return "ASK";
    case PYRT_OPEN: return "OPEN";
    case PYRT_ANSWER: return "ANSWER";
    case PYRT_PACK: return "PACK";
    case PYRT_UNPACK: return "UNPACK";
    case PYRT_FEED: return "FEED";
    case PYRT_KEYS: return "KEYS";
    case PYRT_CREDIT: return "CREDIT";
    }
    return NULL;
}

int pyrt_frame_encode(unsigned char header[PYRT_FRAME_HEADER], unsigned type, size_t length)
{
    if (!pyrt_frame_name(type))
        return -EPROTO;
    if (length > PYRT_FRAME_MAX)
        return -EMSGSIZE;
    header[0] = (unsigned char)type;
    header[1] = header[2] = header[3] = 0;
    header[4] = (unsigned char)(length >> 24);
    header[5] = (unsigned char)(length >> 16);
    header[6] = (unsigned char)(length >> 8);
    header[7] = (unsigned char)length;
    return PYRT_FRAME_HEADER;
}

int pyrt_frame_decode(const unsigned char *data, size_t size, size_t max_payload, struct pyrt_frame *frame)
{
    /* Judged byte by byte as they come, so that a stranger's first byte is refused without waiting for seven more. */
    if (size >= 1 && !pyrt_frame_name(data[0]))
        return -EPROTO;
    for (size_t i = 1; i < 4 && i < size; i++)
        if (data[i] != 0)
            return -EBADMSG;
    if (size < PYRT_FRAME_HEADER)
        return 0;

    uint32_t length = (uint32_t)data[4] << 24 | (uint32_t)data[5] << 16 | (uint32_t)data[6] << 8 | data[7];
    if (length > max_payload)
        return -EMSGSIZE;
    *frame = (struct pyrt_frame){.type = data[0], .length = length};
    return PYRT_FRAME_HEADER;
}

void pyrt_parser_init(struct pyrt_parser *parser, unsigned char *buffer, size_t capacity, size_t max_payload)
{
    *parser = (struct pyrt_parser){.buffer = buffer, .capacity = capacity, .max_payload = max_payload};
}

size_t pyrt_parser_space(struct pyrt_parser *parser, unsigned char **space)
{
    size_t pending = parser->end - parser->begin;
    /* Moving is cheap when little is pending, and needed when the frame in front would not fit before the end. */
    if (parser->begin > 0 &&
        (pending <= PYRT_FRAME_HEADER || parser->end == parser->capacity ||
         pyrt_parser_needs(parser) > parser->capacity - parser->begin)) {
        memmove(parser->buffer, parser->buffer + parser->begin, pending);
        parser->begin = 0;
        parser->end = pending;
    }
    *space = parser->buffer + parser->end;
    return parser->capacity - parser->end;
}

void pyrt_parser_filled(struct pyrt_parser *parser, size_t size)
{
    parser->end += size;
}

size_t pyrt_parser_needs(const struct pyrt_parser *parser)
{
    struct pyrt_frame frame;
    if (pyrt_frame_decode(parser->buffer + parser->begin, parser->end - parser->begin, parser->max_payload, &frame) <= 0)
        return PYRT_FRAME_HEADER;
    return PYRT_FRAME_HEADER + (size_t)frame.length;
}

int pyrt_parser_next(struct pyrt_parser *parser, struct pyrt_frame *frame)
{
    const unsigned char *data = parser->buffer + parser->begin;
    size_t pending = parser->end - parser->begin;
    struct pyrt_frame found;
    int ret = pyrt_frame_decode(data, pending, parser->max_payload, &found);
    if (ret <= 0)
        return ret;
    if (pending - PYRT_FRAME_HEADER < found.length)
        return 0;
    found.payload = data + PYRT_FRAME_HEADER;
    parser->begin += PYRT_FRAME_HEADER + (size_t)found.length;
    *frame = found;
    return 1;
}
