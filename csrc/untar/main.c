/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pyrt-untar: unpacks the tar stream on its standard input. Needs root.
 *
 *     pyrt-untar --report FD --target FD [--max-bytes N] [--max-entries N] [--sync]
 *
 * into an empty directory, as a layer of an image; with --sync the directory's file system is on the disk at the end.
 *
 *     pyrt-untar --report FD --copy PATH [--into] [--owners] CONTAINER
 *
 * to a place in a container, as `pyrt cp` does (run.h, placement.h); for CONTAINER see rootfs.h. PATH is looked up in
 * the container's root; what happens there while that goes on is the container's affair, and stays in it.
 *
 * The archive is hostile. Two barriers, each sufficient: the process is shut into the target (sandbox.h, rootfs.h), and
 * every path is resolved beneath it without following a link (tree.h). What it allocates does not grow with the
 * archive. The report is that of run.h. Exit status 0, or 1 if its errno is not 0.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/syscalls.h"
#include "rootfs.h"
#include "run.h"
#include "sandbox.h"

#define MAX_BYTES (256ULL << 30)
#define MAX_ENTRIES 4000000ULL

#define BIT(capability) (1ULL << (capability))
#define KEPT                                                                                                           \
    (BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FOWNER) | BIT(CAP_FSETID) | BIT(CAP_MKNOD) | BIT(CAP_SETFCAP))

struct options {
    int target_fd, report_fd;
    uint64_t max_bytes, max_entries;
    bool sync;
    struct copy copy;
    struct rootfs rootfs;
};

static int usage(void)
{
    fputs("usage: pyrt-untar --report FD --target FD [--max-bytes N] [--max-entries N] [--sync]\n"
          "       pyrt-untar --report FD --copy PATH [--into] [--owners] CONTAINER\n",
          stderr);
    return 2;
}

static bool number(const char *text, uint64_t *value)
{
    char *end;

    if (!text || *text < '0' || *text > '9')
        return false;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static bool *find_switch(struct options *options, const char *word)
{
    return strcmp(word, "--sync") == 0     ? &options->sync
           : strcmp(word, "--into") == 0   ? &options->copy.into
           : strcmp(word, "--owners") == 0 ? &options->copy.owners
                                           : NULL;
}

static bool parse(char **argv, struct options *options)
{
    uint64_t target = UINT64_MAX, report = UINT64_MAX;
    int taken;

    *options = (struct options){.max_bytes = MAX_BYTES, .max_entries = MAX_ENTRIES, .rootfs.pidfd = -1};
    for (char **at = argv + 1; *at; at++) {
        uint64_t *value = strcmp(*at, "--target") == 0        ? &target
                          : strcmp(*at, "--report") == 0      ? &report
                          : strcmp(*at, "--max-bytes") == 0   ? &options->max_bytes
                          : strcmp(*at, "--max-entries") == 0 ? &options->max_entries
                                                              : NULL;
        bool *flag = find_switch(options, *at);

        if (value) {
            if (!number(*++at, value))
                return false;
        } else if (flag) {
            *flag = true;
        } else if (strcmp(*at, "--copy") == 0) {
            if (!(options->copy.path = *++at))
                return false;
        } else if ((taken = rootfs_argument(&options->rootfs, &at)) <= 0) {
            return false;
        }
    }
    if (report > INT32_MAX || (options->copy.path ? !rootfs_given(&options->rootfs) : target > INT32_MAX))
        return false;
    options->target_fd = (int)target;
    options->report_fd = (int)report;
    return true;
}

static int unpack_layer(struct run *run, const struct options *options)
{
    int root_fd = sandbox_enter(options->target_fd, &run->job.step), ret;

    if (root_fd < 0)
        return root_fd;
    if ((ret = run_layer(run, root_fd)) < 0)
        return ret;
    run->job.step = "write everything to the disk";
    return options->sync && syncfs(root_fd) < 0 ? -errno : 0;
}

static int confine(int directory_fd, const char **step)
{
    return rootfs_confine(directory_fd, KEPT, step);
}

static int unpack_copy(struct run *run, struct options *options)
{
    struct copy *copy = &options->copy;

    copy->root_fd = rootfs_open(&options->rootfs, ROOTFS_WRITABLE | ROOTFS_SUBMOUNTS, &run->job.step);
    if (copy->root_fd < 0)
        return copy->root_fd;
    copy->resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    copy->confine = confine;
    return run_copy(run, copy);
}

int main(int argc, char **argv)
{
    struct rlimit none = {0, 0};
    static struct options options;
    struct run *run;
    int ret;

    (void)argc;
    if (!parse(argv, &options))
        return usage();
    umask(0); /* modes are the archive's */
    setrlimit(RLIMIT_CORE, &none);
    run = run_new(options.max_bytes, options.max_entries);
    if (!run)
        return 3;
    ret = options.copy.path ? unpack_copy(run, &options) : unpack_layer(run, &options);
    run_report(options.report_fd, run, ret);
    return ret < 0;
}
