/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a tar archive, decoded: header blocks, numbers, PAX records.
 *
 * Everything here is a pure function of (pointer, length): no allocation, no system call, no state, so that hostile
 * input can be tried against it without a file system. Returns >= 0, or -errno: EBADMSG the bytes are not tar,
 * EOVERFLOW a number that cannot be meant, EINVAL a field that holds rubbish.
 */
#ifndef PYRT_UNTAR_HEADER_H
#define PYRT_UNTAR_HEADER_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define TAR_BLOCK 512

/* The types that are understood; '\0' and '7' are given as TAR_REGULAR. */
enum tar_type {
    TAR_REGULAR = '0',
    TAR_HARDLINK = '1',
    TAR_SYMLINK = '2',
    TAR_CHARACTER = '3',
    TAR_BLOCKDEV = '4',
    TAR_DIRECTORY = '5',
    TAR_FIFO = '6',
    TAR_PAX = 'x',
    TAR_PAX_GLOBAL = 'g',
    TAR_GNU_NAME = 'L',
    TAR_GNU_LINK = 'K',
    TAR_GNU_SPARSE = 'S',
};

/* A run of bytes inside somebody else's buffer; never NUL terminated. */
struct tar_bytes {
    const uint8_t *data;
    size_t length;
};

struct tar_header {
    uint8_t type; /* as in the block: one of enum tar_type, or something unknown */
    struct tar_bytes prefix, name, link; /* slices of the block */
    uint32_t mode;
    int64_t uid, gid, size, mtime, major, minor;
};

/* One PAX record, "LENGTH KEY=VALUE\n". */
struct tar_record {
    struct tar_bytes key, value;
};

/* Decode a block of TAR_BLOCK bytes. 1: a header; 0: a block of zeros, the mark of the archive's end. */
int tar_header_parse(const uint8_t *block, struct tar_header *header);

/* An octal or base-256 field. An empty field is 0. */
int tar_number(const uint8_t *field, size_t length, int64_t *value);

/* The record at *offset, which is moved behind it. 1: a record; 0: no more. */
int tar_record_next(const uint8_t *data, size_t length, size_t *offset, struct tar_record *record);

/* A whole decimal number that is not negative, as PAX writes sizes and owners. */
int tar_decimal(const uint8_t *text, size_t length, int64_t *value);

/* Seconds with an optional sign and fraction, as PAX writes times; beyond int64 it saturates. */
int tar_time(const uint8_t *text, size_t length, struct timespec *value);

#endif
