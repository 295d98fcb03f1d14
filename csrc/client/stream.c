/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conversation after CALL: one loop that moves every byte, in both directions, and never waits in one of them
 * while the other could go on.
 *
 * From the daemon: what has arrived lies in `in`. A stream's bytes are written out as they come, whole frame or not;
 * other frames are acted on when complete. Nothing more is read while a reader of our output is behind (`blocked`).
 * To the daemon: frames lie in `out`; the source (stdin, or a file that OPEN named) is read only when it is empty, and
 * stdin only as far as CREDIT allows.
 * While there is neither source nor signals the loop is a plain blocking read: a short command costs no poll(2).
 */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client.h"

#define TURN_BYTES (256 << 10) /* a read or write: large enough to be few, small enough to stay in the cache */
#define LEAVE_MS 1000          /* how long a detaching client waits for the other side to have read it */
#define CTRL_P 0x10
#define CTRL_Q 0x11
#define STRIKES 3              /* of so many interrupts that could not be sent on, the last is our own */

struct buffer {
    unsigned char data[PYRT_FRAME_HEADER + PYRT_FRAME_MAX + 4096];
    size_t start, end;
};

struct stream {
    int fd;
    int remote;
    char *const *argv;
    struct buffer in, out;
    int out_closed;        /* the other side reads no more; what it has written is still ours to read */
    size_t left;           /* bytes of the current stream frame still to come */
    struct sink sinks[2];  /* stdout, stderr */
    struct sink feed;      /* what is unpacked goes there */
    struct sink *sink;     /* the current frame's */
    struct copier copier;
    int blocked;           /* it takes no more just now */
    int source_fd;         /* what STDIN frames are read from; -1 none */
    int source_is_file;    /* named by OPEN: a fault in it must not look like its end */
    int started;           /* START was seen; its flags */
    int flags;
    uint64_t sent, allowed; /* bytes of stdin since START, and how many those may be */
    int signal_fd;
    int strikes;
    struct detach_keys keys;
    int detach;
    int unread;            /* nothing came back yet, and a reset would mean that the call was not read */
    int again;             /* it was not read */
    int status;            /* EXIT was seen; -1 until then */
};

static void stop_sending(struct stream *stream)
{
    stream->out_closed = 1;
    stream->out.start = stream->out.end = 0;
    stream->source_fd = -1;
}

static void flush(struct stream *stream)
{
    struct buffer *out = &stream->out;
    while (out->start < out->end) {
        ssize_t count = send(stream->fd, out->data + out->start, out->end - out->start, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count > 0)
            out->start += (size_t)count;
        else if (errno == EAGAIN)
            return;
        else if (errno != EINTR)
            return stop_sending(stream);
    }
    out->start = out->end = 0;
    stream->strikes = 0;
}

/* Frames that do not fit are dropped: only signals can be that many, and they coalesce anyway. */
static void queue(struct stream *stream, unsigned type, const void *payload, size_t length)
{
    struct buffer *out = &stream->out;
    if (stream->out_closed || sizeof out->data - out->end < PYRT_FRAME_HEADER + length)
        return;
    wire_header(out->data + out->end, type, length);
    if (length)
        memcpy(out->data + out->end + PYRT_FRAME_HEADER, payload, length);
    out->end += PYRT_FRAME_HEADER + length;
}

static void queue_size(struct stream *stream)
{
    int rows, columns;
    if (terminal_size(&rows, &columns) < 0)
        return;
    unsigned char payload[4] = {(unsigned char)(rows >> 8), (unsigned char)rows, (unsigned char)(columns >> 8),
                                (unsigned char)columns};
    queue(stream, PYRT_RESIZE, payload, sizeof payload);
}

