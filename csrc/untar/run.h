/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run of the extractor: an archive on standard input, a tree that it goes into, a report.
 *
 * The report is one write of six fields, a NUL after each: errno (0: all is well), entries, bytes of content, bytes of
 * archive read, name of the entry at fault (may be empty), text. The text of a run that went well is empty, or says
 * what was left out.
 */
#ifndef PYRT_UNTAR_RUN_H
#define PYRT_UNTAR_RUN_H

#include "apply.h"

/* Everything a run needs, in one allocation. */
struct run {
    struct job job;
    struct tar_reader reader;
    struct tar_entry entry;
};

#define RUN_REPORT_MAX (NAME_BYTES_MAX + READER_TEXT + 256)

/* A run that reads standard input; NULL without memory. */
struct run *run_new(uint64_t max_bytes, uint64_t max_entries);

/* Unpack everything beneath the directory root_fd as a layer. 0 or -errno. */
int run_layer(struct run *run, int root_fd);

/* A copy, as `pyrt cp` makes it; see placement.h for where it goes. */
struct copy {
    int root_fd;          /* AT_FDCWD: paths mean what they mean to this process */
    uint64_t resolve;     /* openat2's flags for `path` */
    const char *path;     /* the destination */
    bool into;            /* it has to be a directory: the archive is the user's own */
    bool owners;          /* owners, extended attributes and device nodes too, and holes for zeros */
    int (*confine)(int directory_fd, const char **step); /* the second barrier; from then on nothing outside is needed */
};

/* Unpack everything to where the copy goes. 0 or -errno. */
int run_copy(struct run *run, const struct copy *copy);

void run_report(int fd, const struct run *run, int code);

#endif
