/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a plan from the socket and takes it apart. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/syscalls.h"
#include "init.h"

/* The string that starts at *at, inside [*at, end); moves *at behind its NUL. NULL when there is no NUL. */
static const char *take_string(const uint8_t **at, const uint8_t *end)
{
    const char *string = (const char *)*at;
    const uint8_t *nul = memchr(*at, 0, (size_t)(end - *at));
    if (!nul)
        return NULL;
    *at = nul + 1;
    return string;
}

/* Fills a NULL-terminated array from strings that follow each other; moves *strings behind it. */
static char **take_array(const uint8_t *at, const uint8_t *end, char ***strings, size_t *string_count)
{
    char **array = *strings;
    while (at < end) {
        const char *string = take_string(&at, end);
        if (!string || *string_count < 2)
            return NULL;
        *(*strings)++ = (char *)(uintptr_t)string;
        --*string_count;
    }
    if (*string_count < 1)
        return NULL;
    *(*strings)++ = NULL;
    --*string_count;
    return array;
}

static int take_pair(const uint8_t *at, const uint8_t *end, unsigned flags, struct plan_pair *pair)
{
    *pair = (struct plan_pair){.flags = flags, .fd = -1};
    pair->first = take_string(&at, end);
    pair->second = pair->first ? take_string(&at, end) : NULL;
    return pair->second && at == end ? 0 : -EBADMSG;
}

static int take_file(const uint8_t *at, const uint8_t *end, unsigned flags, struct plan_pair *pair)
{
    *pair = (struct plan_pair){.flags = flags, .fd = -1};
    pair->first = take_string(&at, end);
    pair->content = (const char *)at;
    pair->content_bytes = (size_t)(end - at);
    return pair->first ? 0 : -EBADMSG;
}

static int take_bytes(const uint8_t *at, const uint8_t *end, void *field, size_t size)
{
    if ((size_t)(end - at) != size)
        return -EBADMSG;
    memcpy(field, at, size);
    return 0;
}

static int take_mask(const uint8_t *at, const uint8_t *end, struct plan_mask *mask)
{
    if ((size_t)(end - at) < sizeof mask->entry)
        return -EBADMSG;
    memcpy(&mask->entry, at, sizeof mask->entry);
    at += sizeof mask->entry;
    return (mask->path = take_string(&at, end)) ? 0 : -EBADMSG;
}

static int parse_record(const struct pyrt_plan_record *record, const uint8_t *at, struct plan *plan, char ***strings,
                        size_t *string_count)
{
    const uint8_t *end = at + record->size;
    uint16_t size[2];

    switch ((enum pyrt_plan_op)record->op) {
    case PYRT_PLAN_HOSTNAME:
        return (plan->hostname = take_string(&at, end)) ? 0 : -EBADMSG;
    case PYRT_PLAN_USER:
        return (plan->user = take_string(&at, end)) ? 0 : -EBADMSG;
    case PYRT_PLAN_CWD:
        return (plan->cwd = take_string(&at, end)) ? 0 : -EBADMSG;
    case PYRT_PLAN_ROOTFS:
        return (plan->rootfs = take_string(&at, end)) ? 0 : -EBADMSG;
    case PYRT_PLAN_ADDRESS:
        plan->has_address = 1;
        return take_bytes(at, end, &plan->address, sizeof plan->address);
    case PYRT_PLAN_OVERLAY:
        return take_pair(at, end, record->flags, &plan->overlay);
    case PYRT_PLAN_MASK:
        if (plan->mask_count == PYRT_PLAN_MASKS_MAX)
            return -E2BIG;
        return take_mask(at, end, &plan->masks[plan->mask_count++]);
    case PYRT_PLAN_READONLY:
        return plan->readonly = 1, 0;
    case PYRT_PLAN_VOLUME:
        if (plan->volume_count == PYRT_PLAN_VOLUMES_MAX)
            return -E2BIG;
        return take_pair(at, end, record->flags, &plan->volumes[plan->volume_count++]);
    case PYRT_PLAN_FILE:
        if (plan->file_count == PYRT_PLAN_FILES_MAX)
            return -E2BIG;
        return take_file(at, end, record->flags, &plan->files[plan->file_count++]);
    case PYRT_PLAN_STDIO:
        plan->stdio_fds[0] = record->flags & PYRT_STDIO_STDIN ? 0 : -1;
        plan->has_no_stdio = !!(record->flags & PYRT_STDIO_NONE);
        return 0;
    case PYRT_PLAN_TERMINAL:
        plan->has_terminal = 1;
        if (take_bytes(at, end, size, sizeof size) < 0)
            return -EBADMSG;
        plan->rows = size[0];
        plan->columns = size[1];
        return 0;
    case PYRT_PLAN_CAPS:
        plan->has_caps = 1;
        return take_bytes(at, end, &plan->caps, sizeof plan->caps);
    case PYRT_PLAN_GATE:
        return plan->has_gate = 1, 0;
    case PYRT_PLAN_NO_NEW_PRIVS:
        return plan->no_new_privs = 1, 0;
    case PYRT_PLAN_SECCOMP:
        plan->seccomp = at;
        plan->seccomp_bytes = record->size;
        if (record->size > PYRT_PLAN_SECCOMP_MAX)
            return -E2BIG;
        return record->size % sizeof(struct sock_filter) == 0 ? 0 : -EBADMSG;
    case PYRT_PLAN_ENV:
        return (plan->env = take_array(at, end, strings, string_count)) ? 0 : -EBADMSG;
    case PYRT_PLAN_ARGV:
        return (plan->argv = take_array(at, end, strings, string_count)) ? 0 : -EBADMSG;
    case PYRT_PLAN_JOIN:
        return (plan->groups = take_array(at, end, strings, string_count)) ? 0 : -EBADMSG;
    }
    return -EBADMSG;
}

