/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes what pyrt-init reads: fuzz_init COUNT [SEED]. Half of the inputs are plans, whole, mutated or noise, for
 * parse_plan; the other half lines of passwd and group files. Each lies in an allocation of its own exact size, so that
 * ASan sees a read beyond it; what is accepted must lie inside it, and say what a slow and obvious reading says.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "init/init.h"
#include "init/user.h"

#define INPUT_MAX 8192

static uint64_t state;
static unsigned long plans_accepted, joins_accepted, lines_accepted;

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
    fprintf(stderr, "fuzz_init: %s\n", what);
    abort();
}

/* plan.c's other half calls it; parse_plan itself never does. */
void fail(const char *step, int error, const char *text)
{
    fprintf(stderr, "fuzz_init: fail(%s, %d, %s)\n", step, error, text);
    abort();
}

/* --- plans --- */

static size_t put_record(uint8_t *at, uint16_t op, uint16_t flags, const uint8_t *payload, uint32_t size)
{
    struct pyrt_plan_record record = {op, flags, size};
    memcpy(at, &record, sizeof record);
    memcpy(at + sizeof record, payload, size);
    return sizeof record + size;
}

/* Strings, each with its NUL; returns their size. */
static uint32_t put_strings(uint8_t *payload, uint32_t count)
{
    uint32_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t length = draw(12); length > 0; length--)
            payload[size++] = (uint8_t)(1 + draw(255));
        payload[size++] = 0;
    }
    return size;
}

/* A payload as the record should have it, most of the time. */
static uint32_t make_payload(uint8_t *payload, unsigned op)
{
    for (int i = 0; i < 64; i++)
        payload[i] = (uint8_t)draw(256);
    switch (op) {
    case PYRT_PLAN_ADDRESS:
        return sizeof(struct pyrt_plan_address);
    case PYRT_PLAN_OVERLAY:
    case PYRT_PLAN_VOLUME:
        return put_strings(payload, 2);
    case PYRT_PLAN_MASK:
        return (uint32_t)sizeof(struct pyrt_plan_mask) + put_strings(payload + sizeof(struct pyrt_plan_mask), 1);
    case PYRT_PLAN_TERMINAL:
        return 4;
    case PYRT_PLAN_CAPS:
        return 8;
    case PYRT_PLAN_SECCOMP:
        return 8 * draw(9);
    case PYRT_PLAN_ENV:
    case PYRT_PLAN_ARGV:
    case PYRT_PLAN_JOIN:
        return put_strings(payload, draw(8));
    case PYRT_PLAN_READONLY:
    case PYRT_PLAN_STDIO:
    case PYRT_PLAN_NO_NEW_PRIVS:
    case PYRT_PLAN_GATE:
        return 0;
    default:
        return put_strings(payload, 1) + draw(2);
    }
}

static size_t make_plan(uint8_t *input)
{
    uint8_t payload[512];
    size_t size = 0;
    if (draw(16) == 0) {
        for (size = draw(300); size > 0 && draw(300) > 0; size--)
            input[size - 1] = (uint8_t)draw(256);
        return size;
    }
    bool whole = draw(4) > 0;
    unsigned repeated = draw(24) ? 0 : 1 + draw(PYRT_PLAN_GATE); /* more of one kind than there is room for */
    if (whole) {
        size += put_record(input + size, PYRT_PLAN_ARGV, 0, payload, put_strings(payload, 1 + draw(4)));
        size += put_record(input + size, PYRT_PLAN_ENV, 0, payload, put_strings(payload, draw(4)));
        if (draw(3))
            size += put_record(input + size, PYRT_PLAN_ROOTFS, 0, payload, put_strings(payload, 1));
        else
            size += put_record(input + size, PYRT_PLAN_JOIN, 0, payload, put_strings(payload, draw(4)));
    }
    while (size < INPUT_MAX - 600 && draw(repeated ? 200 : 8) > 0) {
        unsigned op = repeated ? repeated : 1 + draw(PYRT_PLAN_GATE);
        size += put_record(input + size, (uint16_t)op, (uint16_t)draw(4), payload, make_payload(payload, op));
    }
    if (size > 0 && draw(2))
        for (uint32_t i = draw(4); i > 0; i--)
            input[draw((uint32_t)size)] ^= (uint8_t)(1 << draw(8));
    if (size > 0 && draw(6) == 0)
        size = draw((uint32_t)size);
    return size;
}

