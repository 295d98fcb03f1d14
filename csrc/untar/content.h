/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the content of regular files. */
#ifndef PYRT_UNTAR_CONTENT_H
#define PYRT_UNTAR_CONTENT_H

#include "apply.h"

/*
 * Write the entry's content, from the reader, to fd, a new and empty file; in a copy with owners, blocks of zeros become
 * holes. 0, or -errno with job->step or reader->text.
 */
int write_content(struct job *job, struct tar_reader *reader, int fd, const struct tar_entry *entry);

#endif
