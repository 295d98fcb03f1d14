/* SPDX-License-Identifier: Apache-2.0 */
/* The input side of a channel: read its pipes, append frames to its log, wait for nobody but guaranteed readers. */
#define _GNU_SOURCE
#include "broadcast_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BUSY_READ_BYTES 65536    /* a default pipe's whole content */
#define BUSY_PIPE_BYTES (1 << 20)

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now); /* a tick, 1-4 ms, is what the index resolves anyway */
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool guaranteed_reader_behind(const struct pyrt_channel *channel)
{
    const struct pyrt_segment *oldest = channel->log.oldest;
    if (!oldest)
        return false;
    for (const struct reader *reader = channel->readers; reader; reader = reader->next)
        if (reader->guaranteed && reader->position < oldest->base + oldest->size)
            return true;
    return false;
}

/* Makes room in the newest segment, dropping the oldest as it must. */
static int roll(struct pyrt_channel *channel)
{
    while (pyrt_log_is_full(&channel->log)) {
        struct pyrt_segment *oldest = channel->log.oldest;
        for (struct reader *reader = channel->readers, *next; reader; reader = next) {
            next = reader->next;
            if (reader->segment == oldest || reader->position < oldest->base + oldest->size)
                pyrt_reader_overtaken(reader, oldest);
        }
        pyrt_log_drop_oldest(&channel->log);
    }
    return pyrt_log_start_segment(&channel->log);
}

size_t pyrt_lost_notice(const struct pyrt_channel *channel, unsigned char notice[PYRT_NOTICE_BYTES])
{
    if (channel->untold_bytes == 0)
        return 0;
    char reason[64], *text = (char *)notice + PYRT_FRAME_HEADER;
    int chars = snprintf(text, PYRT_NOTICE_BYTES - PYRT_FRAME_HEADER,
                         "pyrt: %llu bytes of output are lost here: the log could not be written (%s)\n",
                         (unsigned long long)channel->untold_bytes, strerror_r(channel->error, reason, sizeof reason));
    pyrt_frame_encode(notice, PYRT_NOTICE, (size_t)chars);
    return PYRT_FRAME_HEADER + (size_t)chars;
}

/*
 * Appends one frame, whose payload stands in the broadcaster's buffer. After a failure, a notice of what was lost goes
 * with the first append that works, in one write with it. A failure is counted and told by an event; it is never a
 * reason to stop reading.
 */
static int append(struct pyrt_channel *channel, unsigned type, size_t length)
{
    struct pyrt_log *log = &channel->log;
    unsigned char *frame = channel->broadcaster->buffer + PYRT_NOTICE_BYTES, notice[PYRT_NOTICE_BYTES];
    pyrt_frame_encode(frame, type, length);
    size_t lead = pyrt_lost_notice(channel, notice), size = lead + PYRT_FRAME_HEADER + length;
    memcpy(frame - lead, notice, lead);
    uint64_t payload = type == PYRT_NOTICE ? 0 : length;

    int ret = 0;
    bool fits = log->newest && log->newest->size + size <= log->max_size_bytes;
    /* Only what cannot wait (a notice, the end of a given-up pipe) comes here while a guaranteed reader is behind. */
    if (!fits && !(log->newest && pyrt_log_is_full(log) && guaranteed_reader_behind(channel)))
        ret = roll(channel);
    if (ret == 0)
        ret = pyrt_log_append(log, frame - lead, size, payload, now_ns());
    if (ret == 0) {
        channel->error = 0;
        channel->untold_bytes = 0;
        return 0;
    }
    channel->lost_bytes += payload;
    channel->untold_bytes += payload;
    if (channel->error == 0)
        pyrt_queue_event(&channel->failed, -ret);
    channel->error = -ret;
    return ret;
}

static int watch_stream(struct stream *stream)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &stream->watched};
    int epoll_fd = stream->channel->broadcaster->epoll_fd;
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, stream->fd, &event) < 0 ? -errno : 0;
}

static void unwatch_stream(struct stream *stream)
{
    epoll_ctl(stream->channel->broadcaster->epoll_fd, EPOLL_CTL_DEL, stream->fd, NULL);
}

/* Takes the streams out of epoll altogether: with an empty interest it would still report each hang-up, for ever. */
static void pause_streams(struct pyrt_channel *channel)
{
    channel->paused = true;
    for (struct stream *stream = channel->streams; stream; stream = stream->next)
        unwatch_stream(stream);
}

void pyrt_resume_streams(struct pyrt_channel *channel)
{
    if (!channel->paused || guaranteed_reader_behind(channel))
        return;
    channel->paused = false;
    for (struct stream *stream = channel->streams, *next; stream; stream = next) {
        next = stream->next;
        if (watch_stream(stream) < 0)
            pyrt_close_stream(stream); /* out of memory: better a lost stream than a container waiting for ever */
    }
}

