/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the frame parser: fuzz_frames COUNT [SEED]. Each input is frames, mutated or not, or noise, given to the parser
 * in random pieces through a buffer of random size; what comes out must be what a slow and obvious reading says.
 */
#include "frames.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX 4096

static uint64_t state;

static uint32_t draw(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

static void require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "fuzz_frames: %s\n", what);
    abort();
}

static size_t make_input(unsigned char *input)
{
    static const unsigned char types[] = {0, 1, 2, 3, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30};
    size_t size = 0;
    while (draw(8) > 0) {
        size_t length = draw(2) ? draw(16) : draw(900);
        if (size + PYRT_FRAME_HEADER + length > INPUT_MAX)
            break;
        require(pyrt_frame_encode(input + size, types[draw(sizeof types)], length) == PYRT_FRAME_HEADER, "encode");
        size += PYRT_FRAME_HEADER;
        for (size_t i = 0; i < length; i++)
            input[size++] = (unsigned char)draw(256);
    }
    if (size > 0 && draw(2))
        for (uint32_t i = draw(4); i > 0; i--)
            input[draw((uint32_t)size)] ^= (unsigned char)(1 << draw(8));
    if (draw(4) == 0)
        for (uint32_t i = draw(32); i > 0 && size < INPUT_MAX; i--)
            input[size++] = (unsigned char)draw(256);
    if (size > 0 && draw(4) == 0)
        size = draw((uint32_t)size);
    return size;
}

/* The obvious reading of a header, to compare with. */
static bool is_header(const unsigned char *data, size_t max_payload, size_t *length)
{
    *length = (size_t)data[4] << 24 | (size_t)data[5] << 16 | (size_t)data[6] << 8 | data[7];
    bool known = data[0] <= 3 || (data[0] >= 16 && data[0] <= 30);
    return known && !data[1] && !data[2] && !data[3] && *length <= max_payload;
}

static void run_one(const unsigned char *input, size_t size)
{
    size_t max_payload = draw(2) ? 1024 : draw(300);
    size_t capacity = PYRT_FRAME_HEADER + max_payload + (draw(2) ? 0 : draw(2000));
    unsigned char *buffer = malloc(capacity); /* its own allocation, so that ASan sees its ends */
    struct pyrt_parser parser;
    struct pyrt_frame frame;
    size_t given = 0, checked = 0;
    int ret = 0;
    pyrt_parser_init(&parser, buffer, capacity, max_payload);

    while (ret >= 0 && given < size) {
        unsigned char *space;
        size_t room = pyrt_parser_space(&parser, &space);
        require(room > 0, "no room though all frames were taken");
        size_t part = 1 + draw(draw(2) ? 9 : 2000);
        part = part < room ? part : room;
        part = part < size - given ? part : size - given;
        memcpy(space, input + given, part);
        pyrt_parser_filled(&parser, part);
        given += part;
        while ((ret = pyrt_parser_next(&parser, &frame)) > 0) {
            size_t length;
            require(is_header(input + checked, max_payload, &length), "a frame out of nothing");
            require(frame.type == input[checked] && frame.length == length, "a header read wrong");
            require(checked + PYRT_FRAME_HEADER + length <= given, "a frame before it was there");
            require(memcmp(frame.payload, input + checked + PYRT_FRAME_HEADER, length) == 0, "a payload changed");
            checked += PYRT_FRAME_HEADER + length;
        }
        require(pyrt_parser_needs(&parser) <= capacity, "a frame that cannot fit");
    }
    require(parser.end - parser.begin == given - checked, "bytes lost");
    if (given - checked >= PYRT_FRAME_HEADER) {
        size_t length;
        bool good = is_header(input + checked, max_payload, &length);
        require(good == (ret == 0), "refused wrongly, or not at all");
        require(!good || given - checked < PYRT_FRAME_HEADER + length, "a whole frame not returned");
    }
    if (ret < 0)
        require(pyrt_parser_next(&parser, &frame) == ret, "an error that does not stay");
    free(buffer);
}

int main(int argc, char **argv)
{
    unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 10) : 200000;
    state = argc > 2 ? strtoull(argv[2], NULL, 10) | 1 : 0x9e3779b97f4a7c15;
    unsigned char *input = malloc(INPUT_MAX);
    for (unsigned long i = 0; i < count; i++)
        run_one(input, make_input(input));
    free(input);
    printf("%lu inputs\n", count);
    return 0;
}
