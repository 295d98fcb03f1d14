/* SPDX-License-Identifier: Apache-2.0 */
/* Turns a stream of blocks into entries; see reader.h. */
#include "reader.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MIN(a, b) ((a) < (b) ? (a) : (b))

__attribute__((format(printf, 3, 4))) static int fail(struct tar_reader *reader, int code, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reader->text, sizeof reader->text, format, arguments);
    va_end(arguments);
    return -code;
}

static int truncated(struct tar_reader *reader)
{
    return fail(reader, ENODATA, "layer is truncated after %llu bytes",
                (unsigned long long)(reader->offset + (reader->end - reader->start)));
}

/* Read until `wanted` bytes (at most the buffer's size) stand at buffer[start]. How many do: fewer at the end. */
static ssize_t fill(struct tar_reader *reader, size_t wanted)
{
    if (reader->end - reader->start >= wanted)
        return (ssize_t)wanted;
    memmove(reader->buffer, reader->buffer + reader->start, reader->end - reader->start);
    reader->end -= reader->start;
    reader->start = 0;
    while (reader->end < wanted) {
        ssize_t got = reader->source(reader->context, reader->buffer + reader->end, READER_BUFFER - reader->end);
        if (got < 0)
            return fail(reader, (int)-got, "the archive cannot be read");
        if (got == 0)
            return (ssize_t)reader->end;
        reader->end += (size_t)got;
    }
    return (ssize_t)wanted;
}

static void consume(struct tar_reader *reader, size_t bytes)
{
    reader->start += bytes;
    reader->offset += bytes;
}

ssize_t tar_content(struct tar_reader *reader, const uint8_t **data)
{
    ssize_t got;
    size_t piece;

    if (reader->data_left == 0)
        return 0;
    if (reader->end == reader->start) {
        got = fill(reader, 1);
        if (got <= 0)
            return got < 0 ? got : truncated(reader);
    }
    piece = (size_t)MIN(reader->data_left, reader->end - reader->start);
    *data = reader->buffer + reader->start;
    consume(reader, piece);
    reader->data_left -= piece;
    return (ssize_t)piece;
}

static int skip_content(struct tar_reader *reader)
{
    const uint8_t *ignored;
    ssize_t got;

    while ((got = tar_content(reader, &ignored)) > 0)
        ;
    if (got < 0)
        return (int)got;
    got = fill(reader, reader->pad_left);
    if (got < 0)
        return (int)got;
    if (got < (ssize_t)reader->pad_left)
        return truncated(reader);
    consume(reader, reader->pad_left);
    reader->pad_left = 0;
    return 0;
}

/* The size in a header decides how far the next header is, so it is checked before anything else is done with it. */
static int begin_content(struct tar_reader *reader, int64_t size)
{
    if (size < 0)
        return fail(reader, EINVAL, "has a negative size");
    if (size > INT64_MAX - TAR_BLOCK)
        return fail(reader, EOVERFLOW, "has an impossible size");
    reader->data_left = (uint64_t)size;
    reader->pad_left = (TAR_BLOCK - (uint32_t)(size % TAR_BLOCK)) % TAR_BLOCK;
    return 0;
}

/* An extension's whole content into `into`, which is larger than `most` bytes. Its length, or -errno. */
static ssize_t load_content(struct tar_reader *reader, int64_t size, uint8_t *into, size_t most)
{
    const uint8_t *data = NULL;
    size_t used = 0;
    ssize_t got;
    int ret;

    if (size < 0 || size > (int64_t)most)
        return fail(reader, size < 0 ? EINVAL : ENAMETOOLONG, "an extended header at byte %llu has %lld bytes, which is %s",
                    (unsigned long long)reader->offset, (long long)size, size < 0 ? "impossible" : "too many");
    if ((ret = begin_content(reader, size)) < 0)
        return ret;
    while ((got = tar_content(reader, &data)) > 0) {
        memcpy(into + used, data, (size_t)got);
        used += (size_t)got;
    }
    if (got < 0)
        return got;
    ret = skip_content(reader);
    return ret < 0 ? ret : (ssize_t)used;
}

static bool key_is(struct tar_bytes key, const char *name)
{
    return key.length == strlen(name) && memcmp(key.data, name, key.length) == 0;
}

static bool key_begins(struct tar_bytes key, const char *name)
{
    return key.length >= strlen(name) && memcmp(key.data, name, strlen(name)) == 0;
}

