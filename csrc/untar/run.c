/* SPDX-License-Identifier: Apache-2.0 */
/* Reads an archive to its end and reports how that went; see run.h. */
#include "run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ssize_t read_stdin(void *context, uint8_t *into, size_t room)
{
    ssize_t got;

    (void)context;
    do
        got = read(STDIN_FILENO, into, room);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

struct run *run_new(uint64_t max_bytes, uint64_t max_entries)
{
    struct run *run = calloc(1, sizeof *run);

    if (!run)
        return NULL;
    run->job.tree = (struct tree){.root_fd = -1, .parent_fd = -1, .entries_left = max_entries};
    run->job.bytes_left = max_bytes;
    run->reader.source = read_stdin;
    return run;
}

int run_layer(struct run *run, int root_fd)
{
    int ret;

    run->job.tree.root_fd = root_fd;
    while ((ret = tar_next(&run->reader, &run->entry)) > 0)
        if ((ret = apply(&run->job, &run->reader, &run->entry)) < 0)
            return ret;
    if (ret < 0)
        return ret;
    run->entry.name[0] = '\0';
    run->job.step = "restore a directory's time";
    return tree_leave(&run->job.tree);
}

/* The reader's text is a sentence by itself; a step of ours needs the kernel's reason behind it. */
void run_report(int fd, const struct run *run, int code)
{
    const char *text = run->reader.text, *step = run->job.step;
    bool whole = code == 0 || text[0];
    char line[RUN_REPORT_MAX];
    int used = snprintf(line, sizeof line, "%d%c%llu%c%llu%c%llu%c%s%c%s%s%s", -code, 0,
                        (unsigned long long)run->job.entries, 0, (unsigned long long)run->job.bytes, 0,
                        (unsigned long long)run->reader.offset, 0, run->entry.name, 0, whole ? text : step ? step : "",
                        whole ? "" : ": ", whole ? "" : strerror(-code));

    if (used > 0 && (size_t)used < sizeof line && write(fd, line, (size_t)used + 1) < 0)
        _exit(3); /* nobody listens any more */
}