struct span {
    const uint8_t *start, *end;
};

static void inside(struct span span, const void *at, size_t size, const char *what)
{
    const uint8_t *start = at;
    require(start >= span.start && start <= span.end && size <= (size_t)(span.end - start), what);
}

static void string_inside(struct span span, const char *string, const char *what)
{
    if (string)
        inside(span, string, strlen(string) + 1, what);
}

static void pair_inside(struct span span, const struct plan_pair *pair, const char *what)
{
    string_inside(span, pair->first, what);
    string_inside(span, pair->second, what);
    require(pair->fd == -1 || pair == NULL, "a descriptor out of nothing");
}

static void array_inside(struct span span, char **array, char **strings, size_t count, const char *what)
{
    require(array >= strings && array < strings + count, what);
    for (; *array; array++) {
        require(array < strings + count - 1, "an array without an end");
        string_inside(span, *array, what);
    }
}

static void check_plan(const struct plan *plan, struct span span, char **strings, size_t count)
{
    string_inside(span, plan->hostname, "hostname");
    string_inside(span, plan->user, "user");
    string_inside(span, plan->cwd, "cwd");
    string_inside(span, plan->rootfs, "rootfs");
    if (plan->overlay.first)
        pair_inside(span, &plan->overlay, "overlay");
    require((plan->rootfs || (plan->overlay.first && plan->overlay.second)) != !!plan->groups, "no root, or one too many");
    if (plan->groups)
        array_inside(span, plan->groups, strings, count, "groups");
    require(plan->container_fd == -1 && plan->child_fd == -1, "descriptors out of nothing");
    require(plan->mask_count <= PYRT_PLAN_MASKS_MAX && plan->volume_count <= PYRT_PLAN_VOLUMES_MAX &&
                plan->file_count <= PYRT_PLAN_FILES_MAX, "too many");
    for (int i = 0; i < plan->mask_count; i++)
        string_inside(span, plan->masks[i].path, "mask");
    for (int i = 0; i < plan->volume_count; i++) {
        require(plan->volumes[i].first && plan->volumes[i].second, "half a volume");
        pair_inside(span, &plan->volumes[i], "volume");
    }
    for (int i = 0; i < plan->file_count; i++) {
        string_inside(span, plan->files[i].first, "file");
        inside(span, plan->files[i].content, plan->files[i].content_bytes, "content");
    }
    if (plan->seccomp)
        inside(span, plan->seccomp, plan->seccomp_bytes, "seccomp");
    require(plan->seccomp_bytes % 8 == 0 && plan->seccomp_bytes <= PYRT_PLAN_SECCOMP_MAX, "a program of odd size");
    require(plan->argv && plan->argv[0] && plan->env, "nothing to execute");
    array_inside(span, plan->argv, strings, count, "argv");
    array_inside(span, plan->env, strings, count, "env");
    require(plan->stdio_fds[1] == -1 && plan->stdio_fds[2] == -1, "descriptors out of nothing");
}

static void run_plan(const uint8_t *input, size_t size)
{
    static struct plan plan;
    size_t count = draw(4) ? size + 3 : draw((uint32_t)size + 3); /* what receive_plan gives, or too few */
    uint8_t *bytes = malloc(size ? size : 1);
    char **strings = malloc((count ? count : 1) * sizeof *strings);
    memcpy(bytes, input, size);
    int ret = parse_plan(bytes, size, &plan, strings, count);
    require(ret == 0 || ret == -EBADMSG || ret == -E2BIG, "another error than those it may return");
    if (ret == 0) {
        check_plan(&plan, (struct span){bytes, bytes + size}, strings, count);
        plans_accepted++;
        joins_accepted += !!plan.groups;
    }
    free(strings);
    free(bytes);
}

/* --- passwd and group --- */

