/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals while output streams: read from a descriptor, in the same loop as everything else, and sent on to the
 * container or, where nobody asked for that, died of after the terminal has been given back.
 */

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client.h"

static const int FORWARDED[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM};

/* A descriptor with the signals to look after; -1 where there are none. */
int signals_open(int forward, int terminal)
{
    sigset_t set;
    struct sigaction now;
    if (!forward && !terminal)
        return -1;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof FORWARDED / sizeof *FORWARDED; i++)
        /* nohup's decision stays the user's: a blocked signal would arrive although it is ignored */
        if (sigaction(FORWARDED[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            sigaddset(&set, FORWARDED[i]);
    if (terminal) {
        sigaddset(&set, SIGWINCH);
        sigaddset(&set, SIGCONT);
        if (sigaction(SIGTSTP, NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            sigaddset(&set, SIGTSTP);
    }
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = above_stdio(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
    if (fd < 0)
        sigprocmask(SIG_UNBLOCK, &set, NULL);
    return fd;
}

/* The next signal, or 0. */
int signals_next(int fd)
{
    struct signalfd_siginfo info;
    return read(fd, &info, sizeof info) == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

/* Stop as SIGTSTP would have stopped us (it would not, were nobody there to continue us), the terminal given back. */
void signals_stop(void)
{
    sigset_t set;
    terminal_pause();
    sigemptyset(&set);
    sigaddset(&set, SIGTSTP);
    raise(SIGTSTP);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    sigprocmask(SIG_BLOCK, &set, NULL);
    terminal_again();
}

/* End as the signal would have ended us, so that the shell sees it. */
void signals_die(int number)
{
    sigset_t set;
    terminal_restore();
    signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    raise(number);
    _exit(128 + number);
}
