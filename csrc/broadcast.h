/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broadcaster: one thread that moves the output of any number of containers into their logs, and from the logs to
 * their readers.
 *
 *     pipe or pty --read--> frame --pwrite--> newest segment --sendfile--> every reader, from its own offset
 *
 * A channel is one container: its streams, its log, its readers. A reader is an offset, not a queue, so its slowness
 * costs nobody anything. Every call may come from any thread, and takes effect before it returns. Calls return >= 0 or
 * -errno; -EBADF means that the channel or the broadcaster has been closed.
 */
#ifndef PYRT_BROADCAST_H
#define PYRT_BROADCAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pyrt_broadcaster;
struct pyrt_channel;

enum pyrt_event_kind {
    PYRT_DRAINED = 1,      /* every stream of the channel has reached its end */
    PYRT_READER_DONE = 2,  /* detail: reader id; it has been sent all it asked for and is no reader any more */
    PYRT_READER_GONE = 3,  /* detail: reader id; its peer hung up, or sending failed: it is no reader any more */
    PYRT_WRITE_FAILED = 4, /* detail: errno; output is being lost, the streams are read on */
};

struct pyrt_event {
    enum pyrt_event_kind kind;
    uint64_t channel; /* pyrt_channel_id */
    int64_t detail;
};

int pyrt_broadcaster_start(struct pyrt_broadcaster **broadcaster);
void pyrt_broadcaster_stop(struct pyrt_broadcaster *broadcaster); /* joins the thread, closes all channels */
void pyrt_broadcaster_free(struct pyrt_broadcaster *broadcaster); /* after stop, and after its channels are freed */

/* Readable while events wait; the broadcaster's. */
int pyrt_broadcaster_event_fd(const struct pyrt_broadcaster *broadcaster);
size_t pyrt_broadcaster_events(struct pyrt_broadcaster *broadcaster, struct pyrt_event *events, size_t room);

int pyrt_channel_open(struct pyrt_broadcaster *broadcaster, int dirfd, uint64_t max_size_bytes, unsigned max_files,
                      struct pyrt_channel **channel);

/* The same with a log in memory, of which nothing is left when it is closed. */
int pyrt_channel_open_memory(struct pyrt_broadcaster *broadcaster, uint64_t max_size_bytes, unsigned max_files,
                             struct pyrt_channel **channel);

/*
 * A log that nobody writes, as it is: nothing is repaired, and no stream can be added. What stands in front of damage
 * is sent, then an ERROR that names it, with `path`, and an EXIT of 125 in place of a reader's last bytes.
 */
int pyrt_channel_open_view(struct pyrt_broadcaster *broadcaster, int dirfd, const char *path, struct pyrt_channel **channel);
uint64_t pyrt_channel_id(const struct pyrt_channel *channel);
void pyrt_channel_close(struct pyrt_channel *channel); /* drops streams and readers without events; keeps the files */
void pyrt_channel_free(struct pyrt_channel *channel);

/* Takes `fd` over if it returns 0. `type` is PYRT_STDOUT or PYRT_STDERR. -ESHUTDOWN after finish. */
int pyrt_channel_add_stream(struct pyrt_channel *channel, int fd, unsigned type);

/* Takes in what lies in the pipes, closes the streams that are still open. */
int pyrt_channel_close_streams(struct pyrt_channel *channel);

#define PYRT_FROM_START UINT64_MAX
#define PYRT_FROM_END (UINT64_MAX - 1)

struct pyrt_reader_options {
    uint64_t offset;  /* a frame boundary, PYRT_FROM_START or PYRT_FROM_END */
    unsigned streams; /* bit 1 << type for each stream it wants; 0 is all of them */
    bool guaranteed;  /* the streams wait rather than drop what it has not read */
    bool raw;         /* payloads only, without headers, notices and trailer */
    bool follow;      /* false: done at what is the end of the log now, without the channel's trailer */
    bool bounded;     /* done at `until` at the latest, a frame boundary */
    uint64_t until;
    uint64_t starts[4]; /* by type of frame: what of it stands before this offset is left out */
    int style;        /* enum pyrt_style: lines with their times, or as JSON */
    const void *last; /* copied: this reader's last bytes, in place of the channel's trailer; NULL: the trailer */
    size_t last_size;
};

/* `fd`, a stream socket or a pipe, is duplicated, and becomes non-blocking. Returns the reader's id. */
int64_t pyrt_channel_add_reader(struct pyrt_channel *channel, int fd, const struct pyrt_reader_options *options);
int pyrt_channel_remove_reader(struct pyrt_channel *channel, int64_t id); /* -ENOENT: it has left by itself */

/* Sends the rest of the frame the reader is in, then `last`; then it is done. -EALREADY: it is at its end anyway. */
int pyrt_channel_end_reader(struct pyrt_channel *channel, int64_t id, const void *last, size_t size);

/* Lets a reader that follows do so no more: it is done at what is the end now. -ENOENT: it has left by itself. */
int pyrt_channel_settle_reader(struct pyrt_channel *channel, int64_t id);

/*
 * Sends a reader alone whole frames of its own, as soon as the frame it is in has been sent. They take the place of what
 * it was to be told and has not been yet. -EALREADY: it is at its end, or raw; -EMSGSIZE: more than PYRT_TELL_BYTES.
 */
#define PYRT_TELL_BYTES 64
int pyrt_channel_tell_reader(struct pyrt_channel *channel, int64_t id, const void *data, size_t size);

int pyrt_channel_notice(struct pyrt_channel *channel, const char *text, size_t size);

/* No stream follows. Once all are at their end, each reader gets the rest, then `trailer`, and is done. */
int pyrt_channel_finish(struct pyrt_channel *channel, const void *trailer, size_t size);

struct pyrt_channel_status {
    uint64_t start, end; /* global offsets of what the log holds */
    uint64_t lost_bytes; /* output that could not be written, ever */
    unsigned streams, readers;
    bool paused; /* waiting for a guaranteed reader */
};

int pyrt_channel_status(struct pyrt_channel *channel, struct pyrt_channel_status *status);

#endif