static size_t make_line(char *line)
{
    static const char *const numbers[] = {"0", "1000", "4294967294", "4294967295", "4294967296", "99999999999999999999999", "-1",
                                          "", "00007", " 5", "5 ", "0x10"};
    static const char letters[] = "abcx,,,:.$ \n\xff";
    size_t size = 0;
    for (uint32_t field = 0, fields = 2 + draw(6); field < fields; field++) {
        if (field)
            line[size++] = ':';
        if (draw(3)) {
            const char *number = numbers[draw(sizeof numbers / sizeof *numbers)];
            memcpy(line + size, number, strlen(number));
            size += strlen(number);
        } else
            for (uint32_t length = draw(9); length > 0; length--)
                line[size++] = letters[draw(sizeof letters)]; /* its NUL too */
    }
    return size;
}

/* The obvious reading of a number: only digits, at most 4294967294. */
static int read_id(const char *text, size_t length, uint32_t *id)
{
    char copy[512] = {0}, *end;
    if (length == 0)
        return -EINVAL;
    for (size_t i = 0; i < length; i++)
        if (!memchr("0123456789", text[i], 10))
            return -EINVAL;
    memcpy(copy, text, length);
    errno = 0;
    unsigned long long value = strtoull(copy, &end, 10);
    if (errno || value > 4294967294ULL)
        return -ERANGE;
    *id = (uint32_t)value;
    return 0;
}

/* Field number `wanted` of a line; -1 when it has fewer. */
static int field_of(const char *line, size_t length, int wanted, struct slice *field)
{
    size_t start = 0;
    for (size_t i = 0; i <= length; i++) {
        if (i < length && line[i] != ':')
            continue;
        if (wanted-- == 0) {
            *field = (struct slice){line + start, i - start};
            return 0;
        }
        start = i + 1;
    }
    return -1;
}

static bool lists(struct slice members, const char *member)
{
    char copy[512] = {0}, wanted[64];
    memcpy(copy, ",", 1);
    for (size_t i = 0; i < members.length; i++)
        copy[1 + i] = members.start[i] ? members.start[i] : '\x01';
    strcat(copy, ",");
    snprintf(wanted, sizeof wanted, ",%s,", member);
    return strstr(copy, wanted) != NULL;
}

static void run_line(const char *input, size_t size)
{
    static const char *const members[] = {"a", "abc", "x", "0", "1000", "-1"};
    char *line = malloc(size ? size : 1);
    struct slice name, number, group, list;
    struct passwd_line user = {0};
    struct group_line entry = {0};
    uint32_t uid = 0, gid = 0;
    memcpy(line, input, size);

    bool good = field_of(line, size, 0, &name) == 0 && name.length && field_of(line, size, 2, &number) == 0 &&
                field_of(line, size, 3, &group) == 0 && read_id(number.start, number.length, &uid) == 0 &&
                read_id(group.start, group.length, &gid) == 0;
    require((parse_passwd_line(line, size, &user) == 0) == good, "a user accepted or refused wrongly");
    require(!good || (slice_equal(user.name, name) && user.uid == uid && user.gid == gid), "a user read wrong");
    lines_accepted += good;

    good = name.length && field_of(line, size, 2, &number) == 0 && read_id(number.start, number.length, &gid) == 0;
    require((parse_group_line(line, size, &entry) == 0) == good, "a group accepted or refused wrongly");
    if (good) {
        require(slice_equal(entry.name, name) && entry.gid == gid, "a group read wrong");
        if (field_of(line, size, 3, &list) < 0)
            list.length = 0;
        for (size_t i = 0; i < sizeof members / sizeof *members; i++)
            require(group_has_member(&entry, members[i]) == (list.length && lists(list, members[i])), "a member read wrong");
    }
    free(line);
}

int main(int argc, char **argv)
{
    unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 10) : 200000;
    state = argc > 2 ? strtoull(argv[2], NULL, 10) | 1 : 0x9e3779b97f4a7c15;
    uint8_t *input = malloc(INPUT_MAX);
    for (unsigned long i = 0; i < count; i++)
        if (i % 2)
            run_plan(input, make_plan(input));
        else
            run_line((char *)input, make_line((char *)input));
    free(input);
    printf("%lu inputs, %lu plans (%lu that join) and %lu lines accepted\n", count, plans_accepted, joins_accepted, lines_accepted);
    return 0;
}
