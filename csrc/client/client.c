/* SPDX-License-Identifier: Apache-2.0 */
/* pyrt, the program: connect to the daemon (start it where there is none), send one CALL, serve what it asks, exit. */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "client.h"

#define ATTEMPTS 3 /* to reach a daemon that is just going away */

/* One line to stderr. Control characters in a peer's text would steer the user's terminal: they become '?'. */
void say(const char *prefix, const char *text, size_t length)
{
    static const char ENDS[2][2] = {"\n", "\r\n"}; /* a raw terminal does not add the carriage return */
    char line[4096];
    size_t at = (size_t)snprintf(line, sizeof line, "%s", prefix);
    while (length && text[length - 1] == '\n')
        length--;
    for (size_t i = 0; i <= length; i++) {
        if (at + 2 > sizeof line || i == length) {
            if (i == length) {
                memcpy(line + at, ENDS[terminal_is_raw()], terminal_is_raw() ? 2 : 1);
                at += terminal_is_raw() ? 2 : 1;
            }
            if (write(STDERR_FILENO, line, at) < 0)
                return;
            at = 0;
        }
        if (i < length) {
            unsigned char byte = (unsigned char)text[i];
            line[at++] = (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f ? '?' : text[i];
        }
    }
}

void fail(const char *format, ...)
{
    char text[8192];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    terminal_restore();
    if (length > 0)
        say("Error: ", text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
    _exit(CLIENT_FAILED);
}

static void fail_unreachable(const struct address *address, int error, int wants_help) __attribute__((noreturn));

static void fail_unreachable(const struct address *address, int error, int wants_help)
{
    if (wants_help)
        print_options();
    if (address->transport == TRANSPORT_TCP)
        fail("cannot reach the pyrt daemon at tcp://%s:%s: %s", address->host, address->port, strerror(error));
    if (error == EACCES || error == EPERM)
        fail("cannot reach the pyrt daemon at unix://%s: %s; it takes commands from root (sudo)", address->path,
             strerror(error));
    fail("cannot reach the pyrt daemon at unix://%s: %s", address->path, strerror(error));
}

static int connect_or_start(const struct options *options, const struct address *address, int wants_help)
{
    char reason[4096];
    if (address->transport == TRANSPORT_RELAY)
        return start_relay(options);
    int fd = address->transport == TRANSPORT_TCP ? connect_tcp(address) : connect_unix(address->path);
    if (fd >= 0)
        return fd;
    if (!address->may_start || (fd != -ENOENT && fd != -ECONNREFUSED))
        fail_unreachable(address, -fd, wants_help);
    int started = start_daemon(options, reason, sizeof reason);
    fd = connect_unix(address->path); /* also after a failure: another client's daemon may have won */
    if (fd < 0 && started < 0) {
        if (wants_help)
            print_options();
        fail("%s", reason);
    }
    if (fd < 0)
        fail_unreachable(address, -fd, wants_help);
    return fd;
}

int main(int argc, char **argv)
{
    static unsigned char call[PYRT_FRAME_HEADER + PYRT_FRAME_MAX];
    static struct options options;
    static struct address address;
    struct termios settings;
    int tty[3], rows = 0, columns = 0;

    parse_options(&options, argc, argv);
    if (options.daemon)
        become_daemon(&options);
    parse_address(&address, &options);

    for (int fd = 0; fd < 3; fd++)
        tty[fd] = ioctl(fd, TCGETS, &settings) == 0;
    if (tty[0] || tty[1] || tty[2])
        terminal_size(&rows, &columns);
    char **words = argv + options.verb;
    const char *root = options.root_given && address.transport == TRANSPORT_UNIX ? options.root : NULL;
    ssize_t length = build_call(call + PYRT_FRAME_HEADER, PYRT_FRAME_MAX, words, root, tty, rows, columns);
    if (length < 0)
        fail("the command line is too long: at most 1 MiB of arguments reach the daemon");
    wire_header(call, PYRT_CALL, (size_t)length);

    int wants_help = !*words || !strcmp(*words, "--help") || !strcmp(*words, "-h");
    int remote = address.transport != TRANSPORT_UNIX;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        int fd = connect_or_start(&options, &address, wants_help);
        int status = serve(fd, call, PYRT_FRAME_HEADER + (size_t)length, words, remote);
        if (status != SERVE_AGAIN)
            return status;
    }
    fail("the pyrt daemon at unix://%s closes every connection; see its log", address.path);
}
