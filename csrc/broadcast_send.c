/* SPDX-License-Identifier: Apache-2.0 */
/* The output side of a channel: each reader is sent the log from its own offset, as fast as it takes it, till it leaves. */
#define _GNU_SOURCE
#include "broadcast_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#define TURN_BYTES ((size_t)1 << 20)  /* to one reader, before the others have theirs */
#define FORMATTED_TURN_BYTES ((size_t)128 * 1024) /* lines are made by this thread, which has others to serve */
#define SENDFILE_BYTES 16384          /* a payload this large is not worth copying through memory */
#define BLOCK_BYTES ((size_t)65536)
#define PIECES 64

void pyrt_reader_arm(struct reader *reader, bool arm)
{
    if (reader->armed == arm)
        return;
    struct epoll_event event = {.events = arm ? EPOLLOUT : 0, .data.ptr = &reader->watched};
    epoll_ctl(reader->channel->broadcaster->epoll_fd, EPOLL_CTL_MOD, reader->fd, &event);
    reader->armed = arm;
}

static void release_segment(struct reader *reader)
{
    if (reader->segment)
        pyrt_log_release(&reader->channel->log, reader->segment);
    reader->segment = NULL;
}

static void drop_aside(struct reader *reader)
{
    free(reader->aside);
    reader->aside = NULL;
    reader->aside_size = reader->aside_sent = 0;
}

void pyrt_reader_leave(struct reader *reader)
{
    struct pyrt_channel *channel = reader->channel;
    struct reader **place = &channel->readers;
    while (*place != reader)
        place = &(*place)->next;
    *place = reader->next;
    release_segment(reader);
    drop_aside(reader);
    free(reader->last);
    reader->last = NULL;
    if (reader->formatting)
        pyrt_formatter_free(&reader->formatting->formatter);
    free(reader->formatting);
    reader->formatting = NULL;
    /* Explicitly: the caller's descriptor of the same file keeps an entry alive that only close() would not end. */
    epoll_ctl(channel->broadcaster->epoll_fd, EPOLL_CTL_DEL, reader->fd, NULL);
    close(reader->fd);
    reader->fd = -1;
    reader->watched.dead = true;
    if (reader->guaranteed && !channel->closed)
        pyrt_resume_streams(channel);
}

static void leave_with(struct reader *reader, enum pyrt_event_kind kind)
{
    pyrt_reader_leave(reader);
    reader->event.kind = kind;
    pyrt_queue_event(&reader->event, reader->id);
}

unsigned char *pyrt_put_aside(struct reader *reader, size_t size)
{
    unsigned char *aside = realloc(reader->aside, reader->aside_size + size);
    if (!aside)
        return NULL;
    reader->aside = aside;
    reader->aside_size += size;
    return aside + reader->aside_size - size;
}

/*
 * The oldest segment goes, and the reader had not finished with it. The frame it is in the middle of is kept in memory
 * (at most PYRT_READ_BYTES), the rest is counted, and the reader stands at the start of the next segment. Of a frame
 * that is shown line by line the rest is counted too.
 */
void pyrt_reader_overtaken(struct reader *reader, struct pyrt_segment *segment)
{
    struct pyrt_log *log = &reader->channel->log;
    uint64_t end = segment->base + segment->size, boundary = reader->position, missed = 0;
    int ret = 0;
    if (reader->position < end) {
        if (reader->picks)
            boundary = reader->position + reader->frame_left;
        else
            ret = pyrt_log_boundary(log, segment, reader->position, &boundary);
        if (ret == 0)
            ret = pyrt_log_payload(log, segment, boundary, &missed);
    }
    size_t rest = (size_t)(boundary - reader->position);
    if (reader->formatting && reader->frame_wanted)
        missed += rest;
    else if (ret == 0 && rest > 0 && !reader->raw && (!reader->picks || reader->frame_wanted)) {
        unsigned char *aside = pyrt_put_aside(reader, rest);
        ret = aside ? pyrt_log_acquire(log, segment) : -ENOMEM;
        if (ret == 0) {
            if (pread(segment->fd, aside, rest, (off_t)(reader->position - segment->base)) != (ssize_t)rest)
                ret = -EIO;
            pyrt_log_release(log, segment);
        }
    }
    release_segment(reader);
    reader->position = end;
    reader->frame_left = 0;
    reader->missed += missed;
    if (ret < 0)
        leave_with(reader, PYRT_READER_GONE);
}

/* Each step below returns the bytes it sent, 0 when the reader has left, -EAGAIN, or why it must leave. */

static ssize_t send_aside(struct reader *reader)
{
    ssize_t sent = write(reader->fd, reader->aside + reader->aside_sent, reader->aside_size - reader->aside_sent);
    if (sent < 0)
        return -errno;
    reader->aside_sent += (size_t)sent;
    if (reader->aside_sent == reader->aside_size)
        drop_aside(reader);
    return sent;
}

