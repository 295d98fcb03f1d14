/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gives what was made its owner, mode, extended attributes and time.
 *
 * In a layer all of them are the archive's. A copy without owners belongs to whoever makes it; what changes hands so
 * loses its set-id bits, as with cp(1), because they were meant for another. With owners, somebody who is not root
 * keeps what root alone could give away.
 */
#ifndef PYRT_UNTAR_METADATA_H
#define PYRT_UNTAR_METADATA_H

#include "apply.h"

/* 0, or -errno with job->step. A directory gets it last of all, when it is the caller's own, filled or not. */
int set_metadata(struct job *job, int fd, const struct tar_entry *entry);

/* The same of what has no descriptor to be changed by: symbolic links, devices, fifos. The mode came with its making. */
int set_metadata_at(struct job *job, int parent_fd, const char *base, const struct tar_entry *entry);

#endif
