/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the program does: write an archive of a tree, or say how a container's own layer changes what lies below it.
 */
#ifndef PYRT_TAR_JOB_H
#define PYRT_TAR_JOB_H

#include <stdarg.h>

#include "tar/bytes.h"
#include "tar/inspect.h"
#include "tar/links.h"
#include "tar/output.h"
#include "tar/walk.h"

#define WARNINGS_MAX 16 /* that are told; the others are counted */
#define WARNING_NAME_MAX 200

struct job {
    struct output output;
    struct walk walk;
    struct links links;
    struct object object, other;
    struct bytes headers;
    bool layer;              /* overlayfs' marks become an archive's whiteouts */
    bool copy;               /* mounts are crossed, but not into the kernel's own file systems */
    bool owners;             /* of a copy: extended attributes too */
    char **targets;    /* borrowed; paths without a leading slash at which pyrt mounts something */
    size_t target_count;
    uint64_t entries, bytes; /* done so far */
    const char *step;        /* after an error: what could not be done */
    struct bytes warnings;   /* name, NUL, text, NUL, of each that is told */
    uint64_t warning_count;
};

/* Nothing done yet; NULL without memory. */
struct job *job_new(void);
void job_free(struct job *job);

/*
 * Tell fd how it went, in one write, with a NUL after each field: errno (0: all is well), entries, bytes of content,
 * bytes written, path of the entry at fault (may be empty), text, number of warnings, path and text of the first of
 * them.
 */
void job_report(const struct job *job, int fd, int code);

/* Something about the current entry that its owner should know. 0 or -ENOMEM. */
int job_warn(struct job *job, const char *text);

/* An archive of the tree below root_fd (borrowed). 0, or -errno with job->step. */
int archive_tree(struct job *job, int root_fd);

/* An archive of the current object, which is walk_path(), and of what lies below it. 0, or -errno with job->step. */
int archive_object(struct job *job);

/*
 * An archive of what `path` names, as `pyrt cp` copies it: its entries' names begin with that of the object itself; of a
 * directory's content (`DIR/.`, and `/`) with ".". Looked up from root_fd (borrowed) as locate.h has it; `follow`: of
 * a symbolic link what it leads to. 0, or -errno with job->step.
 */
int archive_copy(struct job *job, int root_fd, uint64_t resolve, const char *path, bool follow);

/*
 * What the layer new_fd changes of the tree old_fd (both borrowed): a letter (A added, C changed, D deleted), the
 * path from "/" on, and a NUL, of each. A directory that is gone is told once; what differs and is not told are
 * the root itself, and what pyrt made to mount something on. 0, or -errno with job->step.
 */
int changes_tell(struct job *job, int new_fd, int old_fd);

#endif
