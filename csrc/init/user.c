/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who the container runs as, by the image's own passwd and group files: read without following links, only where they
 * are regular files, a bounded number of bytes. A user that cannot be resolved is an error, never root.
 */
#define _GNU_SOURCE
#include "user.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/syscalls.h"
#include "init.h"

#define LINE_MAX_BYTES (32 << 10)
#define FILE_MAX_BYTES (64 << 20)

/* Calls visit for each line, until it returns 0 for "enough" or the file ends. Lines that do not fit are passed over. */
static void scan_lines(const char *path, int (*visit)(const char *line, size_t length, void *context), void *context)
{
    static char buffer[LINE_MAX_BYTES];
    struct stat status;
    size_t filled = 0, total = 0;
    int skipping = 0;

    int fd = sys_openat2(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, RESOLVE_NO_SYMLINKS);
    if (fd == -ENOENT)
        return;
    if (fd < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size > FILE_MAX_BYTES)
        fail_path("user", fd == -ELOOP || fd >= 0 ? 0 : -fd, "must be an ordinary file of at most 64 MiB in the image: ", path);
    for (;;) {
        ssize_t got = read(fd, buffer + filled, sizeof buffer - filled);
        if (got < 0)
            fail("user", errno, path);
        total += (size_t)got;
        if (total > FILE_MAX_BYTES)
            fail("user", EFBIG, path);
        filled += (size_t)got;
        char *line = buffer, *end = buffer + filled, *newline;
        while ((newline = memchr(line, '\n', (size_t)(end - line))) || (got == 0 && line < end)) {
            char *stop = newline ? newline : end;
            if (!skipping && !visit(line, (size_t)(stop - line), context)) {
                close(fd);
                return;
            }
            skipping = 0;
            line = newline ? newline + 1 : end;
        }
        filled = (size_t)(end - line);
        memmove(buffer, line, filled);
        if (filled == sizeof buffer) {
            filled = 0;
            skipping = 1;
        }
        if (got == 0)
            break;
    }
    close(fd);
}

struct passwd_search {
    struct slice name; /* empty: by number */
    uint32_t uid, gid;
    char found_name[256];
    int found;
};

static int visit_passwd(const char *line, size_t length, void *context)
{
    struct passwd_search *search = context;
    struct passwd_line entry;
    if (parse_passwd_line(line, length, &entry) < 0)
        return 1;
    if (search->name.length ? !slice_equal(entry.name, search->name) : entry.uid != search->uid)
        return 1;
    search->uid = entry.uid;
    search->gid = entry.gid;
    if (entry.name.length < sizeof search->found_name) {
        memcpy(search->found_name, entry.name.start, entry.name.length);
        search->found_name[entry.name.length] = '\0';
    }
    search->found = 1;
    return 0;
}

struct group_search {
    struct slice name;        /* of a group to find, or empty */
    const char *member;       /* or: the groups of this user */
    struct identity *identity;
    int found;
};

static int visit_group(const char *line, size_t length, void *context)
{
    struct group_search *search = context;
    struct identity *identity = search->identity;
    struct group_line entry;
    if (parse_group_line(line, length, &entry) < 0)
        return 1;
    if (search->name.length) {
        if (!slice_equal(entry.name, search->name))
            return 1;
        identity->gid = entry.gid;
        search->found = 1;
        return 0;
    }
    if (!group_has_member(&entry, search->member) || entry.gid == identity->gid)
        return 1;
    if (identity->group_count == (int)(sizeof identity->groups / sizeof *identity->groups))
        fail("user", 0, "the user is in more than 63 groups");
    identity->groups[identity->group_count++] = entry.gid;
    return 1;
}

static void resolve_group(struct slice group, struct identity *identity)
{
    uint32_t number;
    struct group_search search = {.name = group, .identity = identity};
    int ret = parse_id(group, &number);
    if (ret == 0) {
        identity->gid = number;
        return;
    }
    if (ret == -ERANGE)
        fail("user", 0, "group id out of range (0 to 4294967294)");
    scan_lines("/etc/group", visit_group, &search);
    if (!search.found)
        fail_path("user", 0, "no such group in the image's /etc/group: ", group.start);
}

void resolve_user(const char *spec, struct identity *identity)
{
    *identity = (struct identity){.group_count = 1};
    if (!spec)
        return;

    const char *colon = strchr(spec, ':');
    struct slice user = {spec, colon ? (size_t)(colon - spec) : strlen(spec)};
    struct passwd_search search = {.name = user};
    if (user.length == 0 || (colon && (colon[1] == '\0' || strchr(colon + 1, ':'))))
        fail_path("user", 0, "expected USER or USER:GROUP, not: ", spec);
    int ret = parse_id(user, &search.uid);
    if (ret == -ERANGE)
        fail_path("user", 0, "user id out of range (0 to 4294967294): ", spec);
    int by_number = ret == 0;
    if (by_number)
        search.name.length = 0;
    scan_lines("/etc/passwd", visit_passwd, &search);
    if (!search.found && !by_number)
        fail_path("user", 0, "no such user in the image's /etc/passwd: ", spec);

    identity->uid = search.uid;
    identity->gid = search.gid; /* 0 for a number that has no entry */
    if (colon)
        resolve_group((struct slice){colon + 1, strlen(colon + 1)}, identity);
    else if (search.found) {
        struct group_search groups = {.member = search.found_name, .identity = identity};
        scan_lines("/etc/group", visit_group, &groups);
    }
    identity->groups[0] = identity->gid;
}
