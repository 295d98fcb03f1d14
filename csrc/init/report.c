/* SPDX-License-Identifier: Apache-2.0 */
/* What the parent hears: the four kinds of report, and the one way out for a step that failed. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "init.h"

static void copy_text(char *to, size_t size, const char *from)
{
    size_t length = strnlen(from, size - 1);
    memcpy(to, from, length);
    to[length] = '\0';
}

static void send_report(const struct pyrt_report *message, int pass_fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {(void *)(uintptr_t)message, sizeof *message};
    struct msghdr envelope = {.msg_iov = &part, .msg_iovlen = 1};

    if (pass_fd >= 0) {
        envelope.msg_control = control.space;
        envelope.msg_controllen = sizeof control.space;
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &pass_fd, sizeof pass_fd);
    }
    /* A parent that is gone takes this process with it; there is nobody to tell. */
    if (sendmsg(INIT_SOCKET, &envelope, MSG_NOSIGNAL) < 0)
        _exit(125);
}

void report(enum pyrt_report_kind kind, int pass_fd)
{
    struct pyrt_report message = {.kind = kind};
    send_report(&message, pass_fd);
}

void fail(const char *step, int error, const char *text)
{
    struct pyrt_report message = {.kind = PYRT_REPORT_FAILED, .error = error};
    copy_text(message.step, sizeof message.step, step);
    copy_text(message.text, sizeof message.text, text);
    send_report(&message, -1);
    _exit(125);
}

void fail_path(const char *step, int error, const char *before, const char *path)
{
    char text[sizeof((struct pyrt_report *)0)->text];
    size_t length = strnlen(before, sizeof text - 1);
    memcpy(text, before, length);
    copy_text(text + length, sizeof text - length, path);
    fail(step, error, text);
}
