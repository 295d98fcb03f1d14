/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard: a process whose one purpose is to give the terminal back if the client is killed and cannot.
 *
 * It is forked only when the terminal becomes raw, and waits for the end of a pipe that the client alone can write to,
 * and never does: whatever ends the client ends the pipe, before the client's parent hears of it. A process group of its
 * own keeps from it what is sent to the client's; all signals are blocked from its first moment, SIGTTOU among them, which
 * lets a group in the background change the terminal. What it finds changed, by the shell perhaps, or by the client's
 * orderly end, it leaves alone.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"

static pid_t guard;       /* 0: there is none */
static int lifeline = -1; /* owned; closed, by us or the kernel, it wakes the guard */

static void watch(int end_fd, const struct termios *saved, const struct termios *raw) __attribute__((noreturn));

static void watch(int end_fd, const struct termios *saved, const struct termios *raw)
{
    char byte;
    setpgid(0, 0); /* here and there, whoever comes first */
    prctl(PR_SET_NAME, "pyrt-terminal");
    if (chdir("/") < 0 || dup2(end_fd, STDOUT_FILENO) < 0)
        _exit(1);
    /* the connection too: as long as it is open here, nobody would see the client hang up */
    if (syscall(SYS_close_range, STDOUT_FILENO + 1U, ~0U, 0U) < 0)
        for (int fd = STDOUT_FILENO + 1; fd < 1024; fd++)
            close(fd);
    while (read(STDOUT_FILENO, &byte, 1) < 0 && errno == EINTR)
        ;
    _exit(terminal_give_back(saved, raw) < 0);
}

/* Without a guard all is well as long as nobody uses SIGKILL, so a failure to make one is none. */
void guard_terminal(const struct termios *saved, const struct termios *raw)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return;
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    lifeline = above_stdio(ends[1]);
    guard = lifeline < 0 ? -1 : fork();
    if (guard > 0)
        setpgid(guard, guard);
    sigprocmask(SIG_SETMASK, guard == 0 ? &all : &before, NULL);
    if (guard == 0) {
        close(lifeline);
        watch(ends[0], saved, raw);
    }
    close(ends[0]);
    if (guard < 0)
        guard_end();
}

/* The terminal has been given back. Called from signal handlers too. */
void guard_end(void)
{
    if (lifeline >= 0)
        close(lifeline);
    lifeline = -1;
    if (guard > 0)
        while (waitpid(guard, NULL, 0) < 0 && errno == EINTR)
            ;
    guard = 0;
}
