/* SPDX-License-Identifier: Apache-2.0 */
/* How readers come to a channel, and are sent away: which descriptors serve, where in the log they start and end. */
#define _GNU_SOURCE
#include "broadcast_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Duplicates the descriptor. A pipe is opened anew where that works: then its O_NONBLOCK is ours alone. */
static int take_descriptor(int fd)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (S_ISFIFO(status.st_mode)) {
        char path[32];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        int own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        if (own >= 0)
            return own;
    } else if (S_ISSOCK(status.st_mode)) {
        int type = 0;
        socklen_t size = sizeof type;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
            return -errno;
        if (type != SOCK_STREAM)
            return -EPROTOTYPE;
    } else {
        return -ENOTSOCK;
    }
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3), flags = fcntl(fd, F_GETFL);
    if (own < 0 || flags < 0 || fcntl(own, F_SETFL, flags | O_NONBLOCK) < 0) {
        int ret = -errno;
        if (own >= 0)
            close(own);
        return ret;
    }
    return own;
}

/* Places a new reader; -EINVAL when the offset is not a frame boundary of the log. */
static int place_reader(struct reader *reader, uint64_t offset)
{
    struct pyrt_log *log = &reader->channel->log;
    uint64_t start = pyrt_log_start(log);
    if (offset == PYRT_FROM_START)
        offset = start;
    else if (offset == PYRT_FROM_END)
        offset = log->end;
    if (offset > log->end)
        return -EINVAL;
    if (offset < start) { /* what is gone cannot be counted without its headers: this is a little too much */
        reader->missed = start - offset;
        offset = start;
    }
    reader->position = offset;
    if (log->view)
        return 0; /* what is there is looked at before it is sent */
    struct pyrt_segment *segment = pyrt_log_find(log, offset);
    uint64_t boundary = offset;
    int ret = segment ? pyrt_log_boundary(log, segment, offset, &boundary) : 0;
    return ret < 0 ? ret : boundary == offset ? 0 : -EINVAL;
}

static int copy_last(struct reader *reader, const struct pyrt_reader_options *options)
{
    if (!options->last_size)
        return 0;
    reader->last = malloc(options->last_size);
    if (!reader->last)
        return -ENOMEM;
    memcpy(reader->last, options->last, options->last_size);
    reader->last_size = options->last_size;
    return 0;
}

/* What makes a reader get something else than the log's bytes as they are. */
static int choose_bytes(struct reader *reader, const struct pyrt_reader_options *options)
{
    const unsigned output = 1u << PYRT_STDOUT | 1u << PYRT_STDERR;
    unsigned streams = options->streams ? options->streams & output : output;
    for (unsigned type = 0; type < 4; type++) {
        reader->starts[type] = options->starts[type];
        if (reader->cut_until < options->starts[type])
            reader->cut_until = options->starts[type];
    }
    reader->raw = options->raw;
    reader->streams = options->raw ? streams : streams | 1u << PYRT_NOTICE;
    reader->picks_always = options->raw || streams != output || options->style != PYRT_STYLE_PLAIN;
    reader->picks = reader->picks_always || reader->cut_until > 0;
    if (options->style == PYRT_STYLE_PLAIN)
        return 0;
    reader->formatting = calloc(1, sizeof *reader->formatting);
    if (!reader->formatting)
        return -ENOMEM;
    pyrt_formatter_init(&reader->formatting->formatter, (enum pyrt_style)options->style, !options->raw);
    return 0;
}

int64_t pyrt_channel_add_reader(struct pyrt_channel *channel, int fd, const struct pyrt_reader_options *options)
{
    struct pyrt_broadcaster *broadcaster = channel->broadcaster;
    struct reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return -ENOMEM;
    *reader = (struct reader){
        .watched.kind = WATCHED_READER,
        .channel = channel,
        .fd = take_descriptor(fd),
        .guaranteed = options->guaranteed,
        .armed = true,
        .event = {.channel = channel, .bury = &reader->watched},
    };
    int ret = reader->fd < 0 ? reader->fd : copy_last(reader, options);
    if (ret == 0)
        ret = choose_bytes(reader, options);
    if (ret < 0) {
        if (reader->fd >= 0)
            close(reader->fd);
        free(reader->last);
        free(reader);
        return ret;
    }
    pyrt_enter(broadcaster);
    ret = channel->closed ? -EBADF : place_reader(reader, options->offset);
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = &reader->watched};
    if (ret == 0 && epoll_ctl(broadcaster->epoll_fd, EPOLL_CTL_ADD, reader->fd, &event) < 0)
        ret = -errno;
    if (ret == 0) {
        reader->id = broadcaster->next_reader++;
        reader->until = options->follow ? UINT64_MAX : channel->log.end;
        if (options->bounded && reader->until > options->until)
            reader->until = options->until;
        reader->next = channel->readers;
        channel->readers = reader;
    }
    int64_t id = reader->id; /* read under the lock: afterwards it may have left already */
    pyrt_leave(broadcaster);
    if (ret < 0) {
        close(reader->fd);
        free(reader->last);
        free(reader->formatting);
        free(reader);
        return ret;
    }
    return id;
}