static ssize_t tell_missed(struct reader *reader)
{
    if (reader->formatting && pyrt_format_pending(&reader->formatting->formatter))
        return pyrt_send_rests(reader);
    uint64_t missed = reader->missed;
    reader->missed = 0;
    if (reader->raw || reader->leaving)
        return 0;
    char text[PYRT_NOTICE_BYTES];
    int chars = snprintf(text, sizeof text, "pyrt: %llu bytes of output were missed here: the log's size limit overtook "
                         "this reader\n", (unsigned long long)missed);
    unsigned char *aside = pyrt_put_aside(reader, PYRT_FRAME_HEADER + (size_t)chars);
    if (!aside)
        return -ENOMEM;
    pyrt_frame_encode(aside, PYRT_NOTICE, (size_t)chars);
    memcpy(aside + PYRT_FRAME_HEADER, text, (size_t)chars);
    return 0;
}

/* The last bytes: what could not be written to the log after all, and the trailer. */
static int begin_trailer(struct reader *reader)
{
    struct pyrt_channel *channel = reader->channel;
    unsigned char notice[PYRT_NOTICE_BYTES];
    size_t lead = pyrt_lost_notice(channel, notice);
    reader->ending = true;
    const unsigned char *trailer = reader->last ? reader->last : channel->trailer;
    size_t size = reader->last ? reader->last_size : channel->trailer_size;
    if (reader->raw || lead + size == 0)
        return 0;
    unsigned char *aside = pyrt_put_aside(reader, lead + size);
    if (!aside)
        return -ENOMEM;
    memcpy(aside, notice, lead);
    if (size > 0)
        memcpy(aside + lead, trailer, size);
    return 0;
}

/* The same for a reader whose end is its own. */
static void begin_last(struct reader *reader)
{
    reader->ending = true;
    reader->aside = reader->last;
    reader->aside_size = reader->last_size;
    reader->last = NULL;
}

/* What it alone is told: it stands between two frames. */
static int begin_tell(struct reader *reader)
{
    unsigned char *aside = pyrt_put_aside(reader, reader->tell_size);
    if (!aside)
        return -ENOMEM;
    memcpy(aside, reader->tell, reader->tell_size);
    reader->tell_size = 0;
    return 0;
}

/* Makes reader->segment the one that holds its position, and returns how far it may be sent. */
static int find_segment(struct reader *reader, uint64_t *end)
{
    struct pyrt_log *log = &reader->channel->log;
    if (log->view)
        return pyrt_check_view(reader, end);
    struct pyrt_segment *segment = reader->segment;
    if (!segment || reader->position >= segment->base + segment->size) {
        release_segment(reader);
        segment = pyrt_log_find(log, reader->position);
        int ret = segment ? pyrt_log_acquire(log, segment) : -EIO;
        if (ret < 0)
            return ret;
        reader->segment = segment;
    }
    *end = segment->base + segment->size;
    if (*end > reader->until)
        *end = reader->until;
    if (reader->tell_size && *end > reader->tell_at)
        *end = reader->tell_at;
    return 0;
}

