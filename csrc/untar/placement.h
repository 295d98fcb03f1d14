/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a copy goes: docker's rules for what becomes of a source and a destination, as pure functions.
 *
 *     the destination is      a directory            a file                  not there
 *     copying a file          into it, by its name   it is replaced          it is made; an error behind a slash
 *     copying a directory     into it, by its name   an error                it is made, with the content
 *
 * "By its name" is by the archive's own names: of `SRC/.` they begin at the content, which is so merged.
 */
#ifndef PYRT_UNTAR_PLACEMENT_H
#define PYRT_UNTAR_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "name.h"

enum there { THERE_NOTHING, THERE_DIRECTORY, THERE_FILE, THERE_SPECIAL };

enum placement { PLACE_INTO, PLACE_AS };

/*
 * PLACE_INTO: unpack beneath the destination; PLACE_AS: in its parent, the first entry by the destination's name.
 * -EISDIR: a directory cannot replace a file; -ENOTDIR: the destination, with a slash behind it, is a file; -ENOENT: it
 * is not there, and a file does not make a directory; -EINVAL: it is neither a file nor a directory.
 */
int placement(enum there there, bool slash, bool directory);

/* What the first entry's name, a clean one, is replaced by; all others have to lie beneath it. */
struct retitle {
    char from[NAME_BYTES_MAX + 1]; /* "" where the archive begins at a directory's content */
    const char *to;                /* NULL: nothing is replaced */
};

/* Replace the beginning of the clean name in place. 0; -EXDEV: it does not lie beneath the first; -ENAMETOOLONG. */
int retitle(const struct retitle *title, char name[NAME_BYTES_MAX + 1]);

#endif
