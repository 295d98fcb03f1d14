/* SPDX-License-Identifier: Apache-2.0 */
/* Makes, fills and removes cgroup directories; see cgroup.h for the plan it follows.
 *
 * The start of a container passes through here, so the work is the bare system calls: one mkdir a directory, open, write
 * and close a file. cgroupfs takes the whole value in one write, and a short write cannot happen. */
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { DIRECTORY_MODE = 0755, FIRST_PAUSE_NS = 200000, LONGEST_PAUSE_NS = 20000000 };

/* The record at *at, or NULL at the end of the plan or of a plan cut short. */
static const char *next_record(const char *plan, size_t length, size_t *at)
{
    const char *record = plan + *at;
    const char *end;

    if (*at >= length)
        return NULL;
    end = memchr(record, '\0', length - *at);
    if (end == NULL)
        return NULL;
    *at = (size_t)(end - plan) + 1;
    return record;
}

static int write_text(int fd, const char *text, size_t length)
{
    ssize_t written;

    do
        written = write(fd, text, length);
    while (written < 0 && errno == EINTR);
    return written < 0 ? -errno : 0;
}

static int write_pid(const char *path, int pid)
{
    char text[16];
    int length = snprintf(text, sizeof text, "%d", (int)pid);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int result;

    if (fd < 0)
        return -errno;
    result = write_text(fd, text, (size_t)length);
    close(fd);
    return result;
}

/* Takes back the directories of the first `steps` records, in the order they were made: none contains another. */
static void undo(const char *plan, size_t length, int steps)
{
    size_t at = 0;
    const char *record;

    while (steps-- > 0 && (record = next_record(plan, length, &at)) != NULL)
        if (record[0] == 'd')
            rmdir(record + 1);
}

static int apply_record(const char *record, int pid, int *fd)
{
    switch (record[0]) {
    case 'd':
    case 'p':
        if (mkdir(record + 1, DIRECTORY_MODE) < 0)
            return errno == EEXIST && record[0] == 'p' ? 0 : -errno;
        return 0;
    case 'w':
        if (*fd >= 0)
            close(*fd);
        *fd = open(record + 1, O_WRONLY | O_CLOEXEC);
        return *fd < 0 ? -errno : 0;
    case '=':
        return *fd < 0 ? -EBADF : write_text(*fd, record + 1, strlen(record + 1));
    case 'j':
        return write_pid(record + 1, pid);
    default:
        return -EINVAL;
    }
}

int cgroup_apply(const char *plan, size_t length, int pid, int *failed)
{
    size_t at = 0;
    const char *record;
    int step = 0, fd = -1, result = 0;

    *failed = -1;
    if (length > 0 && plan[length - 1] != '\0')
        return -EINVAL;
    for (; (record = next_record(plan, length, &at)) != NULL; step++) {
        result = apply_record(record, pid, &fd);
        if (result < 0) {
            *failed = step;
            undo(plan, length, step);
            break;
        }
    }
    if (fd >= 0)
        close(fd);
    return result < 0 ? result : step;
}

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int remove_directory(const char *path, int64_t deadline_ns)
{
    struct timespec pause = {.tv_nsec = FIRST_PAUSE_NS};

    for (;;) {
        if (rmdir(path) == 0 || errno == ENOENT)
            return 0;
        if (errno != EBUSY && errno != EINTR)
            return -errno;
        if (now_ns() >= deadline_ns)
            return -EBUSY;
        nanosleep(&pause, NULL);
        if (pause.tv_nsec < LONGEST_PAUSE_NS)
            pause.tv_nsec *= 2;
    }
}

int cgroup_remove(const char *plan, size_t length, int timeout_ms, int *failed)
{
    int64_t deadline_ns = now_ns() + (int64_t)timeout_ms * 1000000;
    size_t at = 0;
    const char *record;
    int step = 0, first = 0, result;

    *failed = -1;
    for (; (record = next_record(plan, length, &at)) != NULL; step++) {
        if (record[0] != 'd')
            continue;
        result = remove_directory(record + 1, deadline_ns);
        if (result < 0 && first == 0) {
            first = result;
            *failed = step;
        }
    }
    return first;
}
