/* SPDX-License-Identifier: Apache-2.0 */
/* The broadcaster's thread, its lock, its events, and the life of channels. */
#define _GNU_SOURCE
#include "broadcast_parts.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define FLOOD_BYTES 32768    /* a turn that reads more needs no help */
#define FLOOD_TURN_NS 100000 /* nor do turns further apart than this */
#define FLOOD_TURNS 16
#define FLOOD_TURNS_OF_DIALOGUE 4096
#define FLOOD_REST_NS 50000
#define EVENTS_A_TURN 32 /* bounds how long a caller waits for the lock */

void pyrt_enter(struct pyrt_broadcaster *broadcaster)
{
    pthread_mutex_lock(&broadcaster->gate);
    pthread_mutex_lock(&broadcaster->lock);
    pthread_mutex_unlock(&broadcaster->gate);
}

void pyrt_leave(struct pyrt_broadcaster *broadcaster)
{
    pthread_mutex_unlock(&broadcaster->lock);
}

static void signal_fd(int fd)
{
    uint64_t one = 1;
    ssize_t put = write(fd, &one, sizeof one); /* fails only when the counter is full, and then it is readable anyway */
    (void)put;
}

void pyrt_bury(struct pyrt_broadcaster *broadcaster, struct watched *watched)
{
    watched->next_dead = broadcaster->dead;
    broadcaster->dead = watched;
}

static void free_dead(struct pyrt_broadcaster *broadcaster)
{
    while (broadcaster->dead) {
        struct watched *watched = broadcaster->dead;
        broadcaster->dead = watched->next_dead;
        free(watched); /* the first member of the stream or reader */
    }
}

void pyrt_queue_event(struct event *event, int64_t detail)
{
    struct pyrt_broadcaster *broadcaster = event->channel->broadcaster;
    event->detail = detail;
    if (event->queued)
        return;
    event->queued = true;
    event->next = NULL;
    *broadcaster->last_event = event;
    broadcaster->last_event = &event->next;
    signal_fd(broadcaster->event_fd);
}

static struct event *take_event(struct pyrt_broadcaster *broadcaster, struct event **place)
{
    struct event *event = *place;
    *place = event->next;
    if (broadcaster->last_event == &event->next)
        broadcaster->last_event = place;
    event->queued = false;
    return event;
}

size_t pyrt_broadcaster_events(struct pyrt_broadcaster *broadcaster, struct pyrt_event *events, size_t room)
{
    size_t count = 0;
    uint64_t counter;
    pyrt_enter(broadcaster);
    while (count < room && broadcaster->events) {
        struct event *event = take_event(broadcaster, &broadcaster->events);
        events[count++] = (struct pyrt_event){event->kind, event->channel->id, event->detail};
        if (event->bury)
            pyrt_bury(broadcaster, event->bury);
    }
    if (!broadcaster->events && !broadcaster->stopped) {
        ssize_t got = read(broadcaster->event_fd, &counter, sizeof counter);
        (void)got;
    }
    pyrt_leave(broadcaster);
    return count;
}

static void drop_events(struct pyrt_channel *channel)
{
    struct pyrt_broadcaster *broadcaster = channel->broadcaster;
    for (struct event **place = &broadcaster->events; *place;) {
        if ((*place)->channel != channel) {
            place = &(*place)->next;
            continue;
        }
        struct event *event = take_event(broadcaster, place);
        if (event->bury)
            pyrt_bury(broadcaster, event->bury);
    }
}

void pyrt_mark_dirty(struct pyrt_channel *channel)
{
    if (channel->dirty)
        return;
    channel->dirty = true;
    channel->next_dirty = channel->broadcaster->dirty;
    channel->broadcaster->dirty = channel;
}

/* Offers what has come in to every reader that is not waiting for its peer anyway. */
static void deliver_dirty(struct pyrt_broadcaster *broadcaster)
{
    while (broadcaster->dirty) {
        struct pyrt_channel *channel = broadcaster->dirty;
        broadcaster->dirty = channel->next_dirty;
        channel->dirty = false;
        for (struct reader *reader = channel->readers, *next; reader; reader = next) {
            next = reader->next;
            if (!reader->armed)
                pyrt_reader_deliver(reader);
        }
    }
}

static void take_turn(struct pyrt_broadcaster *broadcaster, const struct epoll_event *events, int count)
{
    for (int i = 0; i < count; i++) {
        struct watched *watched = events[i].data.ptr;
        if (watched->dead)
            continue;
        if (watched->kind == WATCHED_STREAM) {
            pyrt_stream_ready((struct stream *)watched);
        } else if (watched->kind == WATCHED_READER) {
            pyrt_reader_ready((struct reader *)watched, events[i].events);
        } else {
            uint64_t counter;
            ssize_t got = read(broadcaster->wake_fd, &counter, sizeof counter);
            (void)got;
        }
    }
    deliver_dirty(broadcaster);
}

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/*
 * A container that writes line by line as fast as it can wakes the thread for each line. After a run of such turns the
 * thread rests a moment before it looks again, so the pipe collects: a twentieth of the frames, a third of the time.
 * A rest that brings no more than a turn without it met a dialogue, not a flood; then there is none for a long while.
 */
