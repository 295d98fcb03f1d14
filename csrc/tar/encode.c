/* SPDX-License-Identifier: Apache-2.0 */
/* Writes header blocks; see encode.h. */
#include "tar/encode.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

/* POSIX.1-1988's fields: where they are, and what octal digits can say in them. */
enum { NAME_BYTES = 100, LINK_BYTES = 100, PREFIX_BYTES = 155 };
#define OCTAL_7 07777777
#define OCTAL_11 077777777777

static void octal(uint8_t *field, int digits, uint64_t value)
{
    for (int i = digits; i-- > 0; value >>= 3)
        field[i] = (uint8_t)('0' + (value & 7));
}

static void finish_block(uint8_t *block)
{
    unsigned sum = 0;

    memcpy(block + 257, "ustar\0" "00", 8);
    memset(block + 148, ' ', 8);
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += block[i];
    octal(block + 148, 6, sum);
    block[154] = '\0';
}

/* "LENGTH KEY=VALUE\n", where LENGTH counts itself. */
static int add_record(struct bytes *records, const char *key, const void *value, size_t length)
{
    size_t rest = 1 + strlen(key) + 1 + length + 1, whole;
    char digits[24];
    int used = 0;

    do {
        whole = rest + (size_t)used;
        used = snprintf(digits, sizeof digits, "%zu", whole);
    } while (whole != rest + (size_t)used);
    if (bytes_append(records, digits, (size_t)used) < 0 || bytes_append(records, " ", 1) < 0 ||
        bytes_append(records, key, strlen(key)) < 0 || bytes_append(records, "=", 1) < 0 ||
        bytes_append(records, value, length) < 0 || bytes_append(records, "\n", 1) < 0)
        return -ENOMEM;
    return 0;
}

static int add_number(struct bytes *records, const char *key, uint64_t value)
{
    char text[24];

    return add_record(records, key, text, (size_t)snprintf(text, sizeof text, "%" PRIu64, value));
}

/* A fraction belongs to the next lower second, so half a second before the epoch is -0.5, and (-1 s, 0.5e9 ns). */
static int add_time(struct bytes *records, const char *key, struct timespec when)
{
    bool negative = when.tv_sec < 0;
    uint64_t seconds = negative ? (uint64_t)0 - (uint64_t)when.tv_sec : (uint64_t)when.tv_sec;
    long nanoseconds = when.tv_nsec;
    char text[48];
    int used;

    if (negative && nanoseconds) {
        seconds--;
        nanoseconds = 1000000000 - nanoseconds;
    }
    used = snprintf(text, sizeof text, "%s%" PRIu64 ".%09ld", negative ? "-" : "", seconds, nanoseconds);
    while (text[used - 1] == '0')
        used--;
    used -= text[used - 1] == '.';
    return add_record(records, key, text, (size_t)used);
}

/* Split a name of more than 100 bytes at a slash. The length of its first part, or 0 where it cannot be split. */
static size_t split(const char *name, size_t length)
{
    for (size_t at = length > NAME_BYTES ? length - NAME_BYTES - 1 : 0; at <= PREFIX_BYTES && at + 1 < length; at++)
        if (at > 0 && name[at] == '/')
            return at;
    return 0;
}

static int collect_records(const struct tar_item *item, size_t name_length, size_t link_length, struct bytes *records)
{
    int ret = 0;

    if (name_length > NAME_BYTES && !split(item->name, name_length))
        ret = ret < 0 ? ret : add_record(records, "path", item->name, name_length);
    if (link_length > LINK_BYTES)
        ret = ret < 0 ? ret : add_record(records, "linkpath", item->link, link_length);
    if (item->size > OCTAL_11)
        ret = ret < 0 ? ret : add_number(records, "size", item->size);
    if (item->uid > OCTAL_7)
        ret = ret < 0 ? ret : add_number(records, "uid", item->uid);
    if (item->gid > OCTAL_7)
        ret = ret < 0 ? ret : add_number(records, "gid", item->gid);
    if (item->mtime.tv_nsec || item->mtime.tv_sec < 0 || item->mtime.tv_sec > OCTAL_11)
        ret = ret < 0 ? ret : add_time(records, "mtime", item->mtime);
    for (size_t i = 0; ret == 0 && i < item->xattr_count; i++) {
        char key[16 + 256];

        snprintf(key, sizeof key, "SCHILY.xattr.%s", item->xattrs[i].name);
        ret = add_record(records, key, item->xattrs[i].value, item->xattrs[i].length);
    }
    return ret;
}

static int add_block(const struct tar_item *item, size_t name_length, size_t link_length, struct bytes *out)
{
    size_t prefix = name_length > NAME_BYTES ? split(item->name, name_length) : 0;
    const char *name = prefix ? item->name + prefix + 1 : item->name;
    size_t left = name_length - (size_t)(name - item->name);
    uint8_t *block;

    if (bytes_reserve(out, TAR_BLOCK) < 0)
        return -ENOMEM;
    block = out->data + out->used;
    memset(block, 0, TAR_BLOCK);
    memcpy(block, name, left > NAME_BYTES ? NAME_BYTES : left);
    memcpy(block + 345, item->name, prefix);
    octal(block + 100, 7, item->mode & 07777);
    octal(block + 108, 7, item->uid > OCTAL_7 ? 0 : item->uid);
    octal(block + 116, 7, item->gid > OCTAL_7 ? 0 : item->gid);
    octal(block + 124, 11, item->size > OCTAL_11 ? 0 : item->size);
    octal(block + 136, 11, item->mtime.tv_sec < 0 || item->mtime.tv_sec > OCTAL_11 ? 0 : (uint64_t)item->mtime.tv_sec);
    block[156] = (uint8_t)item->type;
    if (link_length)
        memcpy(block + 157, item->link, link_length > LINK_BYTES ? LINK_BYTES : link_length);
    octal(block + 329, 7, item->major);
    octal(block + 337, 7, item->minor);
    finish_block(block);
    out->used += TAR_BLOCK;
    return 0;
}

/* The PAX header is an entry of its own, whose content are the records. */
static int add_extension(const struct bytes *records, struct bytes *out)
{
    static const uint8_t ZEROS[TAR_BLOCK];
    struct tar_item item = {.type = TAR_PAX, .name = "PaxHeaders", .mode = 0644, .size = records->used};

    if (add_block(&item, strlen(item.name), 0, out) < 0 || bytes_append(out, records->data, records->used) < 0)
        return -ENOMEM;
    return bytes_append(out, ZEROS, (TAR_BLOCK - records->used % TAR_BLOCK) % TAR_BLOCK);
}

int encode_item(const struct tar_item *item, struct bytes *out)
{
    size_t name_length = strlen(item->name), link_length = item->link ? strlen(item->link) : 0;
    struct bytes records = {0};
    int ret = collect_records(item, name_length, link_length, &records);

    if (ret == 0 && records.used)
        ret = add_extension(&records, out);
    if (ret == 0)
        ret = add_block(item, name_length, link_length, out);
    bytes_free(&records);
    return ret;
}