static void end_source(struct stream *stream)
{
    char reason[8192];
    if (stream->copier.pid) {
        if (copy_end(&stream->copier, reason, sizeof reason) < 0)
            fail("%s", reason);
    } else if (stream->source_fd > 2) {
        close(stream->source_fd);
    }
    if (stream->keys.held)
        queue(stream, PYRT_STDIN, stream->keys.bytes, stream->keys.held);
    queue(stream, PYRT_STDIN, NULL, 0);
    stream->source_fd = -1;
}

/*
 * How much of the source may be read now. With credit, whatever was sent of stdin is taken from us whether or not the
 * container reads it, so that `out` never stays full and a signal never waits.
 */
static size_t source_room(const struct stream *stream)
{
    if (!(stream->flags & PYRT_START_CREDIT))
        return TURN_BYTES;
    uint64_t taken = stream->sent + stream->keys.held;
    uint64_t room = stream->allowed > taken ? stream->allowed - taken : 0;
    return room < TURN_BYTES ? (size_t)room : TURN_BYTES;
}

/* `out` is empty. */
static void read_source(struct stream *stream)
{
    unsigned char *payload = stream->out.data + PYRT_FRAME_HEADER;
    ssize_t count = read(stream->source_fd, payload, source_room(stream));
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count < 0 && stream->source_is_file)
        fail("cannot read the file the command names: %s", strerror(errno));
    if (count <= 0)
        return end_source(stream);
    size_t length = (size_t)count;
    if (terminal_is_raw())
        length = terminal_keys(&stream->keys, payload, length, &stream->detach);
    if (!length)
        return;
    stream->sent += length;
    wire_header(stream->out.data, PYRT_STDIN, length);
    stream->out.end = PYRT_FRAME_HEADER + length;
}

static void take_signals(struct stream *stream)
{
    int number;
    while ((number = signals_next(stream->signal_fd)) > 0) {
        if (number == SIGTSTP) {
            signals_stop();
            continue;
        }
        if (number == SIGCONT)
            terminal_again();
        if (number == SIGCONT || number == SIGWINCH) {
            queue_size(stream);
            continue;
        }
        /* where nobody reads what we send, not even the daemon, a signal is stuck, and so would the user be */
        stream->strikes += number == SIGINT || number == SIGTERM;
        if (!(stream->flags & PYRT_START_SIGNALS) || stream->out_closed || stream->strikes == STRIKES)
            signals_die(number);
        unsigned char payload[4];
        wire_put_u32(payload, (unsigned)number);
        queue(stream, PYRT_SIGNAL, payload, sizeof payload);
    }
}

/* Nobody reads our output any more: the container hears what any writer of a pipe does, and we end as cat(1) does. */
static __attribute__((noreturn)) void break_off(struct stream *stream)
{
    if (stream->flags & PYRT_START_SIGNALS) {
        unsigned char payload[4];
        wire_put_u32(payload, SIGPIPE);
        queue(stream, PYRT_SIGNAL, payload, sizeof payload);
        flush(stream);
    }
    signals_die(SIGPIPE);
}

static void start(struct stream *stream, const unsigned char *payload, size_t length)
{
    if (length != 1 || stream->started || stream->source_fd >= 0)
        fail("the pyrt daemon sent a START that makes no sense");
    stream->started = 1;
    stream->flags = payload[0];
    if (stream->flags & PYRT_START_SIGNALS)
        signal(SIGPIPE, SIG_IGN); /* the container is to hear of it before we end */
    if (stream->flags & PYRT_START_STDIN) {
        stream->source_fd = STDIN_FILENO;
        stream->source_is_file = 0;
    }
    int raw = (stream->flags & PYRT_START_TTY) && (stream->flags & PYRT_START_STDIN) && terminal_raw();
    stream->signal_fd = signals_open(stream->flags & PYRT_START_SIGNALS, raw || (stream->flags & PYRT_START_TTY));
    if (stream->flags & PYRT_START_TTY)
        queue_size(stream);
    if (stream->flags)
        for (int i = 0; i < 2; i++)
            sink_unblock(&stream->sinks[i]);
}