static bool should_rest(struct flood *flood)
{
    uint64_t bytes = flood->turn_bytes, now = monotonic_ns();
    flood->turn_bytes = 0;
    if (flood->rested) {
        if (bytes < 2 * flood->unrested_bytes)
            flood->turns = -FLOOD_TURNS_OF_DIALOGUE;
        else if (bytes > FLOOD_BYTES)
            flood->turns = 0; /* large reads of their own accord */
    } else {
        bool hurried = bytes > 0 && bytes <= FLOOD_BYTES && now - flood->turn_ns < FLOOD_TURN_NS;
        flood->turns = hurried || flood->turns < 0 ? flood->turns + 1 : 0;
        flood->unrested_bytes = bytes;
    }
    flood->turn_ns = now;
    flood->rested = flood->turns >= FLOOD_TURNS;
    return flood->rested;
}

static void *run(void *argument)
{
    struct pyrt_broadcaster *broadcaster = argument;
    struct epoll_event events[EVENTS_A_TURN];
    bool stopping = false;
    while (!stopping) {
        int count = epoll_wait(broadcaster->epoll_fd, events, EVENTS_A_TURN, -1);
        if (count <= 0)
            continue;
        pyrt_enter(broadcaster);
        take_turn(broadcaster, events, count);
        free_dead(broadcaster); /* now that no event is in hand that could point to them */
        stopping = broadcaster->stopping;
        bool rest = should_rest(&broadcaster->flood);
        pyrt_leave(broadcaster);
        if (rest)
            clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = FLOOD_REST_NS}, NULL);
    }
    return NULL;
}

/* With every signal blocked: they are for the program's own threads, SIGPIPE included. */
static int start_thread(struct pyrt_broadcaster *broadcaster)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int ret = -pthread_create(&broadcaster->thread, NULL, run, broadcaster);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (ret == 0)
        pthread_setname_np(broadcaster->thread, "pyrt-broadcast");
    return ret;
}

int pyrt_broadcaster_start(struct pyrt_broadcaster **started)
{
    struct pyrt_broadcaster *broadcaster = calloc(1, sizeof *broadcaster);
    if (!broadcaster)
        return -ENOMEM;
    pthread_mutex_init(&broadcaster->gate, NULL);
    pthread_mutex_init(&broadcaster->lock, NULL);
    broadcaster->pid = getpid();
    broadcaster->wake.kind = WATCHED_WAKE;
    broadcaster->last_event = &broadcaster->events;
    broadcaster->next_channel = 1;
    broadcaster->next_reader = 1;
    broadcaster->buffer = malloc(PYRT_NOTICE_BYTES + PYRT_FRAME_HEADER + PYRT_READ_BYTES);
    broadcaster->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    broadcaster->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    broadcaster->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &broadcaster->wake};
    int ret = 0;
    if (!broadcaster->buffer)
        ret = -ENOMEM;
    else if (broadcaster->epoll_fd < 0 || broadcaster->wake_fd < 0 || broadcaster->event_fd < 0 ||
             epoll_ctl(broadcaster->epoll_fd, EPOLL_CTL_ADD, broadcaster->wake_fd, &event) < 0)
        ret = -errno;
    else
        ret = start_thread(broadcaster);
    if (ret < 0) {
        pyrt_broadcaster_stop(broadcaster);
        pyrt_broadcaster_free(broadcaster);
        return ret;
    }
    broadcaster->started = true;
    *started = broadcaster;
    return 0;
}

static void close_channel(struct pyrt_channel *channel)
{
    if (channel->closed)
        return;
    channel->closed = true;
    while (channel->streams)
        pyrt_close_stream(channel->streams);
    while (channel->readers) {
        struct reader *reader = channel->readers;
        pyrt_reader_leave(reader);
        pyrt_bury(channel->broadcaster, &reader->watched);
    }
    drop_events(channel);
    pyrt_log_close(&channel->log);
    free(channel->trailer);
    channel->trailer = NULL;
    free(channel->path);
    channel->path = NULL;
    struct pyrt_channel **place = &channel->broadcaster->channels;
    while (*place != channel)
        place = &(*place)->next;
    *place = channel->next;
}