static struct reader *find_reader(const struct pyrt_channel *channel, int64_t id)
{
    struct reader *reader = channel->readers;
    while (reader && reader->id != id)
        reader = reader->next;
    return reader;
}

int pyrt_channel_remove_reader(struct pyrt_channel *channel, int64_t id)
{
    pyrt_enter(channel->broadcaster);
    struct reader *reader = find_reader(channel, id);
    int ret = channel->closed ? -EBADF : reader ? 0 : -ENOENT;
    if (ret == 0) {
        pyrt_reader_leave(reader);
        pyrt_bury(channel->broadcaster, &reader->watched);
    }
    pyrt_leave(channel->broadcaster);
    return ret;
}

/* Where the frame ends that the reader is in the middle of. */
static int end_of_frame(struct reader *reader, uint64_t *end)
{
    struct pyrt_log *log = &reader->channel->log;
    struct pyrt_segment *segment = pyrt_log_find(log, reader->position);
    *end = reader->position + reader->frame_left;
    return reader->picks || !segment ? 0 : pyrt_log_boundary(log, segment, reader->position, end);
}

int pyrt_channel_end_reader(struct pyrt_channel *channel, int64_t id, const void *last, size_t size)
{
    unsigned char *copy = size > 0 ? malloc(size) : NULL;
    if (size > 0 && !copy)
        return -ENOMEM;
    if (size > 0)
        memcpy(copy, last, size);
    pyrt_enter(channel->broadcaster);
    struct reader *reader = find_reader(channel, id);
    int ret = channel->closed ? -EBADF : !reader ? -ENOENT : reader->ending || reader->leaving ? -EALREADY : 0;
    uint64_t end;
    if (ret == 0)
        ret = end_of_frame(reader, &end);
    if (ret == 0) {
        reader->leaving = true;
        reader->until = end;
        unsigned char *previous = reader->last;
        reader->last = copy;
        reader->last_size = size;
        copy = previous;
        pyrt_reader_arm(reader, true);
        if (reader->guaranteed) { /* nobody waits for it any more */
            reader->guaranteed = false;
            pyrt_resume_streams(channel);
        }
    }
    pyrt_leave(channel->broadcaster);
    free(copy);
    return ret;
}

int pyrt_channel_settle_reader(struct pyrt_channel *channel, int64_t id)
{
    pyrt_enter(channel->broadcaster);
    struct reader *reader = find_reader(channel, id);
    int ret = channel->closed ? -EBADF : reader ? 0 : -ENOENT;
    if (ret == 0 && reader->until > channel->log.end) {
        reader->until = channel->log.end;
        pyrt_reader_arm(reader, true);
    }
    pyrt_leave(channel->broadcaster);
    return ret;
}

int pyrt_channel_tell_reader(struct pyrt_channel *channel, int64_t id, const void *data, size_t size)
{
    if (size > PYRT_TELL_BYTES)
        return -EMSGSIZE;
    pyrt_enter(channel->broadcaster);
    struct reader *reader = find_reader(channel, id);
    int ret = channel->closed ? -EBADF : !reader ? -ENOENT : 0;
    if (ret == 0 && (reader->ending || reader->leaving || reader->raw))
        ret = -EALREADY;
    if (ret == 0 && reader->tell_size == 0) /* else it is on its way to a boundary already */
        ret = end_of_frame(reader, &reader->tell_at);
    if (ret == 0) {
        memcpy(reader->tell, data, size);
        reader->tell_size = size;
        pyrt_reader_arm(reader, true);
    }
    pyrt_leave(channel->broadcaster);
    return ret;
}
