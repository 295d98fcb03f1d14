/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts entries into a tree. Takes regular files, directories, symbolic and hard links, character and block devices,
 * fifos; of extended attributes only user.* (but not user.overlay.*), security.capability and access lists. Whiteouts
 * become overlayfs' own. Device nodes are made as the image says, as docker does: whether a container may open one is
 * decided by its device rules, not by the node.
 *
 * A copy (job.copy) goes into a tree that somebody may use and change meanwhile. Files there are replaced whole or not
 * at all; a directory is never removed, nor replaced by something else.
 */
#ifndef PYRT_UNTAR_APPLY_H
#define PYRT_UNTAR_APPLY_H

#include <stdint.h>

#include "reader.h"
#include "tree.h"

struct job {
    struct tree tree;
    uint64_t entries, bytes; /* done so far */
    uint64_t bytes_left;     /* of the budget */
    bool copy;               /* not a layer: names mean themselves, and nothing but files is replaced */
    bool owners;             /* of a copy; see metadata.h */
    uint64_t left_out;       /* device nodes, which a copy without owners does not make */
    uint64_t temporaries;    /* names given out */
    const char *step;        /* after an error from the kernel: what could not be done */
};

/* Put one entry into the tree, its content read from the reader. 0, or -errno with job->step or reader->text. */
int apply(struct job *job, struct tar_reader *reader, const struct tar_entry *entry);

#endif