static ssize_t send_file(struct reader *reader, uint64_t size)
{
    off_t offset = (off_t)(reader->position - reader->segment->base);
    ssize_t sent = sendfile(reader->fd, reader->segment->fd, &offset, size < TURN_BYTES ? (size_t)size : TURN_BYTES);
    if (sent < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    if (sent == 0)
        return -EIO; /* somebody has cut the file short */
    reader->position += (uint64_t)sent;
    return sent;
}

int pyrt_enter_frame(struct reader *reader, const unsigned char *data, size_t size, bool first)
{
    struct pyrt_frame frame;
    int ret = pyrt_frame_decode(data, size, PYRT_FRAME_MAX, &frame);
    if (ret <= 0)
        return ret < 0 ? ret : -EBADMSG;
    if (!pyrt_log_is_frame(&frame))
        return -EPROTO;
    uint64_t payload = reader->position + PYRT_FRAME_HEADER, end = payload + frame.length;
    uint64_t start = reader->starts[frame.type];
    reader->frame_type = frame.type;
    bool bare = reader->raw || reader->formatting, wanted = reader->streams & 1u << frame.type;
    reader->frame_wanted = wanted && (start <= payload || start < end);
    if (!reader->frame_wanted || start <= payload) {
        bool with_header = reader->frame_wanted && !bare;
        reader->frame_left = frame.length + (with_header ? PYRT_FRAME_HEADER : 0);
        reader->position += with_header ? 0 : PYRT_FRAME_HEADER;
        return 0;
    }
    if (!first)
        return 1;
    if (!bare) {
        unsigned char *header = pyrt_put_aside(reader, PYRT_FRAME_HEADER);
        if (!header)
            return -ENOMEM;
        pyrt_frame_encode(header, frame.type, (size_t)(end - start));
    }
    reader->position = start;
    reader->frame_left = (uint32_t)(end - start);
    return 0;
}

/*
 * Sends what the reader wants of one block of the log: the wanted pieces by one writev. After a short one the walk is
 * set back to where that ended.
 */
static ssize_t send_picked(struct reader *reader, uint64_t end)
{
    if (reader->frame_left >= SENDFILE_BYTES && reader->frame_wanted) {
        ssize_t sent = send_file(reader, reader->frame_left);
        if (sent > 0)
            reader->frame_left -= (uint32_t)sent;
        return sent;
    }
    unsigned char *block = reader->channel->broadcaster->buffer; /* no stream is being read now */
    uint64_t start = reader->position;
    size_t size = end - start < BLOCK_BYTES ? (size_t)(end - start) : BLOCK_BYTES;
    ssize_t got = pread(reader->segment->fd, block, size, (off_t)(start - reader->segment->base));
    if (got <= 0)
        return got < 0 ? -errno : -EIO;

    struct iovec pieces[PIECES];
    struct { uint64_t position; uint32_t left; } origin[PIECES];
    int count = 0;
    uint64_t block_end = start + (uint64_t)got;
    while (count < PIECES) {
        if (reader->frame_left == 0) {
            if (reader->position + PYRT_FRAME_HEADER > block_end)
                break;
            int ret = pyrt_enter_frame(reader, block + (reader->position - start), PYRT_FRAME_HEADER, count == 0);
            if (ret < 0)
                return ret;
            if (ret > 0)
                break;
            if (reader->aside)
                return 1; /* a header of its own, which goes first */
            continue; /* it may be empty */
        }
        uint64_t held = reader->position < block_end ? block_end - reader->position : 0;
        uint32_t part = reader->frame_left < held ? reader->frame_left : (uint32_t)held;
        if (part == 0)
            break;
        if (reader->frame_wanted) {
            pieces[count] = (struct iovec){block + (reader->position - start), part};
            origin[count].position = reader->position;
            origin[count++].left = reader->frame_left;
        } else {
            part = reader->frame_left; /* passed over, in the block or not */
        }
        reader->position += part;
        reader->frame_left -= part;
    }
    if (count == 0)
        return reader->position > start ? (ssize_t)(reader->position - start) : -EBADMSG;

    ssize_t sent = writev(reader->fd, pieces, count);
    size_t taken = sent < 0 ? 0 : (size_t)sent;
    for (int i = 0; i < count; i++) {
        if (taken < pieces[i].iov_len) {
            reader->position = origin[i].position + taken;
            reader->frame_left = origin[i].left - (uint32_t)taken;
            reader->frame_wanted = true;
            break;
        }
        taken -= pieces[i].iov_len;
    }
    return sent < 0 ? -errno : sent > 0 ? sent : -EAGAIN;
}

static ssize_t send_log(struct reader *reader)
{
    uint64_t end;
    int ret = find_segment(reader, &end);
    if (ret != 0)
        return ret;
    if (reader->formatting)
        return pyrt_send_formatted(reader, end);
    if (reader->frame_left == 0 && reader->position >= reader->cut_until)
        reader->picks = reader->picks_always;
    return reader->picks ? send_picked(reader, end) : send_file(reader, end - reader->position);
}

void pyrt_reader_deliver(struct reader *reader)
{
    struct pyrt_channel *channel = reader->channel;
    size_t budget = reader->formatting ? FORMATTED_TURN_BYTES : TURN_BYTES;
    ssize_t sent = 0;
    while (budget > 0 && sent >= 0) {
        bool at_end = reader->position >= channel->log.end || reader->position >= reader->until;
        bool over = at_end && (reader->position >= reader->until || (channel->finished && !channel->streams));
        if (reader->aside) {
            sent = send_aside(reader);
        } else if (reader->ending) {
            leave_with(reader, PYRT_READER_DONE);
            return;
        } else if (reader->tell_size && reader->position >= reader->tell_at) {
            sent = begin_tell(reader);
        } else if (reader->missed > 0) {
            sent = tell_missed(reader);
        } else if (!at_end) {
            sent = send_log(reader);
        } else if (over && reader->formatting && pyrt_format_pending(&reader->formatting->formatter)) {
            sent = pyrt_send_rests(reader);
        } else if (reader->position >= reader->until) {
            begin_last(reader);
        } else if (over) {
            sent = begin_trailer(reader);
        } else {
            pyrt_reader_arm(reader, false);
            if (reader->guaranteed)
                pyrt_resume_streams(channel);
            return;
        }
        if (sent > 0)
            budget -= (size_t)sent < budget ? (size_t)sent : budget;
    }
    if (sent < 0 && sent != -EAGAIN && sent != -EINTR) {
        leave_with(reader, PYRT_READER_GONE);
        return;
    }
    pyrt_reader_arm(reader, true); /* the rest when it can take it, and after the others' turn */
    if (reader->guaranteed)
        pyrt_resume_streams(channel);
}

void pyrt_reader_ready(struct reader *reader, uint32_t happened)
{
    if (happened & (EPOLLERR | EPOLLHUP))
        leave_with(reader, PYRT_READER_GONE);
    else if (reader->armed)
        pyrt_reader_deliver(reader);
}
