/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor for moving a container's output: what is left when nothing but the kernel's work is done.
 *
 *   floor_output write BYTES              BYTES to stdout, 64 KiB a write
 *   floor_output read BYTES               stdin to its end; fails unless at least BYTES came
 *   floor_output floor DIRECTORY SIZE N   stdin -> frames -> N segments of SIZE in DIRECTORY -> stdout by sendfile
 *
 * `floor` blocks wherever it can: no event loop, no second reader, no index, no error it survives.
 */
#define _GNU_SOURCE
#include "frames.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define WRITE_BYTES 65536
#define READ_BYTES (256 * 1024)

static unsigned char buffer[1 << 20];

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int write_bytes(unsigned long long bytes)
{
    memset(buffer, 'x', WRITE_BYTES);
    while (bytes > 0) {
        ssize_t put = write(1, buffer, bytes < WRITE_BYTES ? (size_t)bytes : WRITE_BYTES);
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

static int move(const char *directory, off_t segment_bytes, unsigned segments)
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
        for (off_t at = end; at < end + (off_t)size;)
            if (sendfile(1, fd, &at, (size_t)(end + (off_t)size - at)) <= 0)
                return fail("sendfile");
        end += (off_t)size;
    }
    return got == 0 ? 0 : fail("read");
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "write") == 0)
        return write_bytes(strtoull(argv[2], NULL, 10));
    if (argc == 3 && strcmp(argv[1], "read") == 0)
        return read_bytes(strtoull(argv[2], NULL, 10));
    if (argc == 5 && strcmp(argv[1], "floor") == 0)
        return move(argv[2], (off_t)strtoll(argv[3], NULL, 10), (unsigned)strtoul(argv[4], NULL, 10));
    fprintf(stderr, "usage: floor_output write BYTES | read BYTES | floor DIRECTORY SIZE N\n");
    return 2;
}
