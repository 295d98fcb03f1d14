/* SPDX-License-Identifier: Apache-2.0 */
/* Frames as the client needs them (csrc/frames.c reads and writes the headers), and the numbers in their payloads. */

#include <errno.h>

#include "client.h"

void wire_put_u32(unsigned char *data, unsigned value)
{
    data[0] = (unsigned char)(value >> 24);
    data[1] = (unsigned char)(value >> 16);
    data[2] = (unsigned char)(value >> 8);
    data[3] = (unsigned char)value;
}

unsigned wire_get_u32(const unsigned char *data)
{
    return (unsigned)data[0] << 24 | (unsigned)data[1] << 16 | (unsigned)data[2] << 8 | data[3];
}

uint64_t wire_get_u64(const unsigned char *data)
{
    return (uint64_t)wire_get_u32(data) << 32 | wire_get_u32(data + 4);
}

void wire_header(unsigned char *header, unsigned type, size_t length)
{
    pyrt_frame_encode(header, type, length);
}

/*
 * The frame's type, or -EPROTO where these eight bytes cannot be a header. A type this client does not know is returned
 * too: it tells of another version at the other end, which is worth a message of its own.
 */
int wire_parse(const unsigned char *header, size_t *length)
{
    struct pyrt_frame frame;
    int ret = pyrt_frame_decode(header, PYRT_FRAME_HEADER, PYRT_FRAME_MAX, &frame);
    *length = ret == PYRT_FRAME_HEADER ? frame.length : 0;
    if (ret == -EPROTO && !header[1] && !header[2] && !header[3])
        return header[0];
    return ret == PYRT_FRAME_HEADER ? (int)frame.type : -EPROTO;
}
