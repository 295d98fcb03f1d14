/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor for moving a container's output: what is left when nothing but the kernel's work is done.
 *
 *   floor_output write BYTES STEP               once stdin is at its end, BYTES to stdout, STEP a write, each a line
 *   floor_output read BYTES                     stdin to its end; fails unless at least BYTES came
 *   floor_output floor DIRECTORY SIZE N FD...   stdin -> frames -> N segments of SIZE in DIRECTORY -> each FD by sendfile
 *
 * `floor` blocks wherever it can: no event loop, one reader after the other, no index, no error it survives.
 */
#define _GNU_SOURCE
#include "frames.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define READ_BYTES (256 * 1024)

static unsigned char buffer[1 << 20];

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int write_bytes(unsigned long long bytes, size_t step)
{
    if (step < 1 || step > sizeof buffer)
        return 2;
    while (read(0, buffer, 1) > 0) { /* a crowd of writers begins when somebody closes their common pipe */
    }
    memset(buffer, 'x', step);
    buffer[step - 1] = '\n';
    while (bytes > 0) {
        ssize_t put = write(1, buffer, bytes < step ? (size_t)bytes : step);
        if (put <= 0)
            return fail("write");
        bytes -= (unsigned long long)put;
    }
    return 0;
}

static int read_bytes(unsigned long long bytes)
{
    unsigned long long total = 0;
    ssize_t got;
    while ((got = read(0, buffer, sizeof buffer)) > 0)
        total += (unsigned long long)got;
    if (got == 0 && total >= bytes)
        return 0;
    fprintf(stderr, "floor_output: %llu of %llu bytes came\n", total, bytes);
    return 1;
}

static int start_segment(int dirfd, unsigned number)
{
    char name[32];
    snprintf(name, sizeof name, "%u.log", number);
    return openat(dirfd, name, O_RDWR | O_CREAT | O_TRUNC, 0600);
}

static int send_all(int target, int fd, off_t from, off_t end)
{
    while (from < end)
        if (sendfile(target, fd, &from, (size_t)(end - from)) <= 0)
            return -1;
    return 0;
}

static int move(const char *directory, off_t segment_bytes, unsigned segments, char *const *targets)
{
    int dirfd = open(directory, O_RDONLY | O_DIRECTORY), fd = start_segment(dirfd, 0);
    off_t end = 0;
    ssize_t got;
    if (fd < 0)
        return fail(directory);
    fcntl(0, F_SETPIPE_SZ, 1 << 20);
    for (unsigned number = 0; (got = read(0, buffer + PYRT_FRAME_HEADER, READ_BYTES)) > 0;) {
        size_t size = PYRT_FRAME_HEADER + (size_t)got;
        pyrt_frame_encode(buffer, PYRT_STDOUT, (size_t)got);
        if (end + (off_t)size > segment_bytes) {
            char name[32];
            close(fd);
            fd = start_segment(dirfd, ++number);
            snprintf(name, sizeof name, "%u.log", number - segments);
            if (number >= segments)
                unlinkat(dirfd, name, 0);
            end = 0;
        }
        if (pwrite(fd, buffer, size, end) != (ssize_t)size)
            return fail("pwrite");
        for (char *const *target = targets; *target; target++)
            if (send_all(atoi(*target), fd, end, end + (off_t)size) < 0)
                return fail("sendfile");
        end += (off_t)size;
    }
    return got == 0 ? 0 : fail("read");
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "write") == 0)
        return write_bytes(strtoull(argv[2], NULL, 10), strtoul(argv[3], NULL, 10));
    if (argc == 3 && strcmp(argv[1], "read") == 0)
        return read_bytes(strtoull(argv[2], NULL, 10));
    if (argc >= 6 && strcmp(argv[1], "floor") == 0)
        return move(argv[2], (off_t)strtoll(argv[3], NULL, 10), (unsigned)strtoul(argv[4], NULL, 10), argv + 5);
    fprintf(stderr, "usage: floor_output write BYTES STEP | read BYTES | floor DIRECTORY SIZE N FD...\n");
    return 2;
}