static void set_keys(struct stream *stream, const unsigned char *keys, size_t length)
{
    if (length < 1 || length > PYRT_KEYS_MAX || stream->started)
        fail("the pyrt daemon sent KEYS that make no sense");
    stream->keys.count = length;
    memcpy(stream->keys.bytes, keys, length);
}

static void allow(struct stream *stream, const unsigned char *payload, size_t length)
{
    if (length != 8 || !(stream->flags & PYRT_START_CREDIT))
        fail("the pyrt daemon sent a CREDIT that makes no sense");
    stream->allowed = wire_get_u64(payload);
}

static void answer_ask(struct stream *stream, const unsigned char *payload, size_t length)
{
    static unsigned char text[PYRT_FRAME_MAX];
    ssize_t count = answer_variables(text, sizeof text, (const char *)payload, length, stream->remote ? stream->argv : NULL);
    if (count == -E2BIG)
        fail("the variables this command needs are larger than 1 MiB together");
    if (count < 0)
        fail("the pyrt daemon sent an ASK that makes no sense");
    queue(stream, PYRT_ANSWER, text, (size_t)count);
}

static void answer_open(struct stream *stream, const unsigned char *payload, size_t length)
{
    char path[4096], reason[8192];
    if (stream->source_fd >= 0 || stream->started || !length || length >= sizeof path)
        fail("the pyrt daemon sent an OPEN that makes no sense");
    memcpy(path, payload, length);
    path[length] = 0;
    stream->source_fd = open_source(path, stream->remote ? stream->argv : NULL, reason, sizeof reason);
    stream->source_is_file = 1;
    queue(stream, PYRT_ANSWER, reason, stream->source_fd < 0 ? strlen(reason) : 0);
}

static void answer_pack(struct stream *stream, const unsigned char *payload, size_t length)
{
    char path[4096], reason[8192] = "the daemon asked for a file that the command does not name";
    if (stream->copier.pid || stream->source_fd >= 0 || stream->started || length < 2 || length > sizeof path)
        fail("the pyrt daemon sent a PACK that makes no sense");
    memcpy(path, payload + 1, length - 1);
    path[length - 1] = 0;
    int done = copy_is_named(path, stream->argv)
                   ? copy_pack(&stream->copier, path, payload[0], reason, sizeof reason)
                   : -1;
    if (done == 0) {
        stream->source_fd = stream->copier.fd;
        stream->source_is_file = 1;
    }
    queue(stream, PYRT_ANSWER, reason, done < 0 ? strlen(reason) : 0);
}

static void answer_unpack(struct stream *stream, const unsigned char *payload, size_t length)
{
    char path[4096], reason[] = "the daemon asked for a place to write to that the command does not name";
    if (stream->copier.pid || stream->started || length < 2 || length > sizeof path)
        fail("the pyrt daemon sent an UNPACK that makes no sense");
    memcpy(path, payload + 1, length - 1);
    path[length - 1] = 0;
    int named = copy_is_named(path, stream->argv);
    if (named) {
        copy_unpack(&stream->copier, path, payload[0]);
        sink_pipe(&stream->feed, stream->copier.fd);
    }
    queue(stream, PYRT_ANSWER, reason, named ? 0 : sizeof reason - 1);
}

/* The archive's end, or the child's: which of them came first is in its report. What went wrong here is said here. */
static void end_unpack(struct stream *stream)
{
    char reason[8192];
    if (!stream->copier.pid || !stream->copier.unpacks)
        fail("the pyrt daemon sent a FEED that makes no sense");
    if (copy_end(&stream->copier, reason, sizeof reason) < 0)
        fail("%s", reason);
    queue(stream, PYRT_ANSWER, NULL, 0);
}

