/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes random entries with the packer's encoder and reads them back with the extractor's parser; sends random pieces
 * through the packer's output and puts the frames together again: fuzz_tar_writer SEED ROUNDS [ARCHIVE]. Built with ASan
 * and UBSan; aborts where what comes back is not what was written. With ARCHIVE one of the archives is kept there.
 */
#define _GNU_SOURCE
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tar/encode.h"
#include "tar/links.h"
#include "tar/output.h"
#include "untar/reader.h"

#define ITEMS 12
#define TEXT_MAX 4000

static uint64_t state;

static uint32_t random32(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 20) % below;
}

struct memory {
    const struct bytes *bytes;
    size_t offset;
};

static ssize_t read_memory(void *context, uint8_t *into, size_t room)
{
    struct memory *memory = context;
    size_t size = memory->bytes->used - memory->offset;

    size = size > room ? room : size;
    size = size > 900 ? 1 + random32(900) : size;
    memcpy(into, memory->bytes->data + memory->offset, size);
    memory->offset += size;
    return (ssize_t)size;
}

/* A clean path of any bytes, of about `length`: what the extractor leaves as it is. Not one that means a whiteout. */
static void random_path(char *out, size_t length)
{
    size_t used = 0;

    while (used < length) {
        size_t component = 1 + random32(random32(4) ? 30 : 250);

        if (used + component + 1 > TEXT_MAX)
            break;
        if (used)
            out[used++] = '/';
        out[used++] = 'x';
        for (size_t i = 1; i < component; i++) {
            char byte = (char)(1 + random32(255));
            out[used++] = byte == '/' ? '_' : byte;
        }
    }
    out[used] = '\0';
}

struct made {
    struct tar_item item;
    char name[TEXT_MAX + 2], link[TEXT_MAX + 2];
    uint8_t content[2000], value[2][400];
    char keys[2][32];
    struct item_xattr xattrs[2];
};

static size_t random_length(void)
{
    static const uint32_t NEAR[] = {98, 99, 100, 101, 154, 155, 156, 254, 255, 256, 257};

    return random32(3) == 0 ? NEAR[random32(sizeof NEAR / sizeof *NEAR)] : random32(4) ? 1 + random32(60) : 1 + random32(3800);
}

static void make(struct made *made)
{
    static const enum tar_type TYPES[] = {TAR_REGULAR, TAR_HARDLINK, TAR_SYMLINK, TAR_CHARACTER, TAR_BLOCKDEV, TAR_DIRECTORY, TAR_FIFO};
    static const uint32_t IDS[] = {0, 1, 07777777, 07777777 + 1, UINT32_MAX - 1};
    static const int64_t SECONDS[] = {0, 1, -1, -2, 077777777777, 077777777777 + 1, INT64_MAX / 2, -(INT64_MAX / 2)};
    struct tar_item *item = &made->item;

    *item = (struct tar_item){.type = TYPES[random32(7)], .name = made->name, .mode = random32(010000)};
    random_path(made->name, random_length());
    if (item->type == TAR_DIRECTORY)
        strcat(made->name, "/");
    if (item->type == TAR_HARDLINK || item->type == TAR_SYMLINK) {
        item->link = made->link;
        random_path(made->link, random_length());
    }
    if (item->type == TAR_CHARACTER || item->type == TAR_BLOCKDEV) {
        item->major = random32(0x1000);
        item->minor = random32(0x100000);
    }
    item->uid = random32(2) ? IDS[random32(5)] : random32(UINT32_MAX);
    item->gid = IDS[random32(5)];
    item->mtime.tv_sec = random32(2) ? SECONDS[random32(8)] : (time_t)random32(UINT32_MAX);
    item->mtime.tv_nsec = random32(2) ? 0 : random32(2) ? (long)random32(1000000000) : (long)random32(10) * 100000000;
    if (item->type == TAR_REGULAR)
        item->size = random32(2) ? 512 * random32(3) : random32(sizeof made->content);
    for (size_t i = 0; i < item->size; i++)
        made->content[i] = (uint8_t)random32(256);
    item->xattrs = made->xattrs;
    item->xattr_count = random32(4) ? 0 : 1 + random32(2);
    for (size_t i = 0; i < item->xattr_count; i++) {
        snprintf(made->keys[i], sizeof made->keys[i], "user.%c%u", (char)('a' + (int)i), random32(1000));
        made->xattrs[i] = (struct item_xattr){made->keys[i], made->value[i], random32(sizeof made->value[i])};
        for (size_t j = 0; j < made->xattrs[i].length; j++)
            made->value[i][j] = (uint8_t)random32(256);
    }
}

static void append(struct bytes *archive, const struct made *made)
{
    static const uint8_t ZEROS[TAR_BLOCK];

    assert(encode_item(&made->item, archive) == 0);
    assert(bytes_append(archive, made->content, made->item.size) == 0);
    assert(bytes_append(archive, ZEROS, (TAR_BLOCK - made->item.size % TAR_BLOCK) % TAR_BLOCK) == 0);
    assert(archive->used % TAR_BLOCK == 0);
}

