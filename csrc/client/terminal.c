/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user's terminal: raw while a container's terminal is shown, and given back whatever ends the client (SIGKILL:
 * guard.c).
 *
 * The saved settings are the program's one piece of global state: a handler for a fatal signal has nothing else.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "client.h"

static struct termios saved, raw;
static volatile sig_atomic_t is_raw;

/* Of the first standard stream that is a terminal; 0, or -ENOTTY. */
int terminal_size(int *rows, int *columns)
{
    struct winsize size;
    for (int fd = 0; fd < 3; fd++) {
        if (ioctl(fd, TIOCGWINSZ, &size) == 0) {
            *rows = size.ws_row;
            *columns = size.ws_col;
            return 0;
        }
    }
    return -ENOTTY;
}

int terminal_is_raw(void)
{
    return is_raw;
}

void terminal_restore(void)
{
    if (!is_raw)
        return;
    is_raw = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &saved);
    guard_end();
}

/* Of what raw mode is made of; hardware's settings are the driver's, which may not take them as they are given. */
static int are_equal(const struct termios *a, const struct termios *b)
{
    return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_lflag == b->c_lflag &&
           !memcmp(a->c_cc, b->c_cc, sizeof a->c_cc);
}

/* Give stdin's terminal back if it is as we left it; 0, or -errno. Who has changed it meanwhile had a reason. */
int terminal_give_back(const struct termios *saved_settings, const struct termios *raw_settings)
{
    struct termios now = {0}; /* the kernel fills in as many characters as it knows, and the C library may leave the rest */
    if (tcgetattr(STDIN_FILENO, &now) < 0)
        return -errno;
    if (are_equal(&now, raw_settings) && tcsetattr(STDIN_FILENO, TCSANOW, saved_settings) < 0)
        return -errno;
    return 0;
}

static void on_crash(int number)
{
    terminal_restore();
    raise(number); /* SA_RESETHAND: this one kills */
}

/* 0 where stdin is no terminal: there is nothing to do then. 1 when raw. */
int terminal_raw(void)
{
    static const int CRASHES[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    struct sigaction action = {.sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND};
    if (tcgetattr(STDIN_FILENO, &saved) < 0)
        return 0;
    raw = saved;
    cfmakeraw(&raw);
    guard_terminal(&saved, &raw); /* first: there is no moment at which nobody would give it back */
    if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0) {
        guard_end();
        return 0;
    }
    is_raw = 1;
    for (size_t i = 0; i < sizeof CRASHES / sizeof *CRASHES; i++)
        sigaction(CRASHES[i], &action, NULL);
    return 1;
}

/* Before a stop. */
void terminal_pause(void)
{
    if (is_raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

/* After a stop and SIGCONT: the shell has put its own settings back meanwhile. */
void terminal_again(void)
{
    if (is_raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

/*
 * Look for the detach keys in what was typed. Of `data`, which has room for PYRT_KEYS_MAX bytes more than `length`, so
 * many are to be sent as it returns; what follows the keys is dropped. Keys that may be the first of them are held until
 * it is known, however many reads that takes.
 */
size_t terminal_keys(struct detach_keys *keys, unsigned char *data, size_t length, int *detach)
{
    if (!length)
        return 0;
    memmove(data + keys->held, data, length);
    memcpy(data, keys->bytes, keys->held);
    length += keys->held;
    keys->held = 0;
    unsigned char *found = memmem(data, length, keys->bytes, keys->count);
    if (found) {
        *detach = 1;
        return (size_t)(found - data);
    }
    size_t hold = keys->count - 1 < length ? keys->count - 1 : length;
    while (memcmp(data + length - hold, keys->bytes, hold) != 0)
        hold--;
    keys->held = hold;
    return length - hold;
}
