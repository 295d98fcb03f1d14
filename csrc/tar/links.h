/* SPDX-License-Identifier: Apache-2.0 */
/* The files with several names that have been met, each with the first of its names. A zeroed struct is empty. */
#ifndef PYRT_TAR_LINKS_H
#define PYRT_TAR_LINKS_H

#include <stddef.h>
#include <stdint.h>

struct link {
    uint64_t dev, ino;
    char *name; /* owned; NULL: the slot is free */
};

struct links {
    struct link *slots; /* owned; a power of two */
    size_t used, room;
};

/* The first name of this file, if it was met before; else NULL, and `name` is remembered. 0 or -ENOMEM. */
int links_meet(struct links *links, uint64_t dev, uint64_t ino, const char *name, const char **first);

void links_free(struct links *links);

#endif
