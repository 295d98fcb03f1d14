/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks for lines in logs whose bytes and indexes are random or mutated, and puts random bytes into lines, under a
 * sanitizer: fuzz_lines DIRECTORY COUNT [SEED]. Every result has room for one entry and no byte more.
 */
#include "log_format.h"
#include "log_lines.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_BYTES 3000
#define INDEX_RECORDS 8

static uint64_t state = 1;

static uint32_t draw(uint32_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

static void require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "fuzz_lines: %s\n", what);
    abort();
}

static void write_file(int dirfd, uint64_t base, const char *suffix, const void *data, size_t size)
{
    char name[PYRT_LOG_NAME];
    pyrt_log_name(name, base, suffix);
    int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    require(fd >= 0 && write(fd, data, size) == (ssize_t)size, name);
    close(fd);
}

static size_t fill_log(unsigned char *log)
{
    size_t size = 0;
    while (size < LOG_BYTES - 100 && draw(60) > 0) {
        size_t length = draw(60);
        pyrt_frame_encode(log + size, PYRT_STDOUT + draw(3), length);
        size += PYRT_FRAME_HEADER;
        for (size_t i = 0; i < length; i++)
            log[size++] = draw(8) ? (unsigned char)draw(256) : '\n';
    }
    for (uint32_t wrong = draw(4); wrong > 1 && size > 0; wrong--)
        log[draw((uint32_t)size)] = (unsigned char)draw(256);
    return size;
}

static void check_log(int dirfd)
{
    unsigned char log[LOG_BYTES], index[INDEX_RECORDS * PYRT_LOG_INDEX_RECORD];
    uint64_t base = 0;
    for (uint32_t segments = 1 + draw(3); segments > 0; segments--) {
        size_t size = fill_log(log), records = draw(INDEX_RECORDS + 1);
        write_file(dirfd, base, "log", log, size);
        for (size_t i = 0; i < sizeof index; i++)
            index[i] = i % 8 < 6 ? 0 : (unsigned char)draw(256);
        write_file(dirfd, base, "idx", index, records * PYRT_LOG_INDEX_RECORD);
        base += size + draw(2) * draw(50);
    }
    struct pyrt_log view;
    require(pyrt_log_open_view(&view, dirfd) == 0, "a view is opened");
    struct pyrt_lines lines = {.tail = draw(2) ? draw(30) : PYRT_ALL_LINES, .since_ns = draw(2) * draw(65536),
                               .until_ns = draw(2) ? draw(65536) : UINT64_MAX};
    struct pyrt_cut cut;
    uint64_t damaged;
    int ret = pyrt_log_cut(&view, &lines, &cut, &damaged);
    require(ret <= 0, "0 or an error");
    require(ret < 0 || (cut.from <= view.end && cut.end <= view.end), "what is found lies in the log");
    for (struct pyrt_segment *segment = view.oldest; segment; segment = segment->next) {
        char name[PYRT_LOG_NAME];
        pyrt_log_name(name, segment->base, "log");
        unlinkat(dirfd, name, 0);
        pyrt_log_name(name, segment->base, "idx");
        unlinkat(dirfd, name, 0);
    }
    pyrt_log_close(&view);
}

static void check_format(void)
{
    struct pyrt_formatter formatter;
    pyrt_formatter_init(&formatter, draw(2) ? PYRT_STYLE_JSON : PYRT_STYLE_TIMES, draw(2));
    uint32_t newline = 1 + draw(40000), kind = draw(3);
    for (uint32_t turns = draw(6); turns > 0; turns--) {
        size_t size = 1 + draw(40000), taken = 0;
        unsigned char *data = malloc(size);
        for (size_t i = 0; i < size; i++)
            data[i] = draw(newline) == 0 ? '\n' : kind == 0 ? 0xff : kind == 1 ? 1 : (unsigned char)draw(256);
        unsigned type = PYRT_STDOUT + draw(3);
        while (taken < size) {
            struct pyrt_formatted out = {.data = malloc(PYRT_ENTRY_MAX), .capacity = PYRT_ENTRY_MAX};
            ssize_t part = pyrt_format(&formatter, type, (uint64_t)draw(1u << 31) << draw(33), data + taken, size - taken, &out);
            require(part > 0, "something is taken");
            pyrt_format_close(&formatter, &out);
            free(out.data);
            taken += (size_t)part;
        }
        free(data);
    }
    while (pyrt_format_pending(&formatter)) {
        struct pyrt_formatted out = {.data = malloc(2 * PYRT_ENTRY_MAX), .capacity = 2 * PYRT_ENTRY_MAX};
        require(pyrt_format_rests(&formatter, &out) == 1, "there is room");
        pyrt_format_close(&formatter, &out);
        free(out.data);
    }
    pyrt_formatter_free(&formatter);
}

int main(int argc, char **argv)
{
    require(argc > 2, "fuzz_lines DIRECTORY COUNT [SEED]");
    int dirfd = open(argv[1], O_RDONLY | O_DIRECTORY);
    require(dirfd >= 0, argv[1]);
    long count = atol(argv[2]);
    state += argc > 3 ? (uint64_t)atol(argv[3]) : 0;
    for (long i = 0; i < count; i++) {
        check_log(dirfd);
        if (i % 20 == 0)
            check_format();
    }
    close(dirfd);
    printf("%ld logs\n", count);
    return 0;
}
