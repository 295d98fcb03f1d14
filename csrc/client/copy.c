/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the daemon asks to be packed, and what it sends to be unpacked: each in a child, which is this program again and
 * nothing to be found and executed. It is the code of pyrt-tar and pyrt-untar (csrc/tar, csrc/untar), with the rights
 * of the user who called: an archive is not trusted, whoever sends it.
 *
 * A daemon gets at a file tree only for a verb that is about one, and only at what a whole word of the command names:
 * `pyrt run IMAGE rm /etc` is not to be turned into something that happens here.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "untar/run.h"

#define REPORT_FD 3
#define REPORT_MAX 65536
#define FIELDS 6 /* that both kinds of report begin with (csrc/untar/run.h, csrc/tar/job.h) */

static const char *const VERBS[] = {"cp"};

int copy_is_named(const char *path, char *const *argv)
{
    size_t verbs = sizeof VERBS / sizeof *VERBS, verb = 0;
    while (verb < verbs && (!argv[0] || strcmp(argv[0], VERBS[verb])))
        verb++;
    for (int i = 1; verb < verbs && argv[i]; i++)
        if (!strcmp(argv[i], path))
            return 1;
    return 0;
}

static void make_pipe(int ends[2])
{
    if (pipe2(ends, O_CLOEXEC) < 0)
        fail("pipe: %s", strerror(errno));
    for (int i = 0; i < 2; i++)
        if ((ends[i] = above_stdio(ends[i])) < 0)
            fail("pipe: %s", strerror(-ends[i]));
}

/* In the child: the archive at standard input or output, the report at REPORT_FD, and nothing else of the client's. */
static void keep(int stdin_fd, int stdout_fd, int report_fd)
{
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int above = fcntl(report_fd, F_DUPFD, REPORT_FD + 1);
    if (null_fd < 0 || above < 0 || dup2(stdin_fd < 0 ? null_fd : stdin_fd, 0) < 0 ||
        dup2(stdout_fd < 0 ? null_fd : stdout_fd, 1) < 0 || dup2(null_fd, 2) < 0 || dup2(above, REPORT_FD) < 0)
        _exit(CLIENT_FAILED);
    if (syscall(SYS_close_range, REPORT_FD + 1U, ~0U, 0U) < 0)
        for (int fd = REPORT_FD + 1; fd < 1024; fd++)
            close(fd);
    umask(0); /* modes are the archive's */
}

static __attribute__((noreturn)) void unpack(const char *path, unsigned flags)
{
    /* Whatever ends the client ends the archive too, which is how a file that is half written gets removed. */
    static const int IGNORED[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE};
    struct copy copy = {
        .root_fd = AT_FDCWD,
        .path = path,
        .owners = flags & PYRT_COPY_OWNERS,
        .confine = landlock_confine,
    };
    struct run *run = run_new(UINT64_MAX, UINT64_MAX);
    for (size_t i = 0; i < sizeof IGNORED / sizeof *IGNORED; i++)
        signal(IGNORED[i], SIG_IGN);
    if (!run)
        _exit(CLIENT_FAILED);
    run_report(REPORT_FD, run, run_copy(run, &copy));
    _exit(0);
}

/* Start the child; `ours` is the end of the archive's pipe that stays here. */
static void begin(struct copier *copier, const char *path, unsigned flags, int ours)
{
    int archive[2], report[2];
    make_pipe(archive);
    make_pipe(report);
    fcntl(archive[1], F_SETPIPE_SZ, PYRT_FRAME_MAX); /* refused to users over their limit, which is fine */
    copier->unpacks = ours == 1;
    copier->pid = fork();
    if (copier->pid < 0)
        fail("fork: %s", strerror(errno));
    if (copier->pid == 0) {
        keep(ours == 1 ? archive[0] : -1, ours == 0 ? archive[1] : -1, report[1]);
        if (ours == 1)
            unpack(path, flags);
        pack(path, flags, REPORT_FD);
    }
    close(archive[!ours]);
    close(report[1]);
    copier->fd = archive[ours];
    copier->report_fd = report[0];
}

void copy_unpack(struct copier *copier, const char *path, unsigned flags)
{
    begin(copier, path, flags, 1);
    fcntl(copier->fd, F_SETFL, O_NONBLOCK);
    signal(SIGPIPE, SIG_IGN); /* a child that fails says why */
    snprintf(copier->subject, sizeof copier->subject, "cannot copy to '%.3000s'", path);
}

/* 0; or -1 and the reason: what can be known before the first byte is told to the daemon, and not after it. */
int copy_pack(struct copier *copier, const char *path, unsigned flags, char *reason, size_t reason_bytes)
{
    struct stat status;
    int ret = flags & PYRT_COPY_FOLLOW ? stat(path, &status) : lstat(path, &status);
    if (ret < 0) {
        snprintf(reason, reason_bytes, "cannot copy '%.3000s': %s", path, strerror(errno));
        return -1;
    }
    begin(copier, path, flags, 0);
    snprintf(copier->subject, sizeof copier->subject, "cannot copy '%.3000s'", path);
    return 0;
}

/* The first fields, and what is behind them; NULL where there are fewer. */
static char *split(char *report, size_t length, char *fields[FIELDS])
{
    char *at = report;
    for (int count = 0; count < FIELDS; at += strlen(at) + 1) {
        if (at >= report + length)
            return NULL;
        fields[count++] = at;
    }
    return at;
}

/* What went well and is worth a word: of what was unpacked a sentence, of what was packed a number, names and texts. */
static void remark(char *const fields[FIELDS], char *rest, const char *end)
{
    char line[8192];
    if (*fields[5])
        say("", fields[5], strlen(fields[5]));
    for (char *name = rest + strlen(rest) + 1; rest < end && name < end;) {
        char *text = name + strlen(name) + 1;
        snprintf(line, sizeof line, "'%s' %s", name, text < end ? text : "");
        say("", line, strlen(line));
        name = text < end ? text + strlen(text) + 1 : text;
    }
}

/* Wait for the child's end. 0; or -1 and in `reason` why it failed. */
int copy_end(struct copier *copier, char *reason, size_t reason_bytes)
{
    static char report[REPORT_MAX + 1];
    char *fields[FIELDS], *rest;
    size_t length = 0;
    ssize_t count;
    int status = 0;
    if (copier->fd >= 0)
        close(copier->fd);
    while ((count = read(copier->report_fd, report + length, sizeof report - 1 - length)) != 0) {
        if (count > 0)
            length += (size_t)count;
        else if (errno != EINTR)
            break;
    }
    report[length] = 0;
    close(copier->report_fd);
    while (waitpid(copier->pid, &status, 0) < 0 && errno == EINTR)
        ;
    copier->pid = 0;
    copier->fd = copier->report_fd = -1;
    if (!(rest = split(report, length, fields))) {
        snprintf(reason, reason_bytes, "%s: the process that did it died", copier->subject);
        return -1;
    }
    if (!strcmp(fields[0], "0")) {
        remark(fields, rest, report + length);
        return 0;
    }
    snprintf(reason, reason_bytes, "%s: %s%.3000s%s%s", copier->subject, *fields[4] ? "'" : "", fields[4],
             *fields[4] ? "' " : "", fields[5]);
    return -1;
}
