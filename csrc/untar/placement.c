/* SPDX-License-Identifier: Apache-2.0 */
/* Decides where a copy goes, and renames what goes there; see placement.h. */
#include "placement.h"

#include <errno.h>
#include <string.h>

int placement(enum there there, bool slash, bool directory)
{
    switch (there) {
    case THERE_DIRECTORY:
        return PLACE_INTO;
    case THERE_SPECIAL:
        return -EINVAL;
    case THERE_FILE:
        if (slash)
            return -ENOTDIR;
        return directory ? -EISDIR : PLACE_AS;
    case THERE_NOTHING:
        break;
    }
    return slash && !directory ? -ENOENT : PLACE_AS;
}

int retitle(const struct retitle *title, char name[NAME_BYTES_MAX + 1])
{
    size_t from = strlen(title->from), to, rest;

    if (!title->to)
        return 0;
    if (from > 0 && (strncmp(name, title->from, from) != 0 || (name[from] != '\0' && name[from] != '/')))
        return -EXDEV;
    to = strlen(title->to);
    rest = strlen(name + from);
    if (from == 0 && rest > 0)
        to++; /* the slash between them */
    if (to + rest > NAME_BYTES_MAX)
        return -ENAMETOOLONG;
    memmove(name + to, name + from, rest + 1);
    memcpy(name, title->to, strlen(title->to));
    if (from == 0 && rest > 0)
        name[to - 1] = '/';
    return 0;
}
