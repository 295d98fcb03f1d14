/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the archive; see output.h. */
#define _GNU_SOURCE
#include "tar/output.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#define PIECE_BYTES (1024 * 1024) /* a frame's most */
#define SMALL_BYTES (64 * 1024)   /* up to here copying costs less than a system call more */
#define MIN(a, b) ((a) < (b) ? (a) : (b))

static int wait_for_room(int fd)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};

    while (poll(&room, 1, -1) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

static int send_bytes(int fd, const uint8_t *data, size_t length)
{
    while (length > 0) {
        ssize_t done = write(fd, data, length);
        if (done >= 0) {
            data += done;
            length -= (size_t)done;
            continue;
        }
        int ret = errno == EAGAIN ? wait_for_room(fd) : errno == EINTR ? 0 : -errno;
        if (ret < 0)
            return ret;
    }
    return 0;
}

static void put_frame_header(const struct output *output, uint8_t *header, size_t length)
{
    memset(header, 0, OUTPUT_FRAME_HEADER);
    header[0] = output->stream;
    for (int i = 0; i < 4; i++)
        header[4 + i] = (uint8_t)(length >> (24 - 8 * i));
}

int output_flush(struct output *output)
{
    size_t header = output->framed ? OUTPUT_FRAME_HEADER : 0, used = output->used;

    if (used == 0)
        return 0;
    if (header)
        put_frame_header(output, output->buffer, used);
    output->used = 0;
    return send_bytes(output->fd, output->buffer + OUTPUT_FRAME_HEADER - header, header + used);
}

/* The buffer's free part, which is never empty on success. */
static int make_room(struct output *output, uint8_t **at, size_t *room)
{
    int ret = output->used == OUTPUT_BUFFER ? output_flush(output) : 0;

    *at = output->buffer + OUTPUT_FRAME_HEADER + output->used;
    *room = OUTPUT_BUFFER - output->used;
    return ret;
}

static void filled(struct output *output, size_t length)
{
    output->used += length;
    output->total += length;
}

int output_write(struct output *output, const void *data, size_t length)
{
    const uint8_t *from = data;
    uint8_t *at;
    size_t room;
    int ret;

    for (; length > 0; from += room, length -= room) {
        if ((ret = make_room(output, &at, &room)) < 0)
            return ret;
        room = MIN(room, length);
        memcpy(at, from, room);
        filled(output, room);
    }
    return 0;
}

int output_zeros(struct output *output, uint64_t length)
{
    uint8_t *at;
    size_t room;
    int ret;

    for (; length > 0; length -= room) {
        if ((ret = make_room(output, &at, &room)) < 0)
            return ret;
        room = (size_t)MIN(room, length);
        memset(at, 0, room);
        filled(output, room);
    }
    return 0;
}

/* Through the buffer: small files, and what sendfile(2) cannot do. */
static int copy_file(struct output *output, int file_fd, off_t offset, uint64_t length, uint64_t *missing)
{
    uint8_t *at;
    size_t room;
    int ret;

    while (length > 0) {
        if ((ret = make_room(output, &at, &room)) < 0)
            return ret;
        ssize_t got = pread(file_fd, at, (size_t)MIN(room, length), offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            int code = got < 0 ? errno : 0;
            *missing += length;
            return code ? -code : output_zeros(output, length);
        }
        filled(output, (size_t)got);
        offset += got;
        length -= (uint64_t)got;
    }
    return 0;
}

/* Like sendfile(2), for the file systems that it does not know; the buffer is empty. */
static ssize_t send_copy(struct output *output, int file_fd, off_t *offset, size_t length)
{
    ssize_t got = pread(file_fd, output->buffer, MIN(length, OUTPUT_BUFFER), *offset);
    int ret = got > 0 ? send_bytes(output->fd, output->buffer, (size_t)got) : 0;

    if (ret < 0) {
        errno = -ret;
        return -1;
    }
    *offset += got > 0 ? got : 0;
    return got;
}

/* One frame, or a piece of the plain stream. */
static int send_piece(struct output *output, int file_fd, off_t offset, size_t length, uint64_t *missing)
{
    static const uint8_t ZEROS[4096];
    uint8_t header[OUTPUT_FRAME_HEADER];
    int reading = 0, ret = 0;
    bool copying = false;
    size_t left = length;

    if (output->framed) {
        put_frame_header(output, header, length);
        ret = send_bytes(output->fd, header, sizeof header);
    }
    while (left > 0 && ret == 0) {
        ssize_t done = copying ? send_copy(output, file_fd, &offset, left) : sendfile(output->fd, file_fd, &offset, left);
        if (done > 0) {
            left -= (size_t)done;
        } else if (done == 0) {
            break;
        } else if (errno == EAGAIN) {
            ret = wait_for_room(output->fd);
        } else if (errno == EINVAL && !copying) {
            copying = true;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return -errno;
        } else if (errno != EINTR) {
            reading = -errno;
            break;
        }
    }
    *missing += left;
    while (left > 0 && ret == 0) {
        ret = send_bytes(output->fd, ZEROS, MIN(left, sizeof ZEROS));
        left -= MIN(left, sizeof ZEROS);
    }
    output->total += length;
    return ret < 0 ? ret : reading;
}

int output_file(struct output *output, int file_fd, off_t offset, uint64_t length, uint64_t *missing)
{
    int ret;

    if (length <= SMALL_BYTES)
        return copy_file(output, file_fd, offset, length, missing);
    if ((ret = output_flush(output)) < 0)
        return ret;
    while (length > 0 && ret == 0) {
        size_t piece = (size_t)MIN(length, PIECE_BYTES);

        ret = send_piece(output, file_fd, offset, piece, missing);
        offset += (off_t)piece;
        length -= piece;
    }
    return ret;
}
