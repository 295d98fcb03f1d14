/* SPDX-License-Identifier: Apache-2.0 */
/* Takes lines of passwd and group files apart. */
#include <errno.h>
#include <string.h>

#include "user.h"

int slice_equal(struct slice a, struct slice b)
{
    return a.length == b.length && memcmp(a.start, b.start, a.length) == 0;
}

int parse_id(struct slice text, uint32_t *id)
{
    uint64_t value = 0;
    if (text.length == 0)
        return -EINVAL;
    for (size_t i = 0; i < text.length; i++)
        if (text.start[i] < '0' || text.start[i] > '9')
            return -EINVAL;
    for (size_t i = 0; i < text.length; i++) {
        value = value * 10 + (uint64_t)(text.start[i] - '0');
        if (value > UINT32_MAX - 1) /* (uid_t)-1 means "leave as it is" to the kernel */
            return -ERANGE;
    }
    *id = (uint32_t)value;
    return 0;
}

/* The next field of [*at, end), without its colon. Past the last one: -EINVAL. */
static int take_field(const char **at, const char *end, struct slice *field)
{
    if (!*at)
        return -EINVAL;
    const char *colon = memchr(*at, ':', (size_t)(end - *at));
    *field = (struct slice){*at, (size_t)((colon ? colon : end) - *at)};
    *at = colon ? colon + 1 : NULL;
    return 0;
}

int parse_passwd_line(const char *line, size_t length, struct passwd_line *entry)
{
    const char *at = line, *end = line + length;
    struct slice password, uid, gid;
    if (take_field(&at, end, &entry->name) < 0 || take_field(&at, end, &password) < 0 || take_field(&at, end, &uid) < 0 ||
        take_field(&at, end, &gid) < 0)
        return -EINVAL;
    if (entry->name.length == 0 || parse_id(uid, &entry->uid) < 0 || parse_id(gid, &entry->gid) < 0)
        return -EINVAL;
    return 0;
}

int parse_group_line(const char *line, size_t length, struct group_line *entry)
{
    const char *at = line, *end = line + length;
    struct slice password, gid;
    if (take_field(&at, end, &entry->name) < 0 || take_field(&at, end, &password) < 0 || take_field(&at, end, &gid) < 0)
        return -EINVAL;
    if (take_field(&at, end, &entry->members) < 0)
        entry->members = (struct slice){end, 0};
    return entry->name.length == 0 || parse_id(gid, &entry->gid) < 0 ? -EINVAL : 0;
}

int group_has_member(const struct group_line *entry, const char *member)
{
    struct slice wanted = {member, strlen(member)};
    const char *at = entry->members.start, *end = at + entry->members.length;
    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma ? comma : end;
        if (slice_equal((struct slice){at, (size_t)(stop - at)}, wanted))
            return 1;
        at = stop + 1;
    }
    return 0;
}
