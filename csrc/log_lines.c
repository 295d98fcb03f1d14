/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding lines from behind. Frames can only be walked forward, so the log is taken in windows, the last one first, each
 * of which begins at a frame that the index knows; one that the index was wrong about begins with its segment.
 */
#define _GNU_SOURCE
#include "log_lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_WINDOW ((uint64_t)64 * 1024)
#define LARGEST_WINDOW ((uint64_t)8 << 20)
#define NOWHERE UINT64_MAX

/* A byte of output, or what follows a frame. */
struct place {
    uint64_t offset, frame; /* frame: the boundary at or before it */
};

/* --- the end --- */

static int find_end(struct pyrt_log *view, uint64_t *end)
{
    struct pyrt_segment *segment = view->newest;
    *end = view->end;
    if (!segment)
        return 0;
    int ret = pyrt_log_acquire(view, segment);
    if (ret < 0)
        return ret == -ENOENT ? 0 : ret;
    uint64_t from = pyrt_log_indexed(view, segment, UINT64_MAX), stopped = from, payload;
    ret = pyrt_log_walk(segment->fd, from, segment->size, UINT64_MAX, &stopped, &payload);
    if (ret == 0 && stopped == from && from > 0)
        ret = pyrt_log_walk(segment->fd, 0, segment->size, UINT64_MAX, &stopped, &payload);
    pyrt_log_release(view, segment);
    *end = segment->base + stopped;
    return ret;
}

/* --- the last lines --- */

struct tally {
    uint64_t newlines;
    struct {
        bool seen, open; /* open: its last byte is no newline */
        uint64_t last;   /* offset of its last byte */
    } streams[4];
};

static bool count(void *context, const struct pyrt_piece *piece)
{
    struct tally *tally = context;
    const unsigned char *at = piece->data, *end = piece->data + piece->size;
    while ((at = memchr(at, '\n', (size_t)(end - at)))) {
        tally->newlines++;
        at++;
    }
    tally->streams[piece->type].seen = true;
    tally->streams[piece->type].open = end[-1] != '\n';
    tally->streams[piece->type].last = piece->at + piece->size - 1;
    return false;
}

struct hunt {
    uint64_t left;     /* ends of lines until the one that is wanted, itself included */
    uint64_t rests[4]; /* where a stream ends without a newline, or NOWHERE */
    struct place found;
};

static bool hunt(void *context, const struct pyrt_piece *piece)
{
    struct hunt *hunted = context;
    const unsigned char *at = piece->data, *end = piece->data + piece->size;
    while ((at = memchr(at, '\n', (size_t)(end - at)))) {
        if (--hunted->left == 0) {
            hunted->found = (struct place){piece->at + (uint64_t)(at - piece->data), piece->frame};
            return true;
        }
        at++;
    }
    if (hunted->rests[piece->type] != piece->at + piece->size - 1)
        return false;
    hunted->found = (struct place){hunted->rests[piece->type], piece->frame};
    return --hunted->left == 0;
}

struct window {
    struct pyrt_segment *segment;
    uint64_t low, high; /* frame boundaries */
};

/* Counts in a window of at least `size` bytes that ends at window->high, and finds out where it begins. */
static int count_window(struct pyrt_log *view, struct window *window, uint64_t size, struct tally *tally, uint64_t *stopped)
{
    struct pyrt_segment *segment = window->segment;
    window->low = segment->base;
    if (window->high - segment->base > size)
        window->low += pyrt_log_indexed(view, segment, window->high - size);
    *tally = (struct tally){0};
    int ret = pyrt_log_scan(view, window->low, window->high, count, tally, stopped);
    if (window->low == segment->base || (ret == 0 && *stopped == window->high) || (ret < 0 && ret != -EBADMSG))
        return ret;
    window->low = segment->base; /* the index misled */
    *tally = (struct tally){0};
    return pyrt_log_scan(view, window->low, window->high, count, tally, stopped);
}

/* The oldest of the last `wanted` lines before `end`: where it ends, or the log's start when there are not so many. */
static int find_tail(struct pyrt_log *view, uint64_t wanted, uint64_t end, struct place *place, uint64_t *stopped)
{
    struct pyrt_segment **segments = calloc(view->count ? view->count : 1, sizeof *segments);
    if (!segments)
        return -ENOMEM;
    size_t number = 0;
    for (struct pyrt_segment *segment = view->oldest; segment && segment->base < end; segment = segment->next)
        segments[number++] = segment;

    uint64_t size = FIRST_WINDOW, high = end;
    bool seen[4] = {false};
    int ret = 0;
    place->offset = place->frame = pyrt_log_start(view);
    while (ret == 0 && wanted > 0 && number > 0) {
        struct window window = {.segment = segments[number - 1]};
        uint64_t segment_end = window.segment->base + window.segment->size;
        window.high = high < segment_end ? high : segment_end;
        struct tally tally;
        ret = count_window(view, &window, size, &tally, stopped);
        if (ret < 0)
            break;
        struct hunt hunted = {.rests = {NOWHERE, NOWHERE, NOWHERE, NOWHERE}};
        uint64_t ends = tally.newlines;
        for (unsigned type = PYRT_STDOUT; type <= PYRT_STDERR; type++) {
            if (!seen[type] && tally.streams[type].seen && tally.streams[type].open) {
                hunted.rests[type] = tally.streams[type].last;
                ends++;
            }
            seen[type] = seen[type] || tally.streams[type].seen;
        }
        if (ends >= wanted) {
            hunted.left = ends - wanted + 1;
            ret = pyrt_log_scan(view, window.low, window.high, hunt, &hunted, stopped);
            *place = hunted.found;
            break;
        }
        wanted -= ends;
        high = window.low;
        if (high <= window.segment->base)
            number--;
        size = size < LARGEST_WINDOW ? size * 2 : size;
    }
    free(segments);
    return ret;
}