/* One read and one append. Returns the bytes read, 0 at the end of the stream, -EAGAIN when nothing is there. */
static ssize_t pump(struct stream *stream, bool must)
{
    struct pyrt_channel *channel = stream->channel;
    size_t room = pyrt_log_room(&channel->log);
    if (room == 0) {
        if (!must && pyrt_log_is_full(&channel->log) && guaranteed_reader_behind(channel)) {
            pause_streams(channel);
            return -EAGAIN;
        }
        room = pyrt_log_largest_payload(&channel->log);
    }
    unsigned char *payload = channel->broadcaster->buffer + PYRT_NOTICE_BYTES + PYRT_FRAME_HEADER;
    ssize_t got = read(stream->fd, payload, room < PYRT_READ_BYTES ? room : PYRT_READ_BYTES);
    if (got < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    if (got == 0)
        return 0;
    append(channel, stream->type, (size_t)got);
    channel->broadcaster->flood.turn_bytes += (uint64_t)got;
    if (got >= BUSY_READ_BYTES && !stream->enlarged) {
        stream->enlarged = true; /* only now: 1,000 quiet containers should not hold 1,000 large pipes */
        fcntl(stream->fd, F_SETPIPE_SZ, BUSY_PIPE_BYTES);
    }
    return got;
}

void pyrt_close_stream(struct stream *stream)
{
    struct pyrt_channel *channel = stream->channel;
    struct stream **place = &channel->streams;
    while (*place != stream)
        place = &(*place)->next;
    *place = stream->next;
    if (!channel->paused)
        unwatch_stream(stream);
    close(stream->fd);
    stream->watched.dead = true;
    pyrt_bury(channel->broadcaster, &stream->watched);
    if (!channel->streams && !channel->closed) {
        channel->paused = false;
        pyrt_queue_event(&channel->drained, 0);
    }
}

void pyrt_stream_ready(struct stream *stream)
{
    if (stream->channel->paused)
        return;
    ssize_t got = pump(stream, false);
    if (got == -EAGAIN)
        return;
    pyrt_mark_dirty(stream->channel);
    if (got <= 0) /* EIO is how a pty says that its last user has gone */
        pyrt_close_stream(stream);
}

int pyrt_channel_add_stream(struct pyrt_channel *channel, int fd, unsigned type)
{
    if (type != PYRT_STDOUT && type != PYRT_STDERR)
        return -EINVAL;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    struct stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return -ENOMEM;
    *stream = (struct stream){.watched.kind = WATCHED_STREAM, .channel = channel, .fd = fd, .type = type};

    pyrt_enter(channel->broadcaster);
    int ret = channel->closed ? -EBADF : channel->finished ? -ESHUTDOWN : 0;
    if (ret == 0 && !channel->paused)
        ret = watch_stream(stream);
    if (ret == 0) {
        stream->next = channel->streams;
        channel->streams = stream;
    }
    pyrt_leave(channel->broadcaster);
    if (ret < 0)
        free(stream);
    return ret;
}

static void wake_readers(struct pyrt_channel *channel)
{
    /* Everything is sent by the thread: it finds them writable. */
    for (struct reader *reader = channel->readers; reader; reader = reader->next)
        pyrt_reader_arm(reader, true);
}

int pyrt_channel_close_streams(struct pyrt_channel *channel)
{
    pyrt_enter(channel->broadcaster);
    int ret = channel->closed ? -EBADF : 0;
    while (ret == 0 && channel->streams) {
        struct stream *stream = channel->streams;
        /* What lies there now was written in time; what a grandchild goes on writing was not. */
        size_t taken = 0;
        for (ssize_t got; taken < BUSY_PIPE_BYTES && (got = pump(stream, true)) > 0;)
            taken += (size_t)got;
        pyrt_close_stream(stream);
    }
    if (ret == 0)
        wake_readers(channel);
    pyrt_leave(channel->broadcaster);
    return ret;
}

int pyrt_channel_notice(struct pyrt_channel *channel, const char *text, size_t size)
{
    pyrt_enter(channel->broadcaster);
    int ret = channel->closed ? -EBADF : 0;
    if (ret == 0 && size > pyrt_log_largest_payload(&channel->log))
        ret = -EMSGSIZE;
    if (ret == 0) {
        if (size > 0)
            memcpy(channel->broadcaster->buffer + PYRT_NOTICE_BYTES + PYRT_FRAME_HEADER, text, size);
        ret = append(channel, PYRT_NOTICE, size);
        wake_readers(channel);
    }
    pyrt_leave(channel->broadcaster);
    return ret;
}

int pyrt_channel_finish(struct pyrt_channel *channel, const void *trailer, size_t size)
{
    unsigned char *copy = malloc(size ? size : 1);
    if (!copy)
        return -ENOMEM;
    if (size > 0)
        memcpy(copy, trailer, size);
    pyrt_enter(channel->broadcaster);
    int ret = channel->closed ? -EBADF : channel->finished ? -EALREADY : 0;
    if (ret == 0) {
        channel->finished = true;
        channel->trailer = copy;
        channel->trailer_size = size;
        copy = NULL;
        wake_readers(channel);
    }
    pyrt_leave(channel->broadcaster);
    free(copy);
    return ret;
}
