/* SPDX-License-Identifier: Apache-2.0 */
/* Walks trees; see walk.h. */
#define _GNU_SOURCE
#include "tar/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RECORD_NAME 2 /* bytes before it: sides as bits, type */
#define LIST_MAX UINT32_MAX

static void close_side(struct walk_level *level, int side)
{
    if (level->fd[side] >= 0)
        close(level->fd[side]);
    level->fd[side] = -1;
}

static void free_level(struct walk_level *level)
{
    for (int side = 0; side < WALK_SIDES; side++)
        close_side(level, side);
    bytes_free(&level->list);
    free(level->order);
}

static int add_name(struct walk_level *level, int side, const struct dirent64 *entry)
{
    uint8_t head[RECORD_NAME] = {(uint8_t)(1 << side), entry->d_type};
    size_t at = level->list.used, length = strlen(entry->d_name) + 1;

    if (at + RECORD_NAME + length > LIST_MAX)
        return -ENOMEM;
    if (bytes_append(&level->list, head, sizeof head) < 0 || bytes_append(&level->list, entry->d_name, length) < 0)
        return -ENOMEM;
    if ((level->count & (level->count - 1)) == 0) { /* a power of two: the array is full */
        uint32_t *order = realloc(level->order, (level->count ? level->count * 2 : 1) * sizeof *order);
        if (!order)
            return -ENOMEM;
        level->order = order;
    }
    level->order[level->count++] = (uint32_t)at;
    return 0;
}

static int list_names(struct walk_level *level, int side)
{
    char buffer[32768] __attribute__((aligned(8)));
    ssize_t got;
    int ret;

    while ((got = syscall(SYS_getdents64, level->fd[side], buffer, sizeof buffer)) > 0) {
        for (ssize_t at = 0; at < got;) {
            const struct dirent64 *entry = (const struct dirent64 *)(buffer + at);

            at += entry->d_reclen;
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                continue;
            if ((ret = add_name(level, side, entry)) < 0)
                return ret;
        }
    }
    /* ENOENT: the directory was removed meanwhile, and so is empty */
    return got < 0 && errno != ENOENT ? -errno : 0;
}

static int compare(const void *a, const void *b, void *list)
{
    const char *records = list;

    return strcmp(records + *(const uint32_t *)a + RECORD_NAME, records + *(const uint32_t *)b + RECORD_NAME);
}

/* Sort the names; one that both sides have is one entry with the first side's type. */
static void sort_names(struct walk_level *level)
{
    uint8_t *records = level->list.data;
    size_t kept = 0;

    if (level->count == 0)
        return;
    qsort_r(level->order, level->count, sizeof *level->order, compare, records);
    for (size_t i = 1; i < level->count; i++) {
        uint8_t *last = records + level->order[kept], *record = records + level->order[i];

        if (strcmp((char *)last + RECORD_NAME, (char *)record + RECORD_NAME) != 0) {
            level->order[++kept] = level->order[i];
            continue;
        }
        if (record[0] & 1 << WALK_NEW)
            last[1] = record[1];
        last[0] |= record[0];
    }
    level->count = kept + 1;
}

static int push_level(struct walk *walk)
{
    struct walk_level *levels;

    if (walk->depth < walk->room)
        return 0;
    levels = realloc(walk->levels, (walk->room ? walk->room * 2 : 16) * sizeof *levels);
    if (!levels)
        return -ENOMEM;
    walk->levels = levels;
    walk->room = walk->room ? walk->room * 2 : 16;
    return 0;
}

/* Where a side ends its last directory stays open: there would be nothing below from which to climb to it. */
static void close_far_above(struct walk *walk)
{
    struct walk_level *above = walk->levels + walk->depth - 1 - WALK_OPEN_MAX;

    for (int side = 0; walk->depth > WALK_OPEN_MAX && side < WALK_SIDES; side++)
        if (above[1].has[side])
            close_side(above, side);
}

int walk_enter(struct walk *walk, const int fd[WALK_SIDES], const bool list[WALK_SIDES], unsigned flags)
{
    struct walk_level level = {.fd = {fd[WALK_NEW], fd[WALK_OLD]}, .flags = flags};
    struct stat status;
    int ret = walk->path.data ? 0 : bytes_append(&walk->path, "", 1);

    level.path_length = walk->path.used - (walk->path.used > 0);
    for (int side = 0; ret == 0 && side < WALK_SIDES; side++) {
        level.has[side] = fd[side] >= 0;
        if (!level.has[side])
            continue;
        if (fstat(fd[side], &status) < 0)
            ret = -errno;
        level.dev[side] = status.st_dev;
        level.ino[side] = status.st_ino;
        if (ret == 0 && list[side])
            ret = list_names(&level, side);
    }
    if (ret == 0)
        ret = push_level(walk);
    if (ret < 0) {
        free_level(&level);
        return ret;
    }
    sort_names(&level);
    walk->levels[walk->depth++] = level;
    close_far_above(walk);
    return 0;
}

/* Open the directory above again, which was closed on the way down. */
static int reopen(const struct walk_level *below, struct walk_level *above, int side)
{
    struct stat status;
    int fd = openat(below->fd[side], "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    if (fstat(fd, &status) < 0 || status.st_dev != above->dev[side] || status.st_ino != above->ino[side]) {
        close(fd);
        return -ESTALE;
    }
    above->fd[side] = fd;
    return 0;
}

static int leave(struct walk *walk)
{
    struct walk_level *level = &walk->levels[walk->depth - 1], *above = level - 1;
    int ret = 0;

    walk->path.used = level->path_length;
    walk->path.data[walk->path.used++] = '\0';
    if (walk->depth > 1)
        for (int side = 0; ret == 0 && side < WALK_SIDES; side++)
            if (above->has[side] && above->fd[side] < 0)
                ret = reopen(level, above, side);
    free_level(level);
    walk->depth--;
    return ret;
}

int walk_next(struct walk *walk, struct walk_entry *entry)
{
    struct walk_level *level;
    const uint8_t *record;
    int ret;

    if (walk->depth == 0)
        return WALK_END;
    level = &walk->levels[walk->depth - 1];
    if (level->next == level->count) {
        ret = leave(walk);
        return ret < 0 ? ret : WALK_LEFT;
    }
    record = level->list.data + level->order[level->next++];
    *entry = (struct walk_entry){
        .name = (const char *)record + RECORD_NAME,
        .fd = {level->fd[WALK_NEW], level->fd[WALK_OLD]},
        .in = {record[0] & 1 << WALK_NEW, record[0] & 1 << WALK_OLD},
        .type = record[1],
    };
    walk->path.used = level->path_length;
    if ((level->path_length && bytes_append(&walk->path, "/", 1) < 0) ||
        bytes_append(&walk->path, entry->name, strlen(entry->name) + 1) < 0)
        return -ENOMEM;
    return WALK_ENTRY;
}

const char *walk_path(const struct walk *walk)
{
    return walk->path.data ? (const char *)walk->path.data : "";
}

struct walk_level *walk_level(struct walk *walk)
{
    return &walk->levels[walk->depth - 1];
}

void walk_free(struct walk *walk)
{
    while (walk->depth > 0)
        free_level(&walk->levels[--walk->depth]);
    free(walk->levels);
    bytes_free(&walk->path);
    *walk = (struct walk){0};
}
