/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tar stream as a sequence of entries: header blocks with the extensions (GNU long names, PAX) folded in.
 *
 * It touches no file: the bytes come from a function, the entries go to the caller, so that it can be fuzzed on a
 * buffer. All memory is in struct tar_reader, allocated once by the caller; nothing grows with the archive.
 */
#ifndef PYRT_UNTAR_READER_H
#define PYRT_UNTAR_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "header.h"
#include "name.h"

#define READER_BUFFER (256 * 1024)
#define READER_META_MAX (1024 * 1024)        /* one PAX header; an extended attribute holds at most 64 KiB */
#define READER_XATTRS_MAX 64
#define READER_XATTR_NAME_MAX 255
#define READER_PADDING_MAX (16 * 1024 * 1024) /* zeros behind the end; GNU tar's largest usual block is 10 MiB */
#define READER_TEXT 160

struct tar_xattr {
    char name[READER_XATTR_NAME_MAX + 1];
    struct tar_bytes value; /* inside the reader's PAX buffer, good until the next tar_next() */
};

struct tar_entry {
    enum tar_type type;            /* never one of the extensions */
    char name[NAME_BYTES_MAX + 1]; /* clean; "" is the root itself */
    char link[NAME_BYTES_MAX + 1]; /* symlink: as written; hard link: clean */
    uint32_t mode, uid, gid, major, minor;
    uint64_t size;
    struct timespec mtime;
    size_t xattr_count;
    struct tar_xattr xattrs[READER_XATTRS_MAX]; /* every namespace; the caller decides which it takes */
};

/* Like read(2): bytes, 0 at the end, -errno. */
typedef ssize_t (*tar_source)(void *context, uint8_t *into, size_t room);

struct tar_reader {
    tar_source source;
    void *context;
    uint64_t offset;    /* bytes of the archive consumed */
    uint64_t data_left; /* of the current entry's content */
    uint32_t pad_left;  /* up to its next block */
    char text[READER_TEXT]; /* after an error: what was wrong, to follow the entry's name if there is one */
    size_t start, end;      /* the unread part of buffer */
    struct tar_bytes raw_name, raw_link;
    struct {
        bool path, link, size, uid, gid, mtime; /* which of these the PAX header gives */
        struct tar_bytes path_value, link_value;
        int64_t size_value, uid_value, gid_value;
        struct timespec mtime_value;
    } pax;
    size_t gnu_name_bytes, gnu_link_bytes; /* 0: none */
    uint8_t gnu_name[NAME_BYTES_MAX + 1], gnu_link[NAME_BYTES_MAX + 1];
    uint8_t joined[256]; /* ustar's prefix, slash, name */
    uint8_t meta[READER_META_MAX];
    uint8_t buffer[READER_BUFFER];
};

/*
 * The next entry; what is left of the one before is skipped. 1: an entry; 0: the archive has ended well, and nothing
 * but zeros follows; -errno with reader->text (ENODATA: truncated). entry->name is set as soon as it is known.
 */
int tar_next(struct tar_reader *reader, struct tar_entry *entry);

/* A piece of the current entry's content, borrowed until the next call. Its length; 0: all of it was given; -errno. */
ssize_t tar_content(struct tar_reader *reader, const uint8_t **data);

#endif
