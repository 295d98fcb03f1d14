/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor for a conversation in frames, on the socket that is stdin.
 *
 *   floor_frames echo            sends every frame back, until the end
 *   floor_frames ping N SIZE     sends N frames, each when the one before has come back; prints the seconds it took
 */
#include "frames.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static unsigned char buffer[PYRT_FRAME_HEADER + PYRT_FRAME_MAX], message[PYRT_FRAME_HEADER + PYRT_FRAME_MAX];

static int send_all(const unsigned char *data, size_t size)
{
    while (size > 0) {
        ssize_t put = write(0, data, size);
        if (put <= 0)
            return -1;
        data += put;
        size -= (size_t)put;
    }
    return 0;
}

/* 1 and a frame, 0 at the end of the stream, -1. */
static int receive(struct pyrt_parser *parser, struct pyrt_frame *frame)
{
    int ret;
    while ((ret = pyrt_parser_next(parser, frame)) == 0) {
        unsigned char *space;
        size_t room = pyrt_parser_space(parser, &space);
        ssize_t got = read(0, space, room);
        if (got <= 0)
            return (int)got;
        pyrt_parser_filled(parser, (size_t)got);
    }
    return ret;
}

static int echo(struct pyrt_parser *parser)
{
    struct pyrt_frame frame;
    int ret;
    while ((ret = receive(parser, &frame)) > 0)
        if (send_all(frame.payload - PYRT_FRAME_HEADER, PYRT_FRAME_HEADER + frame.length) < 0)
            return 1;
    return ret < 0;
}

static int ping(struct pyrt_parser *parser, unsigned long count, size_t size)
{
    struct timespec begin, end;
    struct pyrt_frame frame;
    if (pyrt_frame_encode(message, PYRT_STDOUT, size) < 0)
        return 2;
    memset(message + PYRT_FRAME_HEADER, 'x', size);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (; count > 0; count--)
        if (send_all(message, PYRT_FRAME_HEADER + size) < 0 || receive(parser, &frame) != 1 || frame.length != size)
            return 1;
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.9f\n", (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
    return 0;
}

int main(int argc, char **argv)
{
    struct pyrt_parser parser;
    pyrt_parser_init(&parser, buffer, sizeof buffer, PYRT_FRAME_MAX);
    if (argc == 2 && strcmp(argv[1], "echo") == 0)
        return echo(&parser);
    if (argc == 4 && strcmp(argv[1], "ping") == 0)
        return ping(&parser, strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10));
    fprintf(stderr, "usage: floor_frames echo | ping N SIZE\n");
    return 2;
}