static int pax_xattr(struct tar_reader *reader, struct tar_entry *entry, struct tar_bytes name, struct tar_bytes value)
{
    struct tar_xattr *xattr;

    if (entry->xattr_count == READER_XATTRS_MAX)
        return fail(reader, E2BIG, "an entry has more than %d extended attributes", READER_XATTRS_MAX);
    if (name.length == 0 || name.length > READER_XATTR_NAME_MAX || memchr(name.data, '\0', name.length))
        return fail(reader, EINVAL, "an entry has an extended attribute with an impossible name");
    xattr = &entry->xattrs[entry->xattr_count++];
    memcpy(xattr->name, name.data, name.length);
    xattr->name[name.length] = '\0';
    xattr->value = value;
    return 0;
}

static int pax_record(struct tar_reader *reader, struct tar_entry *entry, const struct tar_record *record)
{
    static const char XATTR[] = "SCHILY.xattr.";
    struct tar_bytes key = record->key, value = record->value;
    int ret = 0;

    if (key_is(key, "path")) {
        reader->pax.path = value.length > 0; /* an empty value takes an earlier one back */
        reader->pax.path_value = value;
    } else if (key_is(key, "linkpath")) {
        reader->pax.link = value.length > 0;
        reader->pax.link_value = value;
    } else if (key_is(key, "size")) {
        reader->pax.size = value.length > 0;
        ret = value.length ? tar_decimal(value.data, value.length, &reader->pax.size_value) : 0;
    } else if (key_is(key, "uid")) {
        reader->pax.uid = value.length > 0;
        ret = value.length ? tar_decimal(value.data, value.length, &reader->pax.uid_value) : 0;
    } else if (key_is(key, "gid")) {
        reader->pax.gid = value.length > 0;
        ret = value.length ? tar_decimal(value.data, value.length, &reader->pax.gid_value) : 0;
    } else if (key_is(key, "mtime")) {
        reader->pax.mtime = value.length > 0;
        ret = value.length ? tar_time(value.data, value.length, &reader->pax.mtime_value) : 0;
    } else if (key_begins(key, "GNU.sparse.")) {
        return fail(reader, ENOTSUP, "the archive holds a sparse file; make it without --sparse");
    } else if (key_begins(key, XATTR)) {
        struct tar_bytes name = {key.data + strlen(XATTR), key.length - strlen(XATTR)};
        return pax_xattr(reader, entry, name, value);
    }
    return ret < 0 ? fail(reader, EINVAL, "a PAX header at byte %llu holds a number that is none",
                          (unsigned long long)reader->offset)
                   : 0;
}

static int load_pax(struct tar_reader *reader, struct tar_entry *entry, int64_t size)
{
    ssize_t length = load_content(reader, size, reader->meta, READER_META_MAX);
    struct tar_record record;
    size_t offset = 0;
    int ret;

    if (length < 0)
        return (int)length;
    memset(&reader->pax, 0, sizeof reader->pax); /* of two in a row the last one counts */
    entry->xattr_count = 0;
    while ((ret = tar_record_next(reader->meta, (size_t)length, &offset, &record)) > 0)
        if ((ret = pax_record(reader, entry, &record)) < 0)
            return ret;
    return ret < 0 ? fail(reader, EBADMSG, "a PAX header at byte %llu is damaged", (unsigned long long)reader->offset)
                   : 0;
}

/* GNU's long name or link: the content of an entry of its own, NUL terminated. */
static int load_gnu(struct tar_reader *reader, int64_t size, uint8_t *into, size_t *used)
{
    ssize_t length = load_content(reader, size, into, NAME_BYTES_MAX + 1);

    if (length < 0)
        return (int)length;
    *used = strnlen((const char *)into, (size_t)length);
    if (*used > NAME_BYTES_MAX)
        return fail(reader, ENAMETOOLONG, "a name at byte %llu is too long", (unsigned long long)reader->offset);
    return 0;
}

/* ustar splits names of more than 100 bytes; the header's slices are put together in reader->joined. */
static struct tar_bytes header_name(struct tar_reader *reader, const struct tar_header *header)
{
    size_t prefix = header->prefix.length;

    memcpy(reader->joined, header->prefix.data ? header->prefix.data : header->name.data, prefix);
    if (prefix)
        reader->joined[prefix++] = '/';
    memcpy(reader->joined + prefix, header->name.data, header->name.length);
    return (struct tar_bytes){reader->joined, prefix + header->name.length};
}

