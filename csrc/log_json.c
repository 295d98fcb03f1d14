/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as the inside of a JSON string: what must be escaped (RFC 8259, section 7), and what is no UTF-8 (RFC 3629). */
#include "log_format.h"

#include <string.h>

/* The range of the second byte is what rules out overlong forms, surrogates, and what is above U+10FFFF. */
static size_t second_byte(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (first >= 0xc2 && first <= 0xdf)
        return 2;
    if (first >= 0xe0 && first <= 0xef) {
        if (first == 0xe0)
            *low = 0xa0;
        if (first == 0xed)
            *high = 0x9f;
        return 3;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        if (first == 0xf0)
            *low = 0x90;
        if (first == 0xf4)
            *high = 0x8f;
        return 4;
    }
    return 0;
}

int pyrt_utf8(const unsigned char *data, size_t size)
{
    if (data[0] < 0x80)
        return 1;
    unsigned char low, high;
    size_t length = second_byte(data[0], &low, &high), at = 1;
    if (length == 0)
        return -1;
    for (; at < length && at < size && data[at] >= low && data[at] <= high; at++) {
        low = 0x80;
        high = 0xbf;
    }
    return at == length ? (int)length : -(int)at;
}

size_t pyrt_utf8_cut(const unsigned char *data, size_t size)
{
    for (size_t back = 1; back <= 3 && back <= size; back++) {
        const unsigned char *at = data + size - back;
        if ((*at & 0xc0) == 0x80)
            continue;
        unsigned char low, high;
        size_t length = second_byte(*at, &low, &high);
        return length > back && pyrt_utf8(at, back) == -(int)back ? back : 0;
    }
    return 0;
}

static bool is_plain(unsigned char byte)
{
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

static size_t escape(unsigned char *out, unsigned char byte)
{
    static const char digits[] = "0123456789abcdef", letters[] = "btn\0fr"; /* 8, 9, 10, 12, 13 */
    out[0] = '\\';
    if (byte == '"' || byte == '\\')
        out[1] = byte;
    else if (byte >= 8 && byte <= 13 && byte != 11)
        out[1] = (unsigned char)letters[byte - 8];
    else {
        memcpy(out + 1, "u00", 3);
        out[4] = (unsigned char)digits[byte >> 4];
        out[5] = (unsigned char)digits[byte & 15];
        return 6;
    }
    return 2;
}

size_t pyrt_json_escape(unsigned char *out, const unsigned char *data, size_t size, bool *clean)
{
    size_t put = 0, at = 0;
    *clean = true;
    while (at < size) {
        size_t run = at;
        while (run < size && is_plain(data[run]))
            run++;
        memcpy(out + put, data + at, run - at);
        put += run - at;
        at = run;
        if (at == size)
            break;
        if (data[at] < 0x80) {
            put += escape(out + put, data[at++]);
            continue;
        }
        int length = pyrt_utf8(data + at, size - at);
        if (length > 0) {
            memcpy(out + put, data + at, (size_t)length);
            put += (size_t)length;
            at += (size_t)length;
        } else {
            memcpy(out + put, "\xef\xbf\xbd", 3);
            put += 3;
            at += (size_t)-length;
            *clean = false;
        }
    }
    return put;
}

size_t pyrt_base64(unsigned char *out, const unsigned char *data, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t put = 0;
    for (size_t at = 0; at < size; at += 3) {
        size_t left = size - at;
        uint32_t bits = (uint32_t)data[at] << 16 | (left > 1 ? (uint32_t)data[at + 1] << 8 : 0) | (left > 2 ? data[at + 2] : 0);
        for (int i = 0; i < 4; i++)
            out[put++] = (size_t)i <= left ? (unsigned char)digits[bits >> (18 - 6 * i) & 63] : '=';
    }
    return put;
}