static void close_if_open(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void pyrt_broadcaster_stop(struct pyrt_broadcaster *broadcaster)
{
    if (broadcaster->pid != getpid())
        return; /* a fork: the thread is our parent's, and the locks may be held by it for ever */
    pyrt_enter(broadcaster);
    bool join = broadcaster->started && !broadcaster->stopping;
    broadcaster->stopping = true;
    pyrt_leave(broadcaster);
    if (join) {
        signal_fd(broadcaster->wake_fd);
        pthread_join(broadcaster->thread, NULL);
    }
    pyrt_enter(broadcaster);
    while (broadcaster->channels)
        close_channel(broadcaster->channels);
    free_dead(broadcaster);
    broadcaster->stopped = true;
    close_if_open(&broadcaster->epoll_fd);
    close_if_open(&broadcaster->wake_fd);
    close_if_open(&broadcaster->event_fd);
    free(broadcaster->buffer);
    broadcaster->buffer = NULL;
    pyrt_leave(broadcaster);
}

void pyrt_broadcaster_free(struct pyrt_broadcaster *broadcaster)
{
    if (broadcaster->pid != getpid())
        return;
    pthread_mutex_destroy(&broadcaster->lock);
    pthread_mutex_destroy(&broadcaster->gate);
    free(broadcaster);
}

int pyrt_broadcaster_event_fd(const struct pyrt_broadcaster *broadcaster)
{
    return broadcaster->event_fd;
}

/* `channel` has its log, and goes when it cannot be had. */
static int enlist(struct pyrt_broadcaster *broadcaster, struct pyrt_channel *channel)
{
    channel->broadcaster = broadcaster;
    channel->drained = (struct event){.kind = PYRT_DRAINED, .channel = channel};
    channel->failed = (struct event){.kind = PYRT_WRITE_FAILED, .channel = channel};
    pyrt_enter(broadcaster);
    bool stopping = broadcaster->stopping;
    if (!stopping) {
        channel->id = broadcaster->next_channel++;
        channel->next = broadcaster->channels;
        broadcaster->channels = channel;
    }
    pyrt_leave(broadcaster);
    if (!stopping)
        return 0;
    pyrt_log_close(&channel->log);
    free(channel->path);
    free(channel);
    return -EBADF;
}

int pyrt_channel_open(struct pyrt_broadcaster *broadcaster, int dirfd, uint64_t max_size_bytes, unsigned max_files,
                      struct pyrt_channel **opened)
{
    struct pyrt_channel *channel = calloc(1, sizeof *channel);
    if (!channel)
        return -ENOMEM;
    int ret = pyrt_log_open(&channel->log, dirfd, max_size_bytes, max_files); /* may take a while, and nobody waits */
    if (ret < 0)
        free(channel);
    else
        ret = enlist(broadcaster, channel);
    if (ret == 0)
        *opened = channel;
    return ret;
}

int pyrt_channel_open_memory(struct pyrt_broadcaster *broadcaster, uint64_t max_size_bytes, unsigned max_files,
                             struct pyrt_channel **opened)
{
    struct pyrt_channel *channel = calloc(1, sizeof *channel);
    if (!channel)
        return -ENOMEM;
    int ret = pyrt_log_open_memory(&channel->log, max_size_bytes, max_files);
    if (ret < 0)
        free(channel);
    else
        ret = enlist(broadcaster, channel);
    if (ret == 0)
        *opened = channel;
    return ret;
}

int pyrt_channel_open_view(struct pyrt_broadcaster *broadcaster, int dirfd, const char *path, struct pyrt_channel **opened)
{
    struct pyrt_channel *channel = calloc(1, sizeof *channel);
    if (!channel)
        return -ENOMEM;
    channel->path = strdup(path);
    channel->finished = true; /* no stream can be added, and a reader that follows is at the end of it at the end */
    int ret = channel->path ? pyrt_log_open_view(&channel->log, dirfd) : -ENOMEM;
    if (ret < 0) {
        free(channel->path);
        free(channel);
    } else {
        ret = enlist(broadcaster, channel);
    }
    if (ret == 0)
        *opened = channel;
    return ret;
}

uint64_t pyrt_channel_id(const struct pyrt_channel *channel)
{
    return channel->id;
}

void pyrt_channel_close(struct pyrt_channel *channel)
{
    struct pyrt_broadcaster *broadcaster = channel->broadcaster;
    if (broadcaster->pid != getpid())
        return;
    pyrt_enter(broadcaster);
    close_channel(channel);
    if (!broadcaster->stopping)
        signal_fd(broadcaster->wake_fd); /* to free what died */
    pyrt_leave(broadcaster);
}

void pyrt_channel_free(struct pyrt_channel *channel)
{
    pyrt_channel_close(channel);
    free(channel);
}

int pyrt_channel_status(struct pyrt_channel *channel, struct pyrt_channel_status *status)
{
    pyrt_enter(channel->broadcaster);
    int ret = channel->closed ? -EBADF : 0;
    *status = (struct pyrt_channel_status){.lost_bytes = channel->lost_bytes, .paused = channel->paused};
    if (ret == 0) {
        status->start = pyrt_log_start(&channel->log);
        status->end = channel->log.end;
    }
    for (struct stream *stream = channel->streams; stream; stream = stream->next)
        status->streams++;
    for (struct reader *reader = channel->readers; reader; reader = reader->next)
        status->readers++;
    pyrt_leave(channel->broadcaster);
    return ret;
}
