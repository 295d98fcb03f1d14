/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy. The destination is looked up once, and from then on is a descriptor: of the directory into which the archive
 * goes. Where that is the destination's parent, every entry is made to lie beneath the destination's own name in it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "locate.h"
#include "placement.h"
#include "run.h"

static int refuse(struct run *run, int code, const char *text)
{
    snprintf(run->reader.text, sizeof run->reader.text, "%s", text);
    return -code;
}

static enum there kind(const struct located *found)
{
    if (!found->exists)
        return THERE_NOTHING;
    if (S_ISDIR(found->status.st_mode))
        return THERE_DIRECTORY;
    return S_ISREG(found->status.st_mode) ? THERE_FILE : THERE_SPECIAL;
}

/* The directory that the archive goes into, as what the tree is filled from; `found` gives its descriptor up. */
static int open_directory(struct run *run, const struct copy *copy, enum placement where, struct located *found)
{
    int parent = found->fd, ret;
    const char *path = where == PLACE_INTO && found->base[0] ? found->base : ".";

    run->job.step = "cannot be opened";
    found->fd = openat(parent, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    ret = found->fd < 0 ? -errno : 0;
    close(parent);
    if (ret == 0 && (ret = tree_allows(found->fd)) == 0)
        ret = copy->confine(found->fd, &run->job.step);
    run->job.tree.root_fd = found->fd;
    return ret;
}

static int place(struct run *run, const struct copy *copy, struct located *found, struct retitle *title)
{
    int where = placement(kind(found), found->slash, run->entry.type == TAR_DIRECTORY);

    switch (where) {
    case -EISDIR:
        return refuse(run, ENOTDIR, "cannot copy a directory to a file");
    case -ENOTDIR:
        return refuse(run, ENOTDIR, "not a directory");
    case -ENOENT:
        return refuse(run, ENOENT, "no such directory");
    case -EINVAL:
        return refuse(run, EINVAL, "neither a file nor a directory");
    case PLACE_AS:
        strcpy(title->from, run->entry.name);
        title->to = found->base;
    }
    return open_directory(run, copy, (enum placement)where, found);
}

/* The first entry shows whether a file or a directory is copied; without entries there is nothing to do. */
static int unpack(struct run *run, const struct copy *copy, struct located *found)
{
    struct retitle title = {.to = NULL};
    struct tar_entry *entry = &run->entry;
    int ret;

    if (copy->into && (ret = open_directory(run, copy, PLACE_INTO, found)) < 0)
        return ret;
    while ((ret = tar_next(&run->reader, entry)) > 0) {
        if (run->job.tree.root_fd < 0 && (ret = place(run, copy, found, &title)) < 0) {
            entry->name[0] = '\0'; /* it is the destination's fault, not the entry's */
            return ret;
        }
        if ((ret = retitle(&title, entry->name)) < 0 ||
            (entry->type == TAR_HARDLINK && (ret = retitle(&title, entry->link)) < 0))
            return refuse(run, -ret, "does not belong to what is copied");
        if ((ret = apply(&run->job, &run->reader, entry)) < 0)
            return ret;
    }
    if (ret < 0)
        return ret;
    entry->name[0] = '\0';
    run->job.step = "a directory cannot be given its time or mode";
    return tree_finish(&run->job.tree);
}

int run_copy(struct run *run, const struct copy *copy)
{
    struct located found;
    int ret;

    run->job.copy = run->job.tree.copy = true;
    run->job.owners = copy->owners;
    run->job.step = "cannot be reached";
    ret = locate(copy->root_fd, copy->resolve, copy->path, true, &found);
    if (ret == 0 && copy->into && kind(&found) != THERE_DIRECTORY)
        ret = found.exists ? refuse(run, ENOTDIR, "not a directory") : refuse(run, ENOENT, "no such directory");
    else if (ret == -ENOENT)
        return refuse(run, ENOENT, "no such directory");
    else if (ret == -ENOTDIR)
        return refuse(run, ENOTDIR, "not a directory");
    if (ret < 0)
        return ret;
    ret = unpack(run, copy, &found);
    if (ret == 0 && run->job.left_out)
        snprintf(run->reader.text, sizeof run->reader.text, "%llu device nodes were left out: only -a copies them",
                 (unsigned long long)run->job.left_out);
    return ret;
}
