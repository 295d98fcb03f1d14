/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pyrt-untar: unpacks the tar stream on its standard input into the directory it is given. Needs root.
 *
 *     pyrt-untar --target FD --report FD [--max-bytes N] [--max-entries N] [--sync]
 *
 * The archive is hostile. Two barriers, each sufficient: the process is shut into the target (sandbox.h), and every
 * path is resolved beneath it without following a link (tree.h). What it allocates does not grow with the archive.
 * With --sync the target's file system is on the disk when it ends.
 *
 * The report is one write of six fields, a NUL after each: errno (0: all is well), entries, bytes of content, bytes of
 * archive read, name of the entry at fault (may be empty), text. Exit status 0, or 1 if errno is not 0.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apply.h"
#include "sandbox.h"

#define MAX_BYTES (256ULL << 30)
#define MAX_ENTRIES 4000000ULL

struct options {
    int target_fd, report_fd;
    uint64_t max_bytes, max_entries;
    bool sync;
};

/* Everything a run needs, in one allocation. */
struct run {
    struct job job;
    struct tar_reader reader;
    struct tar_entry entry;
};

static int usage(void)
{
    fputs("usage: pyrt-untar --target FD --report FD [--max-bytes N] [--max-entries N] [--sync]\n", stderr);
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

static bool parse(char **argv, struct options *options)
{
    uint64_t target = UINT64_MAX, report = UINT64_MAX;

    *options = (struct options){.max_bytes = MAX_BYTES, .max_entries = MAX_ENTRIES};
    for (char **at = argv + 1; *at; at++) {
        uint64_t *value = strcmp(*at, "--target") == 0        ? &target
                          : strcmp(*at, "--report") == 0      ? &report
                          : strcmp(*at, "--max-bytes") == 0   ? &options->max_bytes
                          : strcmp(*at, "--max-entries") == 0 ? &options->max_entries
                                                              : NULL;
        if (value) {
            if (!number(*++at, value))
                return false;
        } else if (strcmp(*at, "--sync") == 0) {
            options->sync = true;
        } else {
            return false;
        }
    }
    if (target > INT32_MAX || report > INT32_MAX)
        return false;
    options->target_fd = (int)target;
    options->report_fd = (int)report;
    return true;
}

static ssize_t read_stdin(void *context, uint8_t *into, size_t room)
{
    ssize_t got;

    (void)context;
    do
        got = read(STDIN_FILENO, into, room);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

static int unpack(struct run *run, const struct options *options)
{
    struct job *job = &run->job;
    int ret = sandbox_enter(options->target_fd, &job->step);

    if (ret < 0)
        return ret;
    job->tree = (struct tree){.root_fd = ret, .parent_fd = -1, .entries_left = options->max_entries};
    job->bytes_left = options->max_bytes;
    run->reader.source = read_stdin;
    while ((ret = tar_next(&run->reader, &run->entry)) > 0)
        if ((ret = apply(job, &run->reader, &run->entry)) < 0)
            return ret;
    if (ret < 0)
        return ret;
    run->entry.name[0] = '\0';
    job->step = "restore a directory's time";
    if ((ret = tree_leave(&job->tree)) < 0)
        return ret;
    job->step = "write everything to the disk";
    return options->sync && syncfs(job->tree.root_fd) < 0 ? -errno : 0;
}

/* The reader's text is a sentence by itself; a step of ours needs the kernel's reason behind it. */
static void report(int fd, const struct run *run, int code)
{
    const char *text = run->reader.text, *step = run->job.step;
    bool whole = code == 0 || text[0];
    char line[NAME_BYTES_MAX + READER_TEXT + 256];
    int used = snprintf(line, sizeof line, "%d%c%llu%c%llu%c%llu%c%s%c%s%s%s", -code, 0,
                        (unsigned long long)run->job.entries, 0, (unsigned long long)run->job.bytes, 0,
                        (unsigned long long)run->reader.offset, 0, run->entry.name, 0, whole ? text : step ? step : "",
                        whole ? "" : ": ", whole ? "" : strerror(-code));

    if (used > 0 && (size_t)used < sizeof line && write(fd, line, (size_t)used + 1) < 0)
        _exit(3); /* nobody listens any more */
}

int main(int argc, char **argv)
{
    struct rlimit none = {0, 0};
    struct options options;
    struct run *run;
    int ret;

    (void)argc;
    if (!parse(argv, &options))
        return usage();
    umask(0); /* modes are the archive's */
    setrlimit(RLIMIT_CORE, &none);
    run = calloc(1, sizeof *run);
    if (!run)
        return 3;
    ret = unpack(run, &options);
    report(options.report_fd, run, ret);
    return ret < 0;
}
