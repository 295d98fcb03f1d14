/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a stretch of a log forward, block by block, and shows the output in it piece by piece. */
#include "log_lines.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCK_BYTES ((size_t)65536)

struct scan {
    struct pyrt_log *log;
    struct pyrt_segment *segment; /* acquired, or NULL */
    unsigned char *block;         /* owned */
    uint64_t block_at;            /* offset */
    size_t block_size;
};

static int enter_segment(struct scan *scan, uint64_t *position)
{
    if (scan->segment)
        pyrt_log_release(scan->log, scan->segment);
    scan->block_size = 0;
    scan->segment = pyrt_log_find(scan->log, *position);
    if (!scan->segment)
        return 0;
    if (*position < scan->segment->base)
        *position = scan->segment->base;
    int ret = pyrt_log_acquire(scan->log, scan->segment);
    if (ret == -ENOENT) { /* dropped meanwhile, by the cap */
        *position = scan->segment->base + scan->segment->size;
        ret = 0;
        scan->segment = NULL;
    } else if (ret < 0) {
        scan->segment = NULL;
    }
    return ret;
}

/* What is in memory of the log at `position`, read if there are not `least` bytes; 0 when there are not that many. */
static ssize_t look(struct scan *scan, uint64_t position, size_t least, const unsigned char **data)
{
    if (position < scan->block_at || position + least > scan->block_at + scan->block_size) {
        const struct pyrt_segment *segment = scan->segment;
        uint64_t left = segment->base + segment->size - position;
        size_t size = left < BLOCK_BYTES ? (size_t)left : BLOCK_BYTES;
        ssize_t got = pread(segment->fd, scan->block, size, (off_t)(position - segment->base));
        if (got < 0)
            return -errno;
        scan->block_at = position;
        scan->block_size = (size_t)got;
    }
    size_t held = (size_t)(scan->block_at + scan->block_size - position);
    *data = scan->block + (position - scan->block_at);
    return held < least ? 0 : (ssize_t)held;
}

/* Shows the payload of one frame. Returns 1 when `visit` has seen enough, 0 at its end. */
static int show_frame(struct scan *scan, struct pyrt_piece *piece, pyrt_visit *visit, void *context)
{
    for (piece->at = piece->frame + PYRT_FRAME_HEADER; piece->at < piece->frame_end; piece->at += piece->size) {
        ssize_t held = look(scan, piece->at, 1, &piece->data);
        if (held <= 0)
            return held < 0 ? (int)held : -EBADMSG;
        uint64_t left = piece->frame_end - piece->at;
        piece->size = (uint64_t)held < left ? (size_t)held : (size_t)left;
        if (visit(context, piece))
            return 1;
    }
    return 0;
}

/* One frame. Returns 0 and moves `position` on, also over a torn one; 1 when `visit` has seen enough. */
static int scan_frame(struct scan *scan, uint64_t *position, pyrt_visit *visit, void *context)
{
    uint64_t end = scan->segment->base + scan->segment->size;
    const unsigned char *header;
    ssize_t held = look(scan, *position, PYRT_FRAME_HEADER, &header);
    if (held < 0)
        return (int)held;
    struct pyrt_frame frame;
    size_t size = held > 0 ? (size_t)held : (size_t)(scan->block_at + scan->block_size - *position);
    int ret = pyrt_frame_decode(header, size, PYRT_FRAME_MAX, &frame);
    if (ret < 0 || (ret > 0 && !pyrt_log_is_frame(&frame)))
        return -EBADMSG;
    if (ret == 0 || *position + PYRT_FRAME_HEADER + frame.length > end) {
        *position = end;
        return 0;
    }
    struct pyrt_piece piece = {
        .type = frame.type, .frame = *position, .frame_end = *position + PYRT_FRAME_HEADER + frame.length};
    ret = frame.type == PYRT_NOTICE ? 0 : show_frame(scan, &piece, visit, context);
    if (ret == 0)
        *position = piece.frame_end;
    return ret;
}

int pyrt_log_scan(struct pyrt_log *view, uint64_t from, uint64_t to, pyrt_visit *visit, void *context, uint64_t *stopped)
{
    struct scan scan = {.log = view, .block = malloc(BLOCK_BYTES)};
    if (!scan.block)
        return -ENOMEM;
    uint64_t position = from;
    int ret = 0;
    while (ret == 0 && position < to && position < view->end) {
        if (!scan.segment || position >= scan.segment->base + scan.segment->size) {
            ret = enter_segment(&scan, &position);
            continue;
        }
        ret = scan_frame(&scan, &position, visit, context);
    }
    if (scan.segment)
        pyrt_log_release(view, scan.segment);
    free(scan.block);
    *stopped = position;
    return ret < 0 ? ret : 0;
}
