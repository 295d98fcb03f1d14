/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pyrt-tar: writes a tar stream of a tree, or tells how a container's own layer changes what is below it. Needs root.
 *
 *     pyrt-tar --output FD --report FD ROOT [--frames]                      a whole tree
 *     pyrt-tar --output FD --report FD --layer --upper FD                   a container's own layer, with whiteouts
 *     pyrt-tar --output FD --report FD --copy PATH [--follow] [--owners] ROOT [--feed]    what `pyrt cp` copies
 *     pyrt-tar --output FD --report FD --changes --upper FD ROOT [--target PATH]...
 *
 * ROOT says where a container's root is, as csrc/rootfs.h has it, or is --directory FD. With --changes it is what lies
 * below the layer, and pyrt itself mounts something at each PATH.
 *
 * The tree is hostile and may change all the time: a process of the container may put a link where a directory was.
 * So nothing is opened but single names in directories that are open (walk.h), what was opened is looked at before it
 * is believed (inspect.h), and the process can reach nothing but the tree (rootfs.h): read-only, without devices.
 *
 * The report is that of job.h. Exit status 0, or 1 if its errno is not 0.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/syscalls.h"
#include "frames.h"
#include "rootfs.h"
#include "tar/job.h"

enum mode { MODE_TREE, MODE_LAYER, MODE_CHANGES, MODE_COPY };

struct options {
    int output_fd, report_fd, directory_fd, upper_fd;
    enum mode mode;
    bool frames, follow;
    const char *path;
    struct rootfs root;
};

static int usage(void)
{
    fputs("usage: pyrt-tar --output FD --report FD [--frames | --feed] [--layer | --changes] [--upper FD]\n"
          "                [--target PATH]... [--copy PATH [--follow] [--owners]]\n"
          "                (--directory FD | --pidfd FD | --overlay-directory DIR --overlay-options OPTIONS\n"
          "                [--mask MODE:UID:GID:PATH]...)\n", stderr);
    return 2;
}

static bool descriptor(const char *text, int *fd)
{
    char *end;

    if (!text || *text < '0' || *text > '9')
        return false;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    *fd = (int)value;
    return errno == 0 && *end == '\0' && value <= INT32_MAX;
}

static bool parse_word(char ***at, struct options *options, struct job *job)
{
    const char *word = **at;
    int *fd = strcmp(word, "--output") == 0      ? &options->output_fd
              : strcmp(word, "--report") == 0    ? &options->report_fd
              : strcmp(word, "--directory") == 0 ? &options->directory_fd
              : strcmp(word, "--upper") == 0     ? &options->upper_fd
                                                 : NULL;

    if (fd)
        return descriptor(*++*at, fd);
    if (strcmp(word, "--frames") == 0 || strcmp(word, "--feed") == 0) {
        options->frames = true;
        job->output.stream = strcmp(word, "--feed") == 0 ? PYRT_FEED : PYRT_STDOUT;
    } else if (strcmp(word, "--copy") == 0 && (*at)[1]) {
        options->mode = MODE_COPY;
        options->path = *++*at;
    } else if (strcmp(word, "--follow") == 0)
        options->follow = true;
    else if (strcmp(word, "--owners") == 0)
        job->owners = true;
    else if (strcmp(word, "--layer") == 0)
        options->mode = MODE_LAYER;
    else if (strcmp(word, "--changes") == 0)
        options->mode = MODE_CHANGES;
    else if (strcmp(word, "--target") == 0 && (*at)[1])
        job->targets[job->target_count++] = *++*at;
    else
        return rootfs_argument(&options->root, at) == 1;
    return true;
}

static bool parse(char **argv, struct options *options, struct job *job)
{
    *options = (struct options){-1, -1, -1, -1, MODE_TREE, false, false, NULL, {.pidfd = -1}};
    for (char **at = argv + 1; *at; at++)
        if (!parse_word(&at, options, job) || !*at)
            return false;
    if (options->output_fd < 0 || options->report_fd < 0)
        return false;
    if ((options->upper_fd >= 0) != (options->mode == MODE_LAYER || options->mode == MODE_CHANGES))
        return false;
    if (options->mode == MODE_LAYER)
        return true;
    return rootfs_given(&options->root) != (options->directory_fd >= 0);
}

/* The trees as mounts of our own, made while the host's mount namespace is still there. -1 where there is none. */
static int open_trees(const struct options *options, int *upper_fd, int *root_fd, const char **step)
{
    unsigned deep = options->mode == MODE_COPY ? ROOTFS_SUBMOUNTS : 0;

    *upper_fd = *root_fd = -1;
    if (options->upper_fd >= 0 && (*upper_fd = rootfs_clone(options->upper_fd, 0, step)) < 0)
        return *upper_fd;
    if (options->mode == MODE_LAYER)
        return 0;
    *root_fd = options->directory_fd >= 0 ? rootfs_clone(options->directory_fd, 0, step)
                                          : rootfs_open(&options->root, deep, step);
    return *root_fd < 0 ? *root_fd : 0;
}

static int work(struct job *job, const struct options *options)
{
    /* overlayfs' marks are trusted attributes, which take the second to be read */
    uint64_t keep = 1ULL << CAP_DAC_READ_SEARCH | (options->upper_fd < 0 ? 0 : 1ULL << CAP_SYS_ADMIN);
    int upper_fd, root_fd, ret = open_trees(options, &upper_fd, &root_fd, &job->step);

    if (ret == 0)
        ret = rootfs_confine(root_fd >= 0 ? root_fd : upper_fd, keep, &job->step);
    if (ret < 0)
        return ret;
    job->step = NULL;
    job->output.fd = options->output_fd;
    job->output.framed = options->frames;
    job->layer = options->mode == MODE_LAYER;
    if (options->mode == MODE_COPY)
        return archive_copy(job, root_fd, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, options->path, options->follow);
    return options->mode == MODE_CHANGES ? changes_tell(job, upper_fd, root_fd)
                                         : archive_tree(job, job->layer ? upper_fd : root_fd);
}

int main(int argc, char **argv)
{
    struct rlimit none = {0, 0};
    struct options options;
    struct job *job = job_new();
    int ret;

    if (!job || !(job->targets = calloc((size_t)argc, sizeof *job->targets)))
        return 3;
    if (!parse(argv, &options, job))
        return usage();
    signal(SIGPIPE, SIG_IGN); /* a reader that leaves is an error like any other */
    setrlimit(RLIMIT_CORE, &none);
    ret = work(job, &options);
    /* what is half done is not told: the buffer holds the beginning of an archive that will not be finished */
    job_report(job, options.report_fd, ret);
    free(job->targets);
    job_free(job);
    return ret < 0;
}