/* Returns 0, -EBADMSG or -E2BIG. `strings` is room for the argument and environment arrays. */
int parse_plan(const uint8_t *bytes, size_t size, struct plan *plan, char **strings, size_t string_count)
{
    const uint8_t *at = bytes, *end = bytes + size;

    memset(plan, 0, sizeof *plan);
    plan->stdio_fds[0] = plan->stdio_fds[1] = plan->stdio_fds[2] = plan->container_fd = plan->child_fd = -1;
    while (at < end) {
        struct pyrt_plan_record record;
        if ((size_t)(end - at) < sizeof record)
            return -EBADMSG;
        memcpy(&record, at, sizeof record);
        at += sizeof record;
        if (record.size > (size_t)(end - at))
            return -EBADMSG;
        int ret = parse_record(&record, at, plan, &strings, &string_count);
        if (ret < 0)
            return ret;
        at += record.size;
    }
    int has_root = plan->rootfs || plan->overlay.first;
    if (!plan->argv || !plan->argv[0] || !plan->env || has_root == !!plan->groups || (plan->groups && plan->has_gate))
        return -EBADMSG; /* a root is what one that joins finds, and any other brings */
    return 0;
}

static void receive_fully(uint8_t *to, size_t size)
{
    while (size > 0) {
        ssize_t got = recv(INIT_SOCKET, to, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            _exit(0); /* the parent closed the slot unused */
        to += got;
        size -= (size_t)got;
    }
}

/* Where the parent says when the program may run: it has had something to do meanwhile, and undoes all if that fails. */
void pass_gate(const struct plan *plan)
{
    uint8_t byte;

    if (plan->has_gate)
        receive_fully(&byte, sizeof byte);
}

/* The first bytes carry the descriptors; how many there are is the plan's to say. */
static uint32_t receive_size(int fds[PYRT_PLAN_FDS_MAX], int *fd_count)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(PYRT_PLAN_FDS_MAX * sizeof(int))];
    } control;
    uint32_t size;
    struct iovec part = {&size, sizeof size};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    ssize_t got;

    do
        got = recvmsg(INIT_SOCKET, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        _exit(0);
    if (got < (ssize_t)sizeof size)
        receive_fully((uint8_t *)&size + got, sizeof size - (size_t)got);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *fd_count = 0;
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        *fd_count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(header), (size_t)*fd_count * sizeof(int));
    }
    return size;
}

/* In this order: the two of JOIN; stdin; stdout and stderr. */
static void take_descriptors(struct plan *plan, const int *fds, int fd_count)
{
    int streams = !plan->has_terminal && !plan->has_no_stdio, with_stdin = streams && plan->stdio_fds[0] >= 0;
    if (fd_count != (plan->groups ? 2 : 0) + with_stdin + 2 * streams)
        fail("plan", EBADMSG, "descriptors");
    if (plan->groups) {
        plan->container_fd = *fds++;
        plan->child_fd = *fds++;
    }
    plan->stdio_fds[0] = with_stdin ? *fds++ : -1;
    if (streams) {
        plan->stdio_fds[1] = fds[0];
        plan->stdio_fds[2] = fds[1];
    }
}

void receive_plan(struct plan *plan)
{
    int fds[PYRT_PLAN_FDS_MAX], fd_count;
    uint32_t size = receive_size(fds, &fd_count);
    if (size > PYRT_PLAN_MAX)
        fail("plan", E2BIG, "plan");

    /* Each string of the plan takes at least its NUL, so `size` pointers, and one NULL for each array, are enough. */
    size_t string_count = (size_t)size + 3;
    size_t plan_bytes = ((size_t)size + 7) & ~(size_t)7;
    uint8_t *bytes = mmap(NULL, plan_bytes + string_count * sizeof(char *), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes == MAP_FAILED)
        fail("plan", errno, "allocate");
    receive_fully(bytes, size);
    int ret = parse_plan(bytes, size, plan, (char **)(void *)(bytes + plan_bytes), string_count);
    if (ret < 0)
        fail("plan", -ret, "parse");
    take_descriptors(plan, fds, fd_count);
}
