/* SPDX-License-Identifier: Apache-2.0 */
/* A hash table with linear probing, at most half full; see links.h. */
#include "tar/links.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct link *find(struct link *slots, size_t room, uint64_t dev, uint64_t ino)
{
    uint64_t hash = (ino ^ dev << 32) * 0x9e3779b97f4a7c15ULL;
    size_t at = (size_t)(hash >> 20) & (room - 1);

    while (slots[at].name && (slots[at].dev != dev || slots[at].ino != ino))
        at = (at + 1) & (room - 1);
    return &slots[at];
}

static int grow(struct links *links)
{
    size_t room = links->room ? links->room * 2 : 256;
    struct link *slots = calloc(room, sizeof *slots);

    if (!slots)
        return -ENOMEM;
    for (size_t i = 0; i < links->room; i++)
        if (links->slots[i].name)
            *find(slots, room, links->slots[i].dev, links->slots[i].ino) = links->slots[i];
    free(links->slots);
    links->slots = slots;
    links->room = room;
    return 0;
}

int links_meet(struct links *links, uint64_t dev, uint64_t ino, const char *name, const char **first)
{
    struct link *slot;

    if (links->used * 2 >= links->room && grow(links) < 0)
        return -ENOMEM;
    slot = find(links->slots, links->room, dev, ino);
    *first = slot->name;
    if (slot->name)
        return 0;
    *slot = (struct link){dev, ino, strdup(name)};
    if (!slot->name)
        return -ENOMEM;
    links->used++;
    return 0;
}

void links_free(struct links *links)
{
    for (size_t i = 0; i < links->room; i++)
        free(links->slots[i].name);
    free(links->slots);
    *links = (struct links){0};
}
