/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the broadcaster share among themselves. Everything here is used with the lock held. */
#ifndef PYRT_BROADCAST_PARTS_H
#define PYRT_BROADCAST_PARTS_H

#include "broadcast.h"
#include "frames.h"
#include "log.h"
#include "log_format.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/types.h>

#define PYRT_READ_BYTES ((size_t)256 * 1024)
#define PYRT_NOTICE_BYTES 256 /* a notice of our own, header included */

/* What epoll's data points to. */
struct watched {
    enum { WATCHED_WAKE, WATCHED_STREAM, WATCHED_READER } kind;
    bool dead;                /* no longer in any list; its event may still be on its way to us */
    struct watched *next_dead;
};

struct event {
    struct event *next;
    enum pyrt_event_kind kind;
    struct pyrt_channel *channel;
    int64_t detail;
    bool queued;
    struct watched *bury; /* whose event this is, freed once it has been told; or NULL */
};

struct stream {
    struct watched watched;
    struct stream *next;
    struct pyrt_channel *channel;
    int fd; /* owned */
    unsigned type;
    bool enlarged; /* the pipe, once it has proved busy */
};

/* For a reader whose lines are shown with their times, or as JSON. */
struct formatting {
    struct pyrt_formatter formatter;
    struct pyrt_log_clock clock;
    uint64_t time_ns; /* of the frame it is in */
};

struct reader {
    struct watched watched;
    struct reader *next;
    struct pyrt_channel *channel;
    struct event event;
    int64_t id;
    int fd; /* owned */
    bool guaranteed, raw;
    bool picks;            /* not the log's bytes as they are: frame by frame; for good, or as long as it is cut */
    bool picks_always;
    uint64_t starts[4];    /* by type of frame: what stands before is left out */
    uint64_t cut_until;    /* the last of them */
    struct formatting *formatting; /* owned, or NULL */
    unsigned streams;      /* the types it wants */
    bool armed;            /* epoll tells when it can be written to */
    bool leaving;          /* sent away: only to the end of its frame */
    bool ending;           /* `aside` holds the trailer */
    uint64_t position;     /* global offset of the next byte */
    uint64_t until;        /* done there; UINT64_MAX to follow */
    uint64_t checked;      /* in a view: so far there are whole frames */
    uint64_t missed;       /* stream bytes dropped before it, not yet told */
    unsigned frame_type;   /* picking: of the current frame */
    uint32_t frame_left;   /* picking: bytes of the current frame still to send or to skip */
    bool frame_wanted;
    struct pyrt_segment *segment; /* acquired, or NULL */
    unsigned char *aside;  /* owned; sent before the log goes on */
    size_t aside_size, aside_sent;
    unsigned char tell[PYRT_TELL_BYTES]; /* frames for it alone, sent when it has reached `tell_at`, a boundary */
    size_t tell_size;
    uint64_t tell_at;
    unsigned char *last; /* owned; what it is sent when it has reached `until` */
    size_t last_size;
};

struct pyrt_channel {
    struct pyrt_broadcaster *broadcaster;
    struct pyrt_channel *next;
    uint64_t id;
    bool closed;
    char *path; /* owned; of a view, for what is said of its damage */
    struct pyrt_log log;
    struct stream *streams;
    struct reader *readers;
    struct event drained, failed;
    bool paused;      /* its streams are out of epoll: a guaranteed reader is too far behind */
    bool finished;
    bool dirty;       /* has bytes its readers have not been offered */
    struct pyrt_channel *next_dirty;
    unsigned char *trailer; /* owned */
    size_t trailer_size;
    uint64_t lost_bytes, untold_bytes;
    int error; /* of the last append; 0 while all is well */
};

/* How the last turns went; see should_rest. */
struct flood {
    uint64_t turn_bytes, unrested_bytes, turn_ns;
    int turns;
    bool rested;
};

struct pyrt_broadcaster {
    /*
     * The thread holds `lock` except in epoll_wait. Who wants it takes `gate` first: so the thread, however busy, meets
     * a waiting caller at the gate after each turn and lets it in.
     */
    pthread_mutex_t gate, lock;
    pthread_t thread;
    pid_t pid; /* a forked child has no such thread */
    bool started, stopping, stopped;
    int epoll_fd, wake_fd, event_fd; /* owned */
    struct watched wake;
    struct pyrt_channel *channels, *dirty;
    struct event *events, **last_event;
    struct watched *dead; /* freed when no epoll event can point to them any more */
    uint64_t next_channel;
    int64_t next_reader;
    struct flood flood;
    unsigned char *buffer; /* owned; PYRT_NOTICE_BYTES, a header, PYRT_READ_BYTES */
};

/* broadcast.c */
void pyrt_enter(struct pyrt_broadcaster *broadcaster);
void pyrt_leave(struct pyrt_broadcaster *broadcaster);
void pyrt_bury(struct pyrt_broadcaster *broadcaster, struct watched *watched);
void pyrt_queue_event(struct event *event, int64_t detail);
void pyrt_mark_dirty(struct pyrt_channel *channel);

/* broadcast_streams.c */
void pyrt_stream_ready(struct stream *stream);
void pyrt_close_stream(struct stream *stream);
size_t pyrt_lost_notice(const struct pyrt_channel *channel, unsigned char notice[PYRT_NOTICE_BYTES]); /* 0: none due */
void pyrt_resume_streams(struct pyrt_channel *channel); /* if the guaranteed readers allow it */

/* broadcast_send.c */
void pyrt_reader_arm(struct reader *reader, bool arm);
void pyrt_reader_deliver(struct reader *reader);
void pyrt_reader_ready(struct reader *reader, uint32_t happened);
void pyrt_reader_overtaken(struct reader *reader, struct pyrt_segment *segment);
void pyrt_reader_leave(struct reader *reader); /* out of all lists, descriptor closed; not freed */
unsigned char *pyrt_put_aside(struct reader *reader, size_t size); /* sent before the log goes on; NULL: no memory */

/*
 * Goes into the frame whose header stands at `data`. Returns 0; 1 when it has not, because the frame is cut and has to
 * be the first that is sent (`first` says that it is); or why there is no frame.
 */
int pyrt_enter_frame(struct reader *reader, const unsigned char *data, size_t size, bool first);

/* broadcast_format.c: each returns the bytes sent or put aside, or -errno */
ssize_t pyrt_send_formatted(struct reader *reader, uint64_t end);
ssize_t pyrt_send_rests(struct reader *reader); /* the lines without an end */

/* broadcast_view.c */
int pyrt_check_view(struct reader *reader, uint64_t *end); /* 1: nothing can be sent from here, but perhaps further on */

#endif