static void act(struct stream *stream, int type, const unsigned char *payload, size_t length)
{
    switch (type) {
    case PYRT_NOTICE:
        return say("", (const char *)payload, length);
    case PYRT_ERROR:
        terminal_restore();
        return say("Error: ", (const char *)payload, length);
    case PYRT_EXIT:
        if (length != 4)
            break;
        unsigned status = wire_get_u32(payload);
        stream->status = status > 255 ? 255 : (int)status; /* 256 must not look like success */
        return;
    case PYRT_START:
        return start(stream, payload, length);
    case PYRT_KEYS:
        return set_keys(stream, payload, length);
    case PYRT_CREDIT:
        return allow(stream, payload, length);
    case PYRT_ASK:
        return answer_ask(stream, payload, length);
    case PYRT_OPEN:
        return answer_open(stream, payload, length);
    case PYRT_PACK:
        return answer_pack(stream, payload, length);
    case PYRT_UNPACK:
        return answer_unpack(stream, payload, length);
    case PYRT_FEED:
        return end_unpack(stream);
    }
    fail("the pyrt daemon sent a frame this client does not know (type %d); are both of the same version?", type);
}

/* Act on what has arrived, until more is needed, a reader is behind, or the end. */
static void consume(struct stream *stream)
{
    struct buffer *in = &stream->in;
    while (stream->status < 0) {
        size_t there = in->end - in->start, length;
        if (stream->left) {
            size_t want = there < stream->left ? there : stream->left;
            size_t done = sink_write(stream->sink, in->data + in->start, want);
            if (done == SINK_BROKEN) {
                if (stream->sink != &stream->feed)
                    break_off(stream);
                end_unpack(stream);
                fail("what unpacks the pyrt daemon's archive ended before the archive did");
            }
            in->start += done;
            stream->left -= done;
            stream->blocked = done < want;
            if (stream->blocked || stream->left)
                return;
            continue;
        }
        if (there < PYRT_FRAME_HEADER)
            return;
        int type = wire_parse(in->data + in->start, &length);
        if (type < 0)
            fail("what answers is not a pyrt daemon: it sent bytes that are no frame");
        int feeds = type == PYRT_FEED && length && stream->copier.pid && stream->copier.unpacks;
        if (type == PYRT_STDOUT || type == PYRT_STDERR || feeds) {
            in->start += PYRT_FRAME_HEADER;
            stream->left = length;
            stream->sink = feeds ? &stream->feed : &stream->sinks[type - PYRT_STDOUT];
            continue;
        }
        if (there < PYRT_FRAME_HEADER + length)
            return;
        in->start += PYRT_FRAME_HEADER + length;
        act(stream, type, in->data + in->start - length, length);
    }
}

