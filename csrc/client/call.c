/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CALL frame's JSON. Bytes that are not UTF-8 travel as lone surrogates \udcXX, which is Python's
 * surrogateescape, so that every argument arrives as it was typed.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"

struct text {
    unsigned char *data;
    size_t length, bytes;
    int overflow;
};

static void put(struct text *text, const void *data, size_t length)
{
    if (text->overflow || length > text->bytes - text->length) {
        text->overflow = 1;
        return;
    }
    memcpy(text->data + text->length, data, length);
    text->length += length;
}

static void put_text(struct text *text, const char *literal)
{
    put(text, literal, strlen(literal));
}

/* The length of the UTF-8 sequence at `s` (NUL ends the string), or 0: as strict as Python's decoder. */
static size_t sequence(const unsigned char *s)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t length;
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        length = 2;
    else if (s[0] >= 0xe0 && s[0] <= 0xef)
        length = 3;
    else if (s[0] >= 0xf0 && s[0] <= 0xf4)
        length = 4;
    else
        return 0;
    switch (s[0]) {
    case 0xe0: low = 0xa0; break;  /* overlong */
    case 0xed: high = 0x9f; break; /* surrogates */
    case 0xf0: low = 0x90; break;  /* overlong */
    case 0xf4: high = 0x8f; break; /* beyond U+10FFFF */
    }
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (s[i] < 0x80 || s[i] > 0xbf)
            return 0;
    return length;
}

static void put_string(struct text *text, const char *string)
{
    put(text, "\"", 1);
    for (const unsigned char *s = (const unsigned char *)string; *s && !text->overflow;) {
        char escape[8];
        size_t length = sequence(s);
        if (!length || *s < 0x20 || *s == 0x7f) {
            snprintf(escape, sizeof escape, "\\u%04x", length ? *s : 0xdc00u + *s);
            put(text, escape, 6);
            length = 1;
        } else {
            if (*s == '"' || *s == '\\')
                put(text, "\\", 1);
            put(text, s, length);
        }
        s += length;
    }
    put(text, "\"", 1);
}

ssize_t build_call(unsigned char *data, size_t bytes, char *const *argv, const char *root, const int tty[3], int rows,
                   int columns)
{
    struct text text = {.data = data, .bytes = bytes};
    char directory[4096], tail[128];
    put_text(&text, "{\"version\":2,\"argv\":[");
    for (int i = 0; argv[i]; i++) {
        if (i)
            put(&text, ",", 1);
        put_string(&text, argv[i]);
    }
    put_text(&text, "],\"cwd\":");
    /* the kernel names a directory that is out of reach "(unreachable)/…" */
    put_string(&text, getcwd(directory, sizeof directory) && directory[0] == '/' ? directory : "/");
    if (root) {
        put_text(&text, ",\"root\":");
        put_string(&text, root);
    }
    snprintf(tail, sizeof tail, ",\"tty\":[%s,%s,%s],\"size\":[%d,%d]}", tty[0] ? "true" : "false",
             tty[1] ? "true" : "false", tty[2] ? "true" : "false", rows, columns);
    put_text(&text, tail);
    return text.overflow ? -E2BIG : (ssize_t)text.length;
}
