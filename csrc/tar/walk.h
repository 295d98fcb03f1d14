/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks through a tree that somebody else may be changing, or through two trees side by side: entry by entry, each
 * directory's names sorted by their bytes, whatever lies in a directory right after it.
 *
 * It opens no path, only single names in directories that are open, and follows no link. Depth costs memory, not
 * recursion: of the way down only the last descriptors are kept, the others are opened again by "..", and must then
 * be the directories they were. There is no limit to the length of a path.
 */
#ifndef PYRT_TAR_WALK_H
#define PYRT_TAR_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tar/bytes.h"

#define WALK_OPEN_MAX 64 /* directories of the way down that stay open, on each side */

enum walk_side { WALK_NEW = 0, WALK_OLD = 1, WALK_SIDES = 2 };

/* A name in the directory that is being walked. */
struct walk_entry {
    const char *name;
    int fd[WALK_SIDES];   /* the directory itself, borrowed; -1: there is none on this side */
    bool in[WALK_SIDES];  /* was it listed there? */
    uint8_t type;         /* DT_* of readdir(3) on the first side that lists it: a hint */
};

struct walk_level {
    int fd[WALK_SIDES];                      /* owned; -1: closed meanwhile, or none */
    uint64_t dev[WALK_SIDES], ino[WALK_SIDES];
    bool has[WALK_SIDES];
    struct bytes list;                       /* records of flags, type, name */
    uint32_t *order;                         /* owned: where each record starts, sorted by name */
    size_t count, next;
    size_t path_length;                      /* of the directory's own path */
    unsigned flags;                          /* the caller's */
};

struct walk {
    struct walk_level *levels; /* owned */
    size_t depth, room;
    struct bytes path;         /* of the current entry, NUL terminated, without a slash at either end */
};

/*
 * Go into a directory, the one of the current entry (or the first of all). The descriptors are the walk's from now on,
 * also on an error; -1 where a side has no such directory. Names are read of the sides in `list`. 0 or -errno.
 */
int walk_enter(struct walk *walk, const int fd[WALK_SIDES], const bool list[WALK_SIDES], unsigned flags);

enum walk_step { WALK_END, WALK_ENTRY, WALK_LEFT };

/*
 * The next entry. WALK_LEFT: all of a directory has been seen, and walk_path() is its path. WALK_END after the first
 * directory was left. -errno: ESTALE where a directory was moved out of the tree while the walk was far below it.
 */
int walk_next(struct walk *walk, struct walk_entry *entry);

/* The current entry's path, "" for the first directory. */
const char *walk_path(const struct walk *walk);

/* The level of the directory the current entry is in; depth 0 is the first. */
struct walk_level *walk_level(struct walk *walk);

void walk_free(struct walk *walk);

#endif
