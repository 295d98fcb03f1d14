/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user's terminal: raw while a container's terminal is shown, and given back whatever ends the client.
 *
 * The saved settings are the program's one piece of global state: a handler for a fatal signal has nothing else.
 */

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "client.h"

#define CTRL_P 0x10
#define CTRL_Q 0x11

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
    if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0)
        return 0;
    is_raw = 1;
    for (size_t i = 0; i < sizeof CRASHES / sizeof *CRASHES; i++)
        sigaction(CRASHES[i], &action, NULL);
    return 1;
}

/* After a stop and SIGCONT: the shell has put its own settings back meanwhile. */
void terminal_again(void)
{
    if (is_raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

/*
 * Look for Ctrl-P Ctrl-Q in what was typed; `*held` says that a Ctrl-P waits for the next key and is not in `data`.
 * `data` has room for one byte more than `length`. Returns how many bytes of it are to be sent; what follows the
 * detach keys is dropped.
 */
size_t terminal_keys(unsigned char *data, size_t length, int *held, int *detach)
{
    if (!length)
        return 0;
    if (*held) {
        *held = 0;
        if (data[0] == CTRL_Q) {
            *detach = 1;
            return 0;
        }
        memmove(data + 1, data, length++);
        data[0] = CTRL_P;
    }
    for (size_t i = 1; i < length; i++) {
        if (data[i - 1] == CTRL_P && data[i] == CTRL_Q) {
            *detach = 1;
            return i - 1;
        }
    }
    if (data[length - 1] == CTRL_P) {
        *held = 1;
        length--;
    }
    return length;
}
