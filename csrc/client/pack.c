/* SPDX-License-Identifier: Apache-2.0 */
/* The packing child's work; csrc/tar/job.h and csrc/untar/run.h do not go together in one file. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "client.h"
#include "tar/job.h"

/* A tar of `path` to standard output, and the report to report_fd. */
void pack(const char *path, unsigned flags, int report_fd)
{
    struct job *job = job_new();
    if (!job)
        _exit(CLIENT_FAILED);
    signal(SIGPIPE, SIG_IGN);
    job->output.fd = STDOUT_FILENO;
    job->owners = flags & PYRT_COPY_OWNERS;
    job_report(job, report_fd, archive_copy(job, AT_FDCWD, 0, path, flags & PYRT_COPY_FOLLOW));
    _exit(0);
}
