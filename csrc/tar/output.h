/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the archive goes: a descriptor, blocking or not, to which either the plain bytes are written or frames of
 * one stream (csrc/frames.h), as a client reads them. Small pieces are gathered; what large files hold goes from the page
 * cache to the descriptor without passing through this process.
 *
 * A frame that was begun is always finished, so whoever holds the other end of the descriptor can go on with frames of
 * his own after an error. Functions return 0 or -errno.
 */
#ifndef PYRT_TAR_OUTPUT_H
#define PYRT_TAR_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define OUTPUT_FRAME_HEADER 8
#define OUTPUT_BUFFER (256 * 1024)

struct output {
    int fd;
    bool framed;
    uint8_t stream; /* the frames' type */
    uint64_t total; /* bytes of the archive so far */
    size_t used;
    uint8_t buffer[OUTPUT_FRAME_HEADER + OUTPUT_BUFFER];
};

int output_write(struct output *output, const void *data, size_t length);

int output_zeros(struct output *output, uint64_t length);

/*
 * Exactly `length` bytes of the file from `offset` on. A file that ends before that is continued with zeros; *missing
 * is how many. -errno of reading counts *missing as well.
 */
int output_file(struct output *output, int file_fd, off_t offset, uint64_t length, uint64_t *missing);

int output_flush(struct output *output);

#endif