static int take_name(struct tar_reader *reader, struct tar_entry *entry)
{
    struct tar_bytes name = reader->raw_name;
    int ret;

    /* for messages: as it was written, up to what is sure to fit */
    size_t shown = MIN(name.length, (size_t)NAME_BYTES_MAX);
    memcpy(entry->name, name.data, shown);
    entry->name[shown] = '\0';
    if (name.length == 0)
        return fail(reader, EINVAL, "an entry at byte %llu has no name", (unsigned long long)reader->offset);
    ret = name_clean(name.data, name.length, entry->name);
    if (ret >= 0)
        return 0;
    memcpy(entry->name, name.data, shown);
    entry->name[shown] = '\0';
    if (ret == -EXDEV)
        return fail(reader, EXDEV, "leaves the image");
    return fail(reader, -ret, ret == -EINVAL ? "has a NUL in its name" : "has a name of more than %d bytes",
                NAME_BYTES_MAX);
}

static int take_link(struct tar_reader *reader, struct tar_entry *entry)
{
    struct tar_bytes link = reader->raw_link;
    int ret;

    entry->link[0] = '\0';
    if (entry->type != TAR_HARDLINK && entry->type != TAR_SYMLINK)
        return 0;
    if (link.length == 0)
        return fail(reader, EINVAL, "is a link to nothing");
    if (link.length > NAME_BYTES_MAX)
        return fail(reader, ENAMETOOLONG, "is a link to a name of more than %d bytes", NAME_BYTES_MAX);
    if (memchr(link.data, '\0', link.length))
        return fail(reader, EINVAL, "is a link to a name with a NUL in it");
    if (entry->type == TAR_SYMLINK) { /* any text: it is never followed here */
        memcpy(entry->link, link.data, link.length);
        entry->link[link.length] = '\0';
        return 0;
    }
    ret = name_clean(link.data, link.length, entry->link);
    if (ret == -EXDEV)
        return fail(reader, EXDEV, "is a hard link to '%.*s', which leaves the image", (int)MIN(link.length, 100u),
                    (const char *)link.data);
    return ret < 0 ? fail(reader, -ret, "is a hard link to an impossible name") : 0;
}

static int take_type(struct tar_reader *reader, struct tar_entry *entry, uint8_t type, int64_t size)
{
    bool slash = reader->raw_name.length && reader->raw_name.data[reader->raw_name.length - 1] == '/';

    switch (type) {
    case '\0':
    case '7': /* "contiguous": regular to everybody since 1988 */
    case TAR_REGULAR:
        if (slash && size > 0)
            return fail(reader, EINVAL, "is a file with the name of a directory");
        entry->type = slash ? TAR_DIRECTORY : TAR_REGULAR; /* v7 knew directories by their slash only */
        return 0;
    case TAR_HARDLINK:
    case TAR_SYMLINK:
    case TAR_CHARACTER:
    case TAR_BLOCKDEV:
    case TAR_DIRECTORY:
    case TAR_FIFO:
        entry->type = type;
        return 0;
    case TAR_GNU_SPARSE:
        return fail(reader, ENOTSUP, "is a sparse file; make the archive without --sparse");
    default:
        return fail(reader, ENOTSUP, type > ' ' && type < 0x7f ? "is of the unknown type '%c'" : "is of the unknown type %d",
                    type);
    }
}

static int take_owner(struct tar_reader *reader, struct tar_entry *entry, const struct tar_header *header)
{
    int64_t uid = reader->pax.uid ? reader->pax.uid_value : header->uid;
    int64_t gid = reader->pax.gid ? reader->pax.gid_value : header->gid;

    /* 2^32-1 means "leave it" to chown(2) and would silently give the file to root */
    if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX)
        return fail(reader, EOVERFLOW, "has an impossible owner %lld:%lld", (long long)uid, (long long)gid);
    if (header->major < 0 || header->major > 0xfff || header->minor < 0 || header->minor > 0xfffff)
        return fail(reader, EOVERFLOW, "has impossible device numbers");
    entry->uid = (uint32_t)uid;
    entry->gid = (uint32_t)gid;
    entry->major = (uint32_t)header->major;
    entry->minor = (uint32_t)header->minor;
    return 0;
}

