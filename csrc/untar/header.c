/* SPDX-License-Identifier: Apache-2.0 */
/* Decodes header blocks, numbers and PAX records; see header.h. */
#include "header.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* Where the fields of a header block are: POSIX.1-1988, and GNU's and star's variations agree up to here. */
enum {
    NAME = 0, NAME_BYTES = 100,
    MODE = 100, MODE_BYTES = 8,
    UID = 108, UID_BYTES = 8,
    GID = 116, GID_BYTES = 8,
    SIZE = 124, SIZE_BYTES = 12,
    MTIME = 136, MTIME_BYTES = 12,
    CHECKSUM = 148, CHECKSUM_BYTES = 8,
    TYPE = 156,
    LINK = 157, LINK_BYTES = 100,
    MAGIC = 257, /* "ustar\0" POSIX, "ustar " GNU, anything else v7 */
    MAJOR = 329, MAJOR_BYTES = 8,
    MINOR = 337, MINOR_BYTES = 8,
    PREFIX = 345, PREFIX_BYTES = 155, /* GNU keeps other things there */
};

static struct tar_bytes until_nul(const uint8_t *field, size_t length)
{
    return (struct tar_bytes){field, strnlen((const char *)field, length)};
}

/* The top bit of the first byte marks a big endian two's complement number in the other bits. */
static int base256(const uint8_t *field, size_t length, int64_t *value)
{
    bool negative = field[0] & 0x40;
    uint64_t fill = negative ? UINT64_MAX : 0;
    uint64_t number = negative ? (fill << 6 | (field[0] & 0x3f)) : (field[0] & 0x3f);

    for (size_t i = 1; i < length; i++) {
        /* what is shifted out, and the new top bit, must be nothing but sign */
        if ((number >> 55) != (fill >> 55))
            return -EOVERFLOW;
        number = number << 8 | field[i];
    }
    memcpy(value, &number, sizeof number);
    return 0;
}

int tar_number(const uint8_t *field, size_t length, int64_t *value)
{
    uint64_t number = 0;
    size_t i = 0;

    *value = 0;
    if (length && (field[0] & 0x80))
        return base256(field, length, value);
    while (i < length && field[i] == ' ')
        i++;
    for (; i < length && field[i] >= '0' && field[i] <= '7'; i++) {
        if (number >> 60)
            return -EOVERFLOW;
        number = number << 3 | (uint64_t)(field[i] - '0');
    }
    if (i < length && field[i] != ' ' && field[i] != '\0')
        return -EINVAL;
    *value = (int64_t)number;
    return 0;
}

/* The sum of all bytes with the checksum's own field taken as spaces; historic tars summed signed bytes. */
static bool checksum_holds(const uint8_t *block)
{
    int64_t stored, plain = 0, is_signed = 0;

    for (size_t i = 0; i < TAR_BLOCK; i++) {
        bool own = i >= CHECKSUM && i < CHECKSUM + CHECKSUM_BYTES;
        plain += own ? ' ' : block[i];
        is_signed += own ? ' ' : (int8_t)block[i];
    }
    if (tar_number(block + CHECKSUM, CHECKSUM_BYTES, &stored) < 0)
        return false;
    return stored == plain || stored == is_signed;
}

static bool all_zeros(const uint8_t *block)
{
    return block[0] == 0 && memcmp(block, block + 1, TAR_BLOCK - 1) == 0;
}

int tar_header_parse(const uint8_t *block, struct tar_header *header)
{
    int64_t mode;

    memset(header, 0, sizeof *header);
    if (all_zeros(block))
        return 0;
    if (!checksum_holds(block))
        return -EBADMSG;
    header->type = block[TYPE];
    header->name = until_nul(block + NAME, NAME_BYTES);
    header->link = until_nul(block + LINK, LINK_BYTES);
    if (tar_number(block + MODE, MODE_BYTES, &mode) < 0 || tar_number(block + UID, UID_BYTES, &header->uid) < 0 ||
        tar_number(block + GID, GID_BYTES, &header->gid) < 0 || tar_number(block + SIZE, SIZE_BYTES, &header->size) < 0 ||
        tar_number(block + MTIME, MTIME_BYTES, &header->mtime) < 0)
        return -EINVAL;
    header->mode = (uint32_t)mode & 07777; /* writers put the file's type into the upper bits */
    if (memcmp(block + MAGIC, "ustar", 5) != 0)
        return 1;
    if (block[MAGIC + 5] == '\0')
        header->prefix = until_nul(block + PREFIX, PREFIX_BYTES);
    /* Only devices have these; other writers leave anything there. */
    if (header->type != TAR_CHARACTER && header->type != TAR_BLOCKDEV)
        return 1;
    if (tar_number(block + MAJOR, MAJOR_BYTES, &header->major) < 0 ||
        tar_number(block + MINOR, MINOR_BYTES, &header->minor) < 0)
        return -EINVAL;
    return 1;
}

int tar_decimal(const uint8_t *text, size_t length, int64_t *value)
{
    int64_t number = 0;

    if (length == 0)
        return -EINVAL;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -EINVAL;
        if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, text[i] - '0', &number))
            return -EOVERFLOW;
    }
    *value = number;
    return 0;
}

static int fraction(const uint8_t *text, size_t length, long *nanoseconds)
{
    long scale = 100000000;

    *nanoseconds = 0;
    for (size_t i = 0; i < length; i++, scale /= 10) { /* finer digits meet scale 0 and fall away */
        if (text[i] < '0' || text[i] > '9')
            return -EINVAL;
        *nanoseconds += scale * (text[i] - '0');
    }
    return 0;
}

int tar_time(const uint8_t *text, size_t length, struct timespec *value)
{
    bool negative = length && text[0] == '-';
    const uint8_t *digits = text + negative, *point;
    size_t rest = length - negative, whole;
    int64_t seconds;
    long nanoseconds = 0;
    int ret;

    point = rest ? memchr(digits, '.', rest) : NULL;
    whole = point ? (size_t)(point - digits) : rest;
    ret = tar_decimal(digits, whole, &seconds);
    if (ret == -EOVERFLOW)
        seconds = INT64_MAX;
    else if (ret < 0)
        return ret;
    if (point && (ret = fraction(point + 1, rest - whole - 1, &nanoseconds)) < 0)
        return ret;
    if (negative) {
        seconds = -seconds - (nanoseconds > 0); /* -1.5 s is half a second after -2 s */
        nanoseconds = nanoseconds ? 1000000000 - nanoseconds : 0;
    }
    *value = (struct timespec){.tv_sec = seconds, .tv_nsec = nanoseconds};
    return 0;
}

int tar_record_next(const uint8_t *data, size_t length, size_t *offset, struct tar_record *record)
{
    const uint8_t *start = data + *offset, *space, *equals;
    size_t left = length - *offset, body;
    int64_t size;

    if (left == 0)
        return 0;
    space = memchr(start, ' ', left < 20 ? left : 20); /* the length has at most 19 digits */
    if (!space || tar_decimal(start, (size_t)(space - start), &size) < 0)
        return -EINVAL;
    body = (size_t)(space - start) + 1;
    if ((uint64_t)size > left || (uint64_t)size < body + 2 || start[size - 1] != '\n')
        return -EINVAL;
    equals = memchr(space + 1, '=', (size_t)size - 1 - body);
    if (!equals || equals == space + 1)
        return -EINVAL;
    record->key = (struct tar_bytes){space + 1, (size_t)(equals - space - 1)};
    record->value = (struct tar_bytes){equals + 1, (size_t)(start + size - 1 - (equals + 1))};
    *offset += (size_t)size;
    return 1;
}
