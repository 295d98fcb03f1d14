/* SPDX-License-Identifier: Apache-2.0 */
/* Cleans names of entries and recognises whiteouts; see name.h. */
#include "name.h"

#include <errno.h>
#include <string.h>

#define WHITEOUT ".wh."
#define AUFS ".wh..wh."
#define OPAQUE ".wh..wh..opq"

int name_clean(const uint8_t *name, size_t length, char *out)
{
    size_t used = 0, start = 0;

    if (length && memchr(name, '\0', length))
        return -EINVAL;
    while (start < length) {
        const uint8_t *slash = memchr(name + start, '/', length - start);
        size_t end = slash ? (size_t)(slash - name) : length;
        size_t size = end - start;
        const uint8_t *component = name + start;

        start = end + 1;
        if (size == 0 || (size == 1 && component[0] == '.'))
            continue;
        if (size == 2 && component[0] == '.' && component[1] == '.') {
            if (used == 0)
                return -EXDEV;
            while (used > 0 && out[used - 1] != '/')
                used--;
            used -= used > 0; /* and the slash itself */
            continue;
        }
        if (used + (used > 0) + size > NAME_BYTES_MAX)
            return -ENAMETOOLONG;
        if (used > 0)
            out[used++] = '/';
        memcpy(out + used, component, size);
        used += size;
    }
    out[used] = '\0';
    return (int)used;
}

const char *name_base(const char *name)
{
    const char *slash = strrchr(name, '/');

    return slash ? slash + 1 : name;
}

enum name_kind name_kind(const char *name)
{
    const char *base = name_base(name), *hidden = base + strlen(WHITEOUT);

    if (strncmp(name, AUFS, strlen(AUFS)) == 0 && strcmp(name, OPAQUE) != 0)
        return NAME_AUFS;
    for (const char *p = name; p < base; p = strchr(p, '/') + 1)
        if (strncmp(p, WHITEOUT, strlen(WHITEOUT)) == 0)
            return NAME_BAD;
    if (strcmp(base, OPAQUE) == 0)
        return NAME_OPAQUE;
    if (strncmp(base, AUFS, strlen(AUFS)) == 0)
        return NAME_AUFS;
    if (strncmp(base, WHITEOUT, strlen(WHITEOUT)) != 0)
        return NAME_PLAIN;
    if (*hidden == '\0' || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0)
        return NAME_BAD;
    return NAME_WHITEOUT;
}
