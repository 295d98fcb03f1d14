/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the broadcaster under a sanitizer: broadcast_check DIRECTORY [ROUNDS]. Two busy streams, a guaranteed reader that
 * checks every byte, readers that stall, leave, pick and come late, notices and status calls, all from several threads.
 */
#define _GNU_SOURCE
#include "broadcast.h"
#include "frames.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define STREAM_BYTES (3u << 20)
#define VISITS 60

static void require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "broadcast_check: %s\n", what);
    abort();
}

static unsigned char expected(unsigned type, size_t at)
{
    return (unsigned char)(at * 31 + at / 257 + type * 101);
}

struct writing {
    int fd;
    unsigned type;
    size_t step;
};

static void *write_stream(void *argument)
{
    const struct writing *writing = argument;
    unsigned char block[65536];
    for (size_t at = 0; at < STREAM_BYTES;) {
        size_t size = writing->step < STREAM_BYTES - at ? writing->step : STREAM_BYTES - at;
        for (size_t i = 0; i < size; i++)
            block[i] = expected(writing->type, at + i);
        for (size_t done = 0; done < size;) {
            ssize_t put = write(writing->fd, block + done, size - done);
            require(put > 0, "write");
            done += (size_t)put;
        }
        at += size;
    }
    close(writing->fd);
    return NULL;
}

/* Reads to the end: every stream byte in its place, the trailer last. */
static void *read_all(void *argument)
{
    int fd = *(int *)argument;
    size_t at[4] = {0};
    unsigned char *buffer = malloc(PYRT_FRAME_HEADER + PYRT_FRAME_MAX), *space;
    struct pyrt_parser parser;
    struct pyrt_frame frame = {0};
    pyrt_parser_init(&parser, buffer, PYRT_FRAME_HEADER + PYRT_FRAME_MAX, PYRT_FRAME_MAX);
    for (;;) {
        size_t room = pyrt_parser_space(&parser, &space);
        ssize_t got = read(fd, space, room);
        if (got <= 0)
            break;
        pyrt_parser_filled(&parser, (size_t)got);
        int ret;
        while ((ret = pyrt_parser_next(&parser, &frame)) > 0) {
            if (frame.type != PYRT_STDOUT && frame.type != PYRT_STDERR)
                continue;
            for (size_t i = 0; i < frame.length; i++)
                require(frame.payload[i] == expected(frame.type, at[frame.type] + i), "a wrong byte");
            at[frame.type] += frame.length;
        }
        require(ret == 0, "no frame");
    }
    require(parser.begin == parser.end, "cut off inside a frame");
    require(frame.type == PYRT_EXIT, "no trailer");
    require(at[PYRT_STDOUT] == STREAM_BYTES && at[PYRT_STDERR] == STREAM_BYTES, "bytes missing");
    free(buffer);
    close(fd);
    return NULL;
}

static int open_reader(struct pyrt_channel *channel, struct pyrt_reader_options options, int64_t *id)
{
    int pair[2];
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
    *id = pyrt_channel_add_reader(channel, pair[0], &options);
    require(*id > 0, "add_reader");
    close(pair[0]);
    return pair[1];
}

static void *visit(void *argument)
{
    struct pyrt_channel *channel = argument;
    for (unsigned turn = 0; turn < VISITS; turn++) {
        unsigned char some[5000];
        int64_t id;
        int fd = open_reader(channel, (struct pyrt_reader_options){
            .offset = turn % 2 ? PYRT_FROM_START : PYRT_FROM_END,
            .streams = turn % 3 ? 0 : 1u << PYRT_STDERR,
            .raw = turn % 5 == 0,
            .follow = turn % 7 != 0,
        }, &id);
        for (unsigned i = 0; i < turn % 4; i++)
            require(recv(fd, some, sizeof some, MSG_DONTWAIT) != 0 || turn % 7 == 0, "an early end");
        if (turn % 2)
            close(fd);
        if (turn % 3 == 0)
            pyrt_channel_end_reader(channel, id, "last", 4);
        pyrt_channel_remove_reader(channel, id);
        if (turn % 2 == 0)
            close(fd);
        struct pyrt_channel_status status;
        require(pyrt_channel_notice(channel, "here\n", 5) == 0, "notice");
        require(pyrt_channel_status(channel, &status) == 0 && status.start <= status.end, "status");
    }
    return NULL;
}

static void wait_for(struct pyrt_broadcaster *broadcaster, enum pyrt_event_kind kind, int64_t detail)
{
    for (;;) {
        struct pyrt_event events[8];
        struct pollfd waiting = {.fd = pyrt_broadcaster_event_fd(broadcaster), .events = POLLIN};
        require(poll(&waiting, 1, 60000) == 1, "an event did not come");
        size_t count = pyrt_broadcaster_events(broadcaster, events, 8);
        for (size_t i = 0; i < count; i++)
            if (events[i].kind == kind && events[i].detail == detail)
                return;
    }
}

static void round_of(struct pyrt_broadcaster *broadcaster, int dirfd)
{
    struct pyrt_channel *channel;
    require(pyrt_channel_open(broadcaster, dirfd, 256 * 1024, 3, &channel) == 0, "open");
    struct writing writing[2] = {{.type = PYRT_STDOUT, .step = 65536}, {.type = PYRT_STDERR, .step = 997}};
    pthread_t writers[2], visitors[2], reader;
    int64_t id, stuck_id;
    int fd = open_reader(channel, (struct pyrt_reader_options){.offset = PYRT_FROM_END, .guaranteed = true, .follow = true}, &id);
    int stuck = open_reader(channel, (struct pyrt_reader_options){.offset = PYRT_FROM_END, .follow = true}, &stuck_id);

    for (int i = 0; i < 2; i++) {
        int pipe_fds[2];
        require(pipe2(pipe_fds, O_CLOEXEC) == 0, "pipe");
        require(pyrt_channel_add_stream(channel, pipe_fds[0], writing[i].type) == 0, "add_stream");
        writing[i].fd = pipe_fds[1];
        pthread_create(&writers[i], NULL, write_stream, &writing[i]);
        pthread_create(&visitors[i], NULL, visit, channel);
    }
    pthread_create(&reader, NULL, read_all, &fd);
    for (int i = 0; i < 2; i++) {
        pthread_join(visitors[i], NULL);
        pthread_join(writers[i], NULL);
    }
    wait_for(broadcaster, PYRT_DRAINED, 0);
    unsigned char trailer[PYRT_FRAME_HEADER + 4] = {0};
    pyrt_frame_encode(trailer, PYRT_EXIT, 4);
    require(pyrt_channel_finish(channel, trailer, sizeof trailer) == 0, "finish");
    pthread_join(reader, NULL);
    wait_for(broadcaster, PYRT_READER_DONE, id);
    close(stuck);
    pyrt_channel_free(channel);
}

int main(int argc, char **argv)
{
    require(argc > 1, "which directory?");
    int rounds = argc > 2 ? atoi(argv[2]) : 2;
    int dirfd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    require(dirfd >= 0, "the directory");
    struct pyrt_broadcaster *broadcaster;
    require(pyrt_broadcaster_start(&broadcaster) == 0, "start");
    for (int i = 0; i < rounds; i++)
        round_of(broadcaster, dirfd); /* each continues the log of the one before */
    pyrt_broadcaster_stop(broadcaster);
    pyrt_broadcaster_free(broadcaster);
    close(dirfd);
    return 0;
}