/* Everything an entry says, out of its own header and the extensions that came before it. */
static int take_entry(struct tar_reader *reader, struct tar_entry *entry, const struct tar_header *header)
{
    int64_t size = reader->pax.size ? reader->pax.size_value : header->size;
    int ret;

    reader->raw_name = reader->pax.path ? reader->pax.path_value : header_name(reader, header);
    if (reader->gnu_name_bytes)
        reader->raw_name = (struct tar_bytes){reader->gnu_name, reader->gnu_name_bytes};
    reader->raw_link = reader->pax.link ? reader->pax.link_value : header->link;
    if (reader->gnu_link_bytes)
        reader->raw_link = (struct tar_bytes){reader->gnu_link, reader->gnu_link_bytes};
    if ((ret = take_name(reader, entry)) < 0 || (ret = take_type(reader, entry, header->type, size)) < 0 ||
        (ret = take_link(reader, entry)) < 0 || (ret = take_owner(reader, entry, header)) < 0)
        return ret;
    entry->mode = header->mode;
    entry->mtime = reader->pax.mtime ? reader->pax.mtime_value : (struct timespec){.tv_sec = header->mtime};
    if (size >= 0 && entry->type != TAR_REGULAR)
        size = 0; /* nothing follows any other type, whatever is written there */
    if ((ret = begin_content(reader, size)) < 0)
        return ret;
    entry->size = (uint64_t)size;
    return 0;
}

/* Behind the end only zeros are good: anything else would be silently lost, a second archive for one. */
static int expect_padding(struct tar_reader *reader)
{
    uint64_t end = reader->offset;
    ssize_t got;

    while ((got = fill(reader, 1)) > 0) {
        const uint8_t *data = reader->buffer + reader->start;
        size_t size = reader->end - reader->start;

        if (data[0] != 0 || memcmp(data, data + 1, size - 1) != 0)
            return fail(reader, EBADMSG, "something follows the archive's end at byte %llu", (unsigned long long)end);
        consume(reader, size);
        if (reader->offset - end > READER_PADDING_MAX)
            return fail(reader, EFBIG, "more than %d bytes of padding follow the archive's end", READER_PADDING_MAX);
    }
    return (int)got;
}

static int next_header(struct tar_reader *reader, struct tar_header *header, const uint8_t **block)
{
    ssize_t got = fill(reader, TAR_BLOCK);
    int ret;

    if (got < 0)
        return (int)got;
    if (got < TAR_BLOCK)
        return reader->offset == 0 && got == 0 ? fail(reader, ENODATA, "the archive is empty") : truncated(reader);
    *block = reader->buffer + reader->start;
    ret = tar_header_parse(*block, header);
    if (ret == -EBADMSG)
        return fail(reader, EBADMSG, reader->offset ? "the archive is damaged at byte %llu" : "this is not a tar archive",
                    (unsigned long long)reader->offset);
    if (ret < 0)
        return fail(reader, -ret, "the header at byte %llu holds a number that is none",
                    (unsigned long long)reader->offset);
    consume(reader, TAR_BLOCK); /* the block stays where it is until the next fill() */
    return ret;
}

int tar_next(struct tar_reader *reader, struct tar_entry *entry)
{
    struct tar_header header;
    const uint8_t *block;
    int ret = skip_content(reader);

    entry->name[0] = '\0';
    entry->xattr_count = 0;
    memset(&reader->pax, 0, sizeof reader->pax);
    reader->gnu_name_bytes = reader->gnu_link_bytes = 0;
    while (ret >= 0) {
        ret = next_header(reader, &header, &block);
        if (ret < 0)
            return ret;
        if (ret == 0)
            return expect_padding(reader);
        switch (header.type) {
        case TAR_PAX:
            ret = load_pax(reader, entry, header.size);
            break;
        case TAR_PAX_GLOBAL: /* comments of git and the like; nothing in it is believed */
            ret = header.size < 0 ? fail(reader, EINVAL, "a global header has a negative size")
                                  : begin_content(reader, header.size);
            ret = ret < 0 ? ret : skip_content(reader);
            break;
        case TAR_GNU_NAME:
            ret = load_gnu(reader, header.size, reader->gnu_name, &reader->gnu_name_bytes);
            break;
        case TAR_GNU_LINK:
            ret = load_gnu(reader, header.size, reader->gnu_link, &reader->gnu_link_bytes);
            break;
        default:
            ret = take_entry(reader, entry, &header);
            return ret < 0 ? ret : 1;
        }
    }
    return ret;
}