/* --- where the lines begin that end at a place or behind it --- */

struct beginning {
    uint64_t place; /* offset */
    struct {
        bool known, rest, goes_on; /* rest: there is something between start and place; goes_on: and more behind it */
        uint64_t start, frame;
    } streams[4];
};

static bool look_back(void *context, const struct pyrt_piece *piece)
{
    struct beginning *beginning = context;
    bool reaches_over = piece->at + piece->size > beginning->place;
    if (reaches_over)
        beginning->streams[piece->type].goes_on = true;
    if (piece->at >= beginning->place)
        return true;
    size_t size = reaches_over ? (size_t)(beginning->place - piece->at) : piece->size;
    const unsigned char *newline = memrchr(piece->data, '\n', size);
    if (newline) {
        uint64_t start = piece->at + (uint64_t)(newline - piece->data) + 1;
        beginning->streams[piece->type].known = true;
        beginning->streams[piece->type].start = start;
        beginning->streams[piece->type].frame = start < piece->frame_end ? piece->frame : piece->frame_end;
        beginning->streams[piece->type].rest = start < piece->at + size;
    } else {
        if (!beginning->streams[piece->type].known) {
            beginning->streams[piece->type].known = true;
            beginning->streams[piece->type].start = piece->at;
            beginning->streams[piece->type].frame = piece->frame;
        }
        beginning->streams[piece->type].rest = true;
    }
    return reaches_over;
}

static bool look_ahead(void *context, const struct pyrt_piece *piece)
{
    struct beginning *beginning = context;
    beginning->streams[piece->type].goes_on = true;
    for (unsigned type = PYRT_STDOUT; type <= PYRT_STDERR; type++)
        if (beginning->streams[type].rest && !beginning->streams[type].goes_on)
            return false;
    return true;
}

/* Damage that far back is none of the reader's affair: what lies behind it is wanted. */
static int search_back(struct pyrt_log *view, struct beginning *beginning)
{
    uint64_t start = pyrt_log_start(view), place = beginning->place;
    uint64_t target = place - start > PYRT_LINE_REACH ? place - PYRT_LINE_REACH : start;
    struct pyrt_segment *segment = pyrt_log_find(view, target);
    if (!segment)
        return 0;
    uint64_t low = segment->base;
    if (target > low)
        low += pyrt_log_indexed(view, segment, target);
    struct beginning untouched = *beginning;
    uint64_t stopped;
    int ret = pyrt_log_scan(view, low, place, look_back, beginning, &stopped);
    if (ret == -EBADMSG && low > segment->base) { /* the index misled */
        *beginning = untouched;
        ret = pyrt_log_scan(view, segment->base, place, look_back, beginning, &stopped);
    }
    if (ret == -EBADMSG) {
        *beginning = untouched;
        ret = 0;
    }
    return ret;
}

static int find_starts(struct pyrt_log *view, const struct place *place, struct pyrt_cut *cut)
{
    struct beginning beginning = {.place = place->offset};
    int ret = search_back(view, &beginning);
    if (ret < 0)
        return ret;
    bool asking = false;
    for (unsigned type = PYRT_STDOUT; type <= PYRT_STDERR; type++)
        asking = asking || (beginning.streams[type].rest && !beginning.streams[type].goes_on);
    if (asking) {
        uint64_t far = place->frame + PYRT_LINE_REACH, stopped;
        ret = pyrt_log_scan(view, place->frame, far < cut->end ? far : cut->end, look_ahead, &beginning, &stopped);
        if (ret < 0 && ret != -EBADMSG)
            return ret;
    }
    cut->from = place->frame;
    for (unsigned type = 0; type < 4; type++) {
        cut->starts[type] = place->offset;
        if (!beginning.streams[type].rest || !beginning.streams[type].goes_on)
            continue;
        cut->starts[type] = beginning.streams[type].start;
        if (beginning.streams[type].frame < cut->from)
            cut->from = beginning.streams[type].frame;
    }
    return 0;
}

static struct place later(struct place left, struct place right)
{
    return left.offset > right.offset ? left : right;
}

static struct place boundary(uint64_t offset)
{
    return (struct place){offset, offset};
}

int pyrt_log_cut(struct pyrt_log *view, const struct pyrt_lines *lines, struct pyrt_cut *cut, uint64_t *damaged)
{
    *damaged = 0;
    uint64_t start = pyrt_log_start(view);
    *cut = (struct pyrt_cut){.from = start};
    int ret = find_end(view, &cut->end);
    if (ret < 0)
        return ret;
    if (lines->until_ns < INT64_MAX) {
        uint64_t end = pyrt_log_since(view, lines->until_ns + 1);
        cut->end = end < cut->end ? end : cut->end;
    }
    struct place place = boundary(start);
    if (lines->since_ns > 0)
        place = later(place, boundary(pyrt_log_since(view, lines->since_ns)));
    if (lines->tail != PYRT_ALL_LINES) {
        struct place tail = boundary(cut->end);
        if (lines->tail > 0)
            ret = find_tail(view, lines->tail, cut->end, &tail, damaged);
        place = later(place, tail);
    }
    if (ret < 0 || place.offset <= start)
        return ret;
    if (place.offset < cut->end)
        return find_starts(view, &place, cut);
    cut->from = cut->end;
    for (unsigned type = 0; type < 4; type++)
        cut->starts[type] = cut->end;
    return 0;
}
