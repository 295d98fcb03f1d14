/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of passwd and group files: pure functions of (pointer, length), so that they can be fuzzed alone. */
#ifndef PYRT_INIT_USER_H
#define PYRT_INIT_USER_H

#include <stddef.h>
#include <stdint.h>

struct slice {
    const char *start;
    size_t length;
};

struct passwd_line {
    struct slice name;
    uint32_t uid, gid;
};

struct group_line {
    struct slice name, members;
    uint32_t gid;
};

int slice_equal(struct slice a, struct slice b);

/* A decimal number from 0 to 4294967294. -EINVAL: not digits alone; -ERANGE: digits, but too large (never wrapped). */
int parse_id(struct slice text, uint32_t *id);

/* 0, or -EINVAL for a line that is not name:password:number... */
int parse_passwd_line(const char *line, size_t length, struct passwd_line *entry);
int parse_group_line(const char *line, size_t length, struct group_line *entry);

int group_has_member(const struct group_line *entry, const char *member);

#endif
