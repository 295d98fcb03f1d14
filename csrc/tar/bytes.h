/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that grow. A zeroed struct is an empty one. */
#ifndef PYRT_TAR_BYTES_H
#define PYRT_TAR_BYTES_H

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct bytes {
    uint8_t *data; /* owned */
    size_t used, room;
};

/* Make room for `more` bytes. 0 or -ENOMEM. */
static inline int bytes_reserve(struct bytes *bytes, size_t more)
{
    size_t room = bytes->room ? bytes->room : 256;
    uint8_t *data;

    if (more > SIZE_MAX / 2 - bytes->used)
        return -ENOMEM;
    while (room - bytes->used < more)
        room *= 2;
    if (room == bytes->room)
        return 0;
    if (!(data = realloc(bytes->data, room)))
        return -ENOMEM;
    bytes->data = data;
    bytes->room = room;
    return 0;
}

static inline int bytes_append(struct bytes *bytes, const void *data, size_t length)
{
    if (bytes_reserve(bytes, length) < 0)
        return -ENOMEM;
    if (length)
        memcpy(bytes->data + bytes->used, data, length);
    bytes->used += length;
    return 0;
}

static inline void bytes_free(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){0};
}

#endif