static void receive(struct stream *stream, int flags)
{
    struct buffer *in = &stream->in;
    if (in->start) { /* what is left is less than a frame: at most a control frame, rarely more than a header */
        memmove(in->data, in->data + in->start, in->end - in->start);
        in->end -= in->start;
        in->start = 0;
    }
    size_t room = sizeof in->data - in->end;
    ssize_t count = recv(stream->fd, in->data + in->end, room < TURN_BYTES ? room : TURN_BYTES, flags);
    if (count < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (count <= 0 && stream->unread && (count < 0 || stream->out_closed)) {
        stream->again = 1;
        return;
    }
    if (count <= 0)
        fail("lost the connection to the pyrt daemon");
    stream->unread = 0;
    in->end += (size_t)count;
    consume(stream);
}

static void turn(struct stream *stream)
{
    struct pollfd fds[4] = {{.fd = -1}, {.fd = -1}, {.fd = stream->signal_fd, .events = POLLIN}, {.fd = -1}};
    int sending = stream->out.start < stream->out.end;
    /* a descriptor of no interest must be -1: poll(2) reports a hang-up whatever was asked, and would spin */
    if (!stream->blocked || sending)
        fds[0] = (struct pollfd){.fd = stream->fd,
                                 .events = (short)((stream->blocked ? 0 : POLLIN) | (sending ? POLLOUT : 0))};
    if (!sending && stream->source_fd >= 0 && source_room(stream))
        fds[1] = (struct pollfd){.fd = stream->source_fd, .events = POLLIN};
    if (stream->blocked)
        fds[3] = (struct pollfd){.fd = stream->sink->fd, .events = POLLOUT};
    if (poll(fds, 4, -1) < 0) {
        if (errno != EINTR)
            fail("poll: %s", strerror(errno));
        return;
    }
    if (fds[2].revents)
        take_signals(stream);
    if (fds[1].revents && stream->out.start == stream->out.end) /* a signal may just have been put there */
        read_source(stream);
    if (fds[3].revents)
        consume(stream);
    if (!stream->blocked && stream->status < 0 && (fds[0].revents & ~POLLOUT))
        receive(stream, MSG_DONTWAIT);
    flush(stream);
}

static long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The detach keys. Closing with bytes unread would reset a TCP connection, and DETACH might be lost with it. */
static int leave(struct stream *stream)
{
    static const char TEXT[] = "detached; the container keeps running";
    queue(stream, PYRT_DETACH, NULL, 0);
    for (int waits = 0; waits < 20 && stream->out.start < stream->out.end; waits++) {
        struct pollfd ready = {.fd = stream->fd, .events = POLLOUT};
        flush(stream);
        if (stream->out.start < stream->out.end && poll(&ready, 1, LEAVE_MS) <= 0)
            break;
    }
    shutdown(stream->fd, SHUT_WR);
    long end = now_ms() + LEAVE_MS, left;
    struct pollfd ready = {.fd = stream->fd, .events = POLLIN};
    while ((left = end - now_ms()) > 0 && poll(&ready, 1, (int)left) > 0)
        if (recv(stream->fd, stream->in.data, TURN_BYTES, MSG_DONTWAIT) <= 0)
            break;
    terminal_restore();
    say("", "", 0);
    say("", TEXT, sizeof TEXT - 1);
    return 0;
}

/*
 * fail() ends everything that has no status.
 *
 * A daemon that is stopping, or has just been killed, resets the connections it did not accept. On a unix socket a
 * reset (and not an end of file) before the first answer says that the call was never read, so it can be sent again
 * without running anything twice.
 */
int serve(int socket_fd, const unsigned char *call, size_t call_bytes, char *const *argv, int remote)
{
    static struct stream stream;
    stream.fd = socket_fd;
    stream.argv = argv;
    stream.remote = remote;
    stream.unread = !remote;
    stream.again = stream.out_closed = 0;
    stream.source_fd = stream.signal_fd = stream.status = -1;
    stream.keys = (struct detach_keys){.bytes = {CTRL_P, CTRL_Q}, .count = 2};
    sink_init(&stream.sinks[0], STDOUT_FILENO);
    sink_init(&stream.sinks[1], STDERR_FILENO);
    for (size_t done = 0; done < call_bytes;) {
        ssize_t count = send(socket_fd, call + done, call_bytes - done, MSG_NOSIGNAL);
        if (count > 0)
            done += (size_t)count;
        else if (errno != EINTR) {
            stream.out_closed = 1; /* the daemon may have said why before it closed */
            break;
        }
    }
    while (stream.status < 0 && !stream.detach && !stream.again) {
        if (stream.source_fd < 0 && stream.signal_fd < 0 && !stream.blocked && stream.out.start == stream.out.end)
            receive(&stream, 0);
        else
            turn(&stream);
        if (stream.out.start < stream.out.end)
            flush(&stream);
    }
    if (stream.again) {
        close(socket_fd);
        return SERVE_AGAIN;
    }
    if (stream.copier.pid) { /* the daemon broke off: what is half written goes before we do */
        char reason[8192];
        copy_end(&stream.copier, reason, sizeof reason);
    }
    int status = stream.detach ? leave(&stream) : stream.status;
    terminal_restore();
    return status;
}
