/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Feeds mutated archives to the extractor's parser, on buffers in memory: fuzz_tar SEED ROUNDS. Built with ASan and
 * UBSan; aborts where something it promises does not hold. The same seed gives the same run.
 */
#undef NDEBUG
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "untar/reader.h"

#define ARCHIVE_MAX 16384

struct memory {
    const uint8_t *data;
    size_t length, offset;
};

static uint64_t state;

static uint32_t random32(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 20) % below;
}

static ssize_t read_memory(void *context, uint8_t *into, size_t room)
{
    struct memory *memory = context;
    size_t size = memory->length - memory->offset;

    size = size > room ? room : size;
    if (size > 700)
        size = 1 + random32(700); /* pipes give what they like */
    memcpy(into, memory->data + memory->offset, size);
    memory->offset += size;
    return (ssize_t)size;
}

static void checksum(uint8_t *block)
{
    unsigned sum = 0;

    memset(block + 148, ' ', 8);
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += block[i];
    snprintf((char *)block + 148, 8, "%06o", sum);
}

static size_t add(uint8_t *at, char type, const char *name, const char *link, const void *content, size_t size)
{
    size_t padded = (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;

    memset(at, 0, TAR_BLOCK + padded);
    snprintf((char *)at, 100, "%s", name);
    memcpy(at + 100, "0000644", 7);
    snprintf((char *)at + 124, 12, "%011zo", size);
    at[156] = (uint8_t)type;
    snprintf((char *)at + 157, 100, "%s", link);
    memcpy(at + 257, "ustar\0" "00", 8);
    checksum(at);
    memcpy(at + TAR_BLOCK, content, size);
    return TAR_BLOCK + padded;
}

/* An archive that has everything in it. */
static size_t build(uint8_t *at)
{
    static const char PAX[] = "30 mtime=1350244992.023960108\n14 path=a/b/c\n17 linkpath=../x\n11 size=10\n"
                              "35 SCHILY.xattr.user.name=some val\n14 uid=100000\n";
    uint8_t *start = at;

    at += add(at, '5', "dir/", "", "", 0);
    at += add(at, 'x', "pax", "", PAX, sizeof PAX - 1);
    at += add(at, '0', "dir/file", "", "0123456789", 10);
    at += add(at, 'L', "././@LongLink", "", "a/very/../long//name/.wh.x", 27);
    at += add(at, '0', "cut", "", "x", 1);
    at += add(at, 'K', "././@LongLink", "", "target/of/link", 15);
    at += add(at, '1', "hard", "target", "", 0);
    at += add(at, '2', "soft", "/etc/passwd", "", 0);
    at += add(at, '3', "null", "", "", 0);
    at += add(at, 'g', "global", "", "16 comment=hello\n", 17);
    memset(at, 0, 2 * TAR_BLOCK);
    return (size_t)(at + 2 * TAR_BLOCK - start);
}

static void mutate(uint8_t *data, size_t *length)
{
    static const uint8_t INTERESTING[] = {0, 0xff, 0x80, 0x7f, '/', '.', '0', '7', '9', ' ', '-', '=', '\n', 'x', 'L', 'K'};

    for (uint32_t n = 1 + random32(6); n > 0; n--) {
        size_t block = random32((uint32_t)(*length / TAR_BLOCK)) * TAR_BLOCK, at = block + random32(TAR_BLOCK);
        switch (random32(6)) {
        case 0:
            data[at] = (uint8_t)random32(256);
            break;
        case 1:
            data[at] = INTERESTING[random32(sizeof INTERESTING)];
            break;
        case 2: /* a number field */
            memset(data + block + 124, INTERESTING[random32(sizeof INTERESTING)], 1 + random32(12));
            break;
        case 3: /* a name of ups and downs */
            for (size_t i = 0, size = 1 + random32(100); i < size; i++)
                data[block + i] = (uint8_t)"./wh.a"[random32(6)];
            break;
        case 4: /* one block over another */
            memmove(data + block, data + random32((uint32_t)(*length / TAR_BLOCK)) * TAR_BLOCK, TAR_BLOCK);
            break;
        default:
            if (random32(8) == 0)
                *length -= random32((uint32_t)(*length / 2));
            break;
        }
        if (block + TAR_BLOCK <= *length && memcmp(data + block + 257, "ustar", 5) == 0 && random32(8))
            checksum(data + block);
        if (*length < TAR_BLOCK)
            return;
    }
}

static void check_name(const char *name)
{
    assert(strlen(name) <= NAME_BYTES_MAX);
    assert(name[0] != '/' && (name[0] == '\0' || name[strlen(name) - 1] != '/'));
    assert(!strstr(name, "//") && strncmp(name, "../", 3) != 0 && !strstr(name, "/../") && strcmp(name, "..") != 0);
    assert(strlen(name) < 3 || strcmp(name + strlen(name) - 3, "/..") != 0);
    if (name_kind(name) == NAME_WHITEOUT) {
        const char *hidden = name_base(name) + 4;
        assert(*hidden && strcmp(hidden, ".") != 0 && strcmp(hidden, "..") != 0 && !strchr(hidden, '/'));
    }
}

static int read_all(struct tar_reader *reader, struct tar_entry *entry, const uint8_t *archive, size_t length)
{
    uint8_t *data = malloc(length ? length : 1); /* exactly as long as it is, for ASan */
    struct memory memory = {data, length, 0};
    const uint8_t *content;
    int ret, entries = 0;
    ssize_t got;

    memcpy(data, archive, length);
    memset(reader, 0, offsetof(struct tar_reader, gnu_name));
    reader->source = read_memory;
    reader->context = &memory;
    while ((ret = tar_next(reader, entry)) > 0) {
        uint64_t seen = 0;
        check_name(entry->name);
        if (entry->type == TAR_HARDLINK)
            check_name(entry->link);
        assert(entry->mode <= 07777 && entry->uid != UINT32_MAX && entry->mtime.tv_nsec < 1000000000);
        for (size_t i = 0; i < entry->xattr_count; i++)
            for (size_t j = 0; j < entry->xattrs[i].value.length; j++)
                state += entry->xattrs[i].value.data[j]; /* touch them */
        if (random32(2))
            while ((got = tar_content(reader, &content)) > 0)
                seen += (uint64_t)got;
        assert(seen <= entry->size);
        entries++;
    }
    assert(ret == 0 || reader->text[0]);
    assert(reader->offset <= length);
    free(data);
    return entries;
}

/* The pure functions by themselves, on bytes without any form. */
static void try_pieces(void)
{
    size_t length = random32(64), offset = 0;
    uint8_t *data = malloc(length + 1);
    struct tar_record record;
    struct timespec when;
    char clean[NAME_BYTES_MAX + 1];
    int64_t number;

    for (size_t i = 0; i < length; i++)
        data[i] = (uint8_t)(random32(2) ? "0123456789 =\n./-\x80\xff\0"[random32(19)] : (int)random32(256));
    tar_number(data, length, &number);
    if (tar_decimal(data, length, &number) == 0)
        assert(number >= 0);
    if (tar_time(data, length, &when) == 0)
        assert(when.tv_nsec >= 0 && when.tv_nsec < 1000000000);
    while (tar_record_next(data, length, &offset, &record) > 0)
        assert(offset <= length && record.value.data + record.value.length < data + length);
    if (name_clean(data, length, clean) >= 0)
        check_name(clean);
    free(data);
}

int main(int argc, char **argv)
{
    static struct tar_reader reader;
    static struct tar_entry entry;
    static uint8_t seed_archive[ARCHIVE_MAX], archive[ARCHIVE_MAX];
    size_t whole = build(seed_archive), entries = 0;
    long rounds = argc > 2 ? strtol(argv[2], NULL, 10) : 100000;

    state = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    assert(read_all(&reader, &entry, seed_archive, whole) == 6);
    for (long i = 0; i < rounds; i++) {
        size_t length = whole;
        memcpy(archive, seed_archive, whole);
        mutate(archive, &length);
        entries += (size_t)read_all(&reader, &entry, archive, length);
        try_pieces();
    }
    printf("%ld archives, %zu entries\n", rounds, entries);
    return 0;
}
