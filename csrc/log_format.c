/* SPDX-License-Identifier: Apache-2.0 */
/* Puts lines together that come in parts, and writes them with their times or as JSON. */
#include "log_format.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void pyrt_formatter_init(struct pyrt_formatter *formatter, enum pyrt_style style, bool framed)
{
    *formatter = (struct pyrt_formatter){.style = style, .framed = framed, .second = -1};
}

void pyrt_formatter_free(struct pyrt_formatter *formatter)
{
    for (unsigned type = 0; type < 4; type++) {
        free(formatter->lines[type].bytes);
        formatter->lines[type].bytes = NULL;
    }
}

/* Two decimal digits. */
static void put_two(char *out, int number)
{
    out[0] = (char)('0' + number / 10 % 10);
    out[1] = (char)('0' + number % 10);
}

#define TIME_BYTES 30

/* RFC 3339, UTC, nine digits behind the point. The date is made once a second. */
static const char *time_text(struct pyrt_formatter *formatter, uint64_t time_ns)
{
    time_t second = (time_t)(time_ns / 1000000000u);
    char *text = formatter->text;
    if (second != formatter->second) {
        struct tm tm = {0};
        gmtime_r(&second, &tm);
        int year = tm.tm_year + 1900;
        put_two(text, year / 100);
        put_two(text + 2, year);
        put_two(text + 5, tm.tm_mon + 1);
        put_two(text + 8, tm.tm_mday);
        put_two(text + 11, tm.tm_hour);
        put_two(text + 14, tm.tm_min);
        put_two(text + 17, tm.tm_sec);
        text[4] = text[7] = '-';
        text[10] = 'T';
        text[13] = text[16] = ':';
        text[19] = '.';
        text[29] = 'Z';
        formatter->second = second;
    }
    uint32_t rest = (uint32_t)(time_ns % 1000000000u);
    for (int i = 28; i > 19; i--, rest /= 10)
        text[i] = (char)('0' + rest % 10);
    return text;
}

static void put(struct pyrt_formatted *out, const void *data, size_t size)
{
    memcpy(out->data + out->size, data, size);
    out->size += size;
}

void pyrt_format_close(struct pyrt_formatter *formatter, struct pyrt_formatted *out)
{
    if (formatter->framed && out->type != PYRT_STDIN)
        pyrt_frame_encode(out->data + out->frame, out->type, out->size - out->frame - PYRT_FRAME_HEADER);
    out->type = PYRT_STDIN;
}

/* Makes what follows part of a frame of this type. */
static void open_frame(struct pyrt_formatter *formatter, struct pyrt_formatted *out, unsigned type)
{
    if (!formatter->framed || out->type == type)
        return;
    pyrt_format_close(formatter, out);
    out->type = type;
    out->frame = out->size;
    out->size += PYRT_FRAME_HEADER;
}

static void put_json(struct pyrt_formatter *formatter, unsigned type, uint64_t time_ns, const unsigned char *data,
                     size_t size, struct pyrt_formatted *out)
{
    static const char log[] = "{\"log\":\"", streams[2][23] = {"\",\"stream\":\"stdout\"", "\",\"stream\":\"stderr\""},
                      raw[] = ",\"base64\":\"", moment[] = ",\"time\":\"";
    bool clean;
    open_frame(formatter, out, PYRT_STDOUT);
    put(out, log, sizeof log - 1);
    out->size += pyrt_json_escape(out->data + out->size, data, size, &clean);
    put(out, streams[type == PYRT_STDERR], strlen(streams[0]));
    put(out, moment, sizeof moment - 1);
    put(out, time_text(formatter, time_ns), TIME_BYTES);
    put(out, "\"", 1);
    if (!clean) {
        put(out, raw, sizeof raw - 1);
        out->size += pyrt_base64(out->data + out->size, data, size);
        put(out, "\"", 1);
    }
    put(out, "}\n", 2);
}

/* One line, or a piece of one. There is room for it. */
static void put_line(struct pyrt_formatter *formatter, unsigned type, uint64_t time_ns, const unsigned char *data,
                     size_t size, struct pyrt_formatted *out)
{
    bool ends = data[size - 1] == '\n';
    if (formatter->style == PYRT_STYLE_JSON) {
        put_json(formatter, type, time_ns, data, size, out);
    } else {
        open_frame(formatter, out, type);
        if (!formatter->lines[type].continued) {
            put(out, time_text(formatter, time_ns), TIME_BYTES);
            put(out, " ", 1);
        }
        put(out, data, size);
    }
    formatter->lines[type].continued = !ends;
}

