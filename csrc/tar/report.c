/* SPDX-License-Identifier: Apache-2.0 */
/* A job's beginning, its end, and what is told of it; see job.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tar/job.h"

#define FAULT_NAME_MAX 1000

struct job *job_new(void)
{
    struct job *job = calloc(1, sizeof *job);

    if (job)
        job->object.fd = job->other.fd = -1;
    return job;
}

void job_free(struct job *job)
{
    object_clear(&job->object);
    object_clear(&job->other);
    walk_free(&job->walk);
    links_free(&job->links);
    bytes_free(&job->headers);
    bytes_free(&job->warnings);
    free(job);
}

void job_report(const struct job *job, int fd, int code)
{
    const char *name = code == 0 ? "" : walk_path(&job->walk), *step = job->step ? job->step : "";
    struct bytes line = {0};
    char text[256];
    int used;

    if (bytes_reserve(&line, FAULT_NAME_MAX + 1024) < 0)
        return;
    used = snprintf((char *)line.data, line.room, "%d%c%" PRIu64 "%c%" PRIu64 "%c%" PRIu64 "%c%.*s%c", -code, 0,
                    job->entries, 0, job->bytes, 0, job->output.total, 0, FAULT_NAME_MAX, name, 0);
    line.used = (size_t)used;
    used = snprintf(text, sizeof text, "%s%s%s%c%" PRIu64 "%c", code ? step : "", code ? ": " : "",
                    code ? strerror(-code) : "", 0, job->warning_count, 0);
    if (bytes_append(&line, text, (size_t)used) == 0 &&
        bytes_append(&line, job->warnings.data, job->warnings.used) == 0 && write(fd, line.data, line.used) < 0)
        _exit(3); /* nobody listens any more */
    bytes_free(&line);
}
