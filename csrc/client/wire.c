/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a frame's header and of the numbers in payloads, for the client. See csrc/frames.h. */

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

void wire_header(unsigned char *header, unsigned type, size_t length)
{
    header[0] = (unsigned char)type;
    header[1] = header[2] = header[3] = 0;
    wire_put_u32(header + 4, (unsigned)length);
}

/* The frame's type, or -EPROTO where these eight bytes cannot be a header. */
int wire_parse(const unsigned char *header, size_t *length)
{
    *length = wire_get_u32(header + 4);
    if (header[1] || header[2] || header[3] || *length > PYRT_FRAME_MAX)
        return -EPROTO;
    return header[0];
}