/* Whole pieces, shown as they are. */
static ssize_t pass_on(struct pyrt_formatter *formatter, unsigned type, const unsigned char *data, size_t size,
                       struct pyrt_formatted *out)
{
    size_t taken = size < PYRT_LINE_BYTES ? size : PYRT_LINE_BYTES;
    if (formatter->framed) {
        open_frame(formatter, out, type);
        put(out, data, taken);
    }
    return (ssize_t)taken;
}

/* Adds to the line that has begun, and shows it when it ends or is full. Returns the bytes taken. */
static ssize_t collect(struct pyrt_formatter *formatter, unsigned type, uint64_t time_ns, const unsigned char *data,
                       size_t size, struct pyrt_formatted *out)
{
    unsigned char *bytes = formatter->lines[type].bytes;
    if (!bytes) {
        bytes = formatter->lines[type].bytes = malloc(PYRT_LINE_BYTES);
        if (!bytes)
            return -ENOMEM;
    }
    size_t held = formatter->lines[type].size, room = PYRT_LINE_BYTES - held;
    size_t part = size < room ? size : room;
    const unsigned char *newline = memchr(data, '\n', part);
    if (newline)
        part = (size_t)(newline - data) + 1;
    memcpy(bytes + held, data, part);
    held += part;
    formatter->lines[type].time_ns = time_ns;
    formatter->lines[type].turn = formatter->turn++;
    size_t kept = held;
    if (newline || held == PYRT_LINE_BYTES) {
        kept = newline ? 0 : pyrt_utf8_cut(bytes, held);
        put_line(formatter, type, time_ns, bytes, held - kept, out);
        memmove(bytes, bytes + held - kept, kept);
    }
    formatter->lines[type].size = kept;
    if (kept == 0) {
        free(bytes);
        formatter->lines[type].bytes = NULL;
    }
    return (ssize_t)part;
}

ssize_t pyrt_format(struct pyrt_formatter *formatter, unsigned type, uint64_t time_ns, const unsigned char *data,
                    size_t size, struct pyrt_formatted *out)
{
    size_t taken = 0;
    while (taken < size && out->capacity - out->size >= PYRT_ENTRY_MAX) {
        const unsigned char *at = data + taken;
        size_t left = size - taken;
        ssize_t part;
        if (type == PYRT_NOTICE) {
            part = pass_on(formatter, type, at, left, out);
        } else {
            /* Nearly every line lies whole in one block, and is not copied. */
            size_t reach = left < PYRT_LINE_BYTES ? left : PYRT_LINE_BYTES;
            const unsigned char *newline = formatter->lines[type].size > 0 ? NULL : memchr(at, '\n', reach);
            if (newline) {
                part = newline - at + 1;
                put_line(formatter, type, time_ns, at, (size_t)part, out);
            } else {
                part = collect(formatter, type, time_ns, at, left, out);
            }
        }
        if (part < 0)
            return part;
        taken += (size_t)part;
    }
    return (ssize_t)taken;
}

bool pyrt_format_pending(const struct pyrt_formatter *formatter)
{
    return formatter->lines[PYRT_STDOUT].size > 0 || formatter->lines[PYRT_STDERR].size > 0;
}

static unsigned next_rest(const struct pyrt_formatter *formatter)
{
    bool out = formatter->lines[PYRT_STDOUT].size > 0, err = formatter->lines[PYRT_STDERR].size > 0;
    bool out_first = !err || formatter->lines[PYRT_STDOUT].turn < formatter->lines[PYRT_STDERR].turn;
    return out && out_first ? PYRT_STDOUT : PYRT_STDERR;
}

int pyrt_format_rests(struct pyrt_formatter *formatter, struct pyrt_formatted *out)
{
    while (pyrt_format_pending(formatter)) {
        if (out->capacity - out->size < PYRT_ENTRY_MAX)
            return 0;
        unsigned type = next_rest(formatter);
        put_line(formatter, type, formatter->lines[type].time_ns, formatter->lines[type].bytes,
                 formatter->lines[type].size, out);
        formatter->lines[type].size = 0;
        free(formatter->lines[type].bytes);
        formatter->lines[type].bytes = NULL;
    }
    formatter->lines[PYRT_STDOUT].continued = formatter->lines[PYRT_STDERR].continued = false;
    return 1;
}
