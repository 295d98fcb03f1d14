/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stdout and stderr, and the pipe to a child that unpacks. Until streaming begins a write may block: there is nothing else to do. From then on it must not,
 * because stdin and signals have to go on while the reader of our output sleeps. O_NONBLOCK belongs to the open file,
 * which we share with the shell and its other programs, so it is never set on what we were given: a pipe or terminal
 * is opened anew through /proc, a socket is asked per call, and where neither works we write no more than a pipe that
 * poll(2) calls writable is sure to take.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"

enum { WAITS, NEVER_BLOCKS, SOCKET, CAREFUL };

#define PIPE_BYTES (1 << 20)

void sink_init(struct sink *sink, int stdio)
{
    *sink = (struct sink){.fd = stdio, .kind = WAITS, .stdio = stdio};
}

/* A pipe that is in nobody else's hands, and has been made not to block. */
void sink_pipe(struct sink *sink, int fd)
{
    *sink = (struct sink){.fd = fd, .kind = NEVER_BLOCKS};
}

void sink_unblock(struct sink *sink)
{
    struct stat status;
    char path[32];
    sink->kind = CAREFUL;
    if (fstat(sink->fd, &status) < 0 || S_ISREG(status.st_mode)) {
        sink->kind = NEVER_BLOCKS;
    } else if (S_ISSOCK(status.st_mode)) {
        sink->kind = SOCKET;
    } else if (S_ISFIFO(status.st_mode) || isatty(sink->fd)) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", sink->fd);
        int fd = above_stdio(open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
        if (fd >= 0) {
            sink->fd = fd;
            sink->kind = NEVER_BLOCKS;
        }
        if (S_ISFIFO(status.st_mode)) /* fewer, larger turns; refused to users over their limit, which is fine */
            fcntl(sink->fd, F_SETPIPE_SZ, PIPE_BYTES);
    } else {
        sink->kind = NEVER_BLOCKS;
    }
}

static ssize_t write_some(const struct sink *sink, const void *data, size_t length)
{
    struct pollfd ready = {.fd = sink->fd, .events = POLLOUT};
    switch (sink->kind) {
    case SOCKET:
        return send(sink->fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    case CAREFUL:
        if (poll(&ready, 1, 0) == 0) {
            errno = EAGAIN;
            return -1;
        }
        return write(sink->fd, data, length < PIPE_BUF ? length : PIPE_BUF);
    default:
        return write(sink->fd, data, length);
    }
}

/*
 * Bytes written: all of them, or fewer once streaming and the reader is behind; SINK_BROKEN when nobody reads any more.
 * Does not return from any other error.
 */
size_t sink_write(struct sink *sink, const void *data, size_t length)
{
    size_t done = 0;
    while (done < length) {
        ssize_t count = write_some(sink, (const char *)data + done, length - done);
        if (count >= 0) {
            done += (size_t)count;
        } else if (errno == EAGAIN && sink->kind == WAITS) { /* somebody else made it non-blocking */
            struct pollfd ready = {.fd = sink->fd, .events = POLLOUT};
            poll(&ready, 1, -1);
        } else if (errno == EAGAIN) {
            break;
        } else if (errno == EPIPE) {
            return SINK_BROKEN;
        } else if (errno != EINTR) {
            fail("cannot write to %s: %s", sink->stdio == 1 ? "stdout" : "stderr", strerror(errno));
        }
    }
    return done;
}