static void check(struct tar_reader *reader, const struct tar_entry *entry, const struct made *made)
{
    const struct tar_item *item = &made->item;
    size_t length = strlen(item->name) - (item->type == TAR_DIRECTORY), at = 0;
    const uint8_t *data;
    ssize_t got;

    assert(entry->type == item->type && strlen(entry->name) == length && memcmp(entry->name, item->name, length) == 0);
    assert(entry->mode == item->mode && entry->uid == item->uid && entry->gid == item->gid);
    assert(entry->major == item->major && entry->minor == item->minor && entry->size == item->size);
    assert(entry->mtime.tv_sec == item->mtime.tv_sec && entry->mtime.tv_nsec == item->mtime.tv_nsec);
    assert(!item->link || strcmp(entry->link, item->link) == 0);
    assert(entry->xattr_count == item->xattr_count);
    for (size_t i = 0; i < item->xattr_count; i++) {
        assert(strcmp(entry->xattrs[i].name, item->xattrs[i].name) == 0);
        assert(entry->xattrs[i].value.length == item->xattrs[i].length);
        assert(memcmp(entry->xattrs[i].value.data, item->xattrs[i].value, item->xattrs[i].length) == 0);
    }
    while ((got = tar_content(reader, &data)) > 0) {
        assert(memcmp(data, made->content + at, (size_t)got) == 0);
        at += (size_t)got;
    }
    assert(got == 0 && at == item->size);
}

static void try_archive(struct made *made, struct tar_reader *reader, struct tar_entry *entry, struct bytes *archive)
{
    static const uint8_t END[2 * TAR_BLOCK];
    struct memory memory = {archive, 0};

    archive->used = 0;
    for (int i = 0; i < ITEMS; i++) {
        make(&made[i]);
        append(archive, &made[i]);
    }
    assert(bytes_append(archive, END, sizeof END) == 0);
    memset(reader, 0, offsetof(struct tar_reader, gnu_name));
    reader->source = read_memory;
    reader->context = &memory;
    for (int i = 0; i < ITEMS; i++) {
        assert(tar_next(reader, entry) == 1);
        check(reader, entry, &made[i]);
    }
    assert(tar_next(reader, entry) == 0);
}

/* What a reader of frames makes of what was sent; plain bytes stay what they are. */
static struct bytes received(int fd, bool framed)
{
    struct bytes all = {0}, payload = {0};
    off_t end = lseek(fd, 0, SEEK_END);

    assert(bytes_reserve(&all, (size_t)end + 1) == 0);
    assert(pread(fd, all.data, (size_t)end, 0) == end);
    all.used = (size_t)end;
    if (!framed)
        return all;
    for (size_t at = 0; at < all.used;) {
        const uint8_t *header = all.data + at;
        size_t length = (size_t)header[4] << 24 | (size_t)header[5] << 16 | (size_t)header[6] << 8 | header[7];

        assert(at + 8 <= all.used && header[0] == 1 && !header[1] && !header[2] && !header[3]);
        assert(length > 0 && length <= 1024 * 1024 && at + 8 + length <= all.used);
        assert(bytes_append(&payload, header + 8, length) == 0);
        at += 8 + length;
    }
    bytes_free(&all);
    return payload;
}

/* Pieces of every size, and files that end before they should. */
static void try_output(struct output *output)
{
    struct bytes expected = {0}, got;
    int fd = memfd_create("out", 0), file = memfd_create("in", 0);
    uint8_t piece[3000];

    *output = (struct output){.fd = fd, .framed = random32(2), .stream = 1};
    for (uint32_t n = 1 + random32(20); n > 0; n--) {
        uint32_t length = random32(8) ? random32(sizeof piece) : random32(400000);
        uint64_t missing = 0;

        if (length <= sizeof piece && random32(2)) {
            memset(piece, (int)random32(256), length);
            assert(output_write(output, piece, length) == 0 && bytes_append(&expected, piece, length) == 0);
            continue;
        }
        uint32_t there = random32(2) ? length : random32(length + 1), start = random32(100);
        bool zeros = random32(4) == 0;
        assert(bytes_reserve(&expected, length + 1) == 0);
        memset(expected.data + expected.used, 0, length);
        if (zeros) {
            assert(output_zeros(output, length) == 0);
        } else {
            memset(expected.data + expected.used, 'c', there);
            assert(ftruncate(file, 0) == 0 && ftruncate(file, start + there) == 0);
            assert(pwrite(file, expected.data + expected.used, there, start) == (ssize_t)there);
            assert(output_file(output, file, start, length, &missing) == 0 && missing == length - there);
        }
        expected.used += length;
    }
    assert(output_flush(output) == 0 && output->total == expected.used);
    got = received(fd, output->framed);
    assert(got.used == expected.used && (got.used == 0 || memcmp(got.data, expected.data, got.used) == 0));
    bytes_free(&got);
    bytes_free(&expected);
    close(fd);
    close(file);
}

static void try_links(void)
{
    struct links links = {0};
    const char *first;
    char name[32];

    for (uint64_t round = 0; round < 2; round++)
        for (uint64_t i = 0; i < 2000; i++) {
            snprintf(name, sizeof name, "%u.%u", (unsigned)round, (unsigned)i);
            assert(links_meet(&links, i % 3, i, name, &first) == 0);
            assert(round ? first && first[0] == '0' && strcmp(first + 1, name + 1) == 0 : !first);
        }
    links_free(&links);
}

int main(int argc, char **argv)
{
    static struct made made[ITEMS];
    static struct tar_reader reader;
    static struct tar_entry entry;
    static struct output output;
    struct bytes archive = {0};
    long rounds = argc > 2 ? strtol(argv[2], NULL, 10) : 1000;

    state = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    try_links();
    for (long i = 0; i < rounds; i++) {
        try_archive(made, &reader, &entry, &archive);
        if (i % 10 == 0)
            try_output(&output);
    }
    if (argc > 3) {
        FILE *file = fopen(argv[3], "w");
        assert(file && fwrite(archive.data, 1, archive.used, file) == archive.used && fclose(file) == 0);
    }
    bytes_free(&archive);
    printf("%ld archives\n", rounds);
    return 0;
}
