/* SPDX-License-Identifier: Apache-2.0 */
/* The Python half: which interpreter has it, and the two things started with it, the daemon and the TLS relay. */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"

#define START_TIMEOUT_MS 60000
#define END_TIMEOUT_MS 1000
#define MAX_WORDS 64

static const char LIBEXEC[] = "/pyrt/core/_libexec/";

static int is_program(const char *directory, size_t length, const char *name, char *path, size_t path_bytes)
{
    int written = snprintf(path, path_bytes, "%.*s/%s", (int)length, directory, name);
    return written > 0 && (size_t)written < path_bytes && access(path, X_OK) == 0;
}

/* A build in place: the Python it was built with, else one in a folder above (site-packages, a checkout's .venv). */
static int find_above(const char *self, char *path, size_t path_bytes)
{
#ifdef PYRT_BUILD_PYTHON
    if (is_program("", 0, &PYRT_BUILD_PYTHON[1], path, path_bytes))
        return 1;
#endif
    for (size_t length = strlen(self); length; length--) {
        if (self[length] == '/' && (is_program(self, length, ".venv/bin/python3", path, path_bytes) ||
                                    is_program(self, length, "bin/python3", path, path_bytes)))
            return 1;
    }
    return 0;
}

static int find_in_path(char *path, size_t path_bytes)
{
    const char *directory = getenv("PATH");
    while (directory && *directory) {
        size_t length = strcspn(directory, ":");
        if (length && directory[0] == '/' && is_program(directory, length, "python3", path, path_bytes))
            return 1;
        directory += length + (directory[length] == ':');
    }
    return 0;
}

/* `path`, filled in; or NULL where there is no python3 at all. It may still lack pyrt: the caller will see. */
const char *find_python(char *path, size_t path_bytes)
{
    const char *given = getenv("PYRT_PYTHON");
    char self[PATH_MAX] = "";
    if (given && *given) {
        snprintf(path, path_bytes, "%s", given);
        return path;
    }
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length > 0) {
        const char *slash = strrchr(self, '/');
        if (slash && is_program(self, (size_t)(slash - self), "python3", path, path_bytes))
            return path;
        if (strstr(self, LIBEXEC) && find_above(self, path, path_bytes))
            return path;
    }
    return find_in_path(path, path_bytes) ? path : NULL;
}

struct words {
    const char *word[MAX_WORDS];
    int count;
};

static void add(struct words *words, const char *name, const char *value)
{
    if (name)
        words->word[words->count++] = name;
    if (value)
        words->word[words->count++] = value;
}

static void add_option(struct words *words, const char *name, const char *value)
{
    if (value)
        add(words, name, value);
}

/* The daemon works in /, so a path has to be made absolute here. */
static const char *absolute(const char *path, char *buffer)
{
    char directory[PATH_MAX];
    if (!path || path[0] == '/' || !getcwd(directory, sizeof directory))
        return path;
    return snprintf(buffer, PATH_MAX, "%s/%s", directory, path) < PATH_MAX ? buffer : path;
}

static void add_tls(struct words *words, const struct options *options, char (*buffers)[PATH_MAX])
{
    add(words, options->tls ? "--tls" : NULL, NULL);
    add_option(words, "--tlscacert", absolute(options->tls_ca, buffers[0]));
    add_option(words, "--tlscert", absolute(options->tls_cert, buffers[1]));
    add_option(words, "--tlskey", absolute(options->tls_key, buffers[2]));
}

static void add_places(struct words *words, const struct options *options, char (*buffers)[PATH_MAX])
{
    add(words, "--root", absolute(options->root, buffers[3]));
    add(words, "--run-dir", absolute(options->run_dir, buffers[4]));
    add_option(words, "--bridge", options->bridge);
    add_option(words, "--engine", options->engine);
    add(words, options->debug ? "--debug" : NULL, NULL);
}

static void begin(struct words *words, const char *python, const char *verb)
{
    add(words, python, "-I");
    add(words, "-m", "pyrt.cli");
    add(words, verb, NULL);
}

/* `pyrt -d`: this process, in the foreground. */
void become_daemon(const struct options *options)
{
    char path[PATH_MAX], buffers[5][PATH_MAX];
    struct words words = {.count = 0};
    const char *python = find_python(path, sizeof path);
    if (!python)
        fail("no python3 found beside pyrt or in PATH; set PYRT_PYTHON");
    begin(&words, python, "daemon");
    add_places(&words, options, buffers);
    for (int i = 0; i < options->host_count; i++)
        add(&words, "--host", options->hosts[i]);
    add_tls(&words, options, buffers);
    execv(python, (char **)words.word);
    fail("cannot run %s: %s", python, strerror(errno));
}

/* In the child: nothing of the user's session stays with what lives on: no terminal, no directory, no descriptor. */
static void leave_session(int stdin_fd, int stdout_fd, int stderr_fd)
{
    sigset_t none;
    setsid();
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    if (chdir("/") < 0 || dup2(stdin_fd, 0) < 0 || dup2(stdout_fd, 1) < 0 || dup2(stderr_fd, 2) < 0)
        _exit(CLIENT_FAILED);
    if (syscall(SYS_close_range, 3U, ~0U, 0U) < 0)
        for (int fd = 3; fd < 1024; fd++)
            close(fd);
}

/* Read what the starting daemon says until "ready", its end, or the deadline. 0 when ready. */
static int await_ready(int fd, char *text, size_t bytes)
{
    size_t length = 0;
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    for (;;) {
        int ready = poll(&poll_fd, 1, START_TIMEOUT_MS);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready == 0) {
            snprintf(text, bytes, "it did not become ready within %d s", START_TIMEOUT_MS / 1000);
            return -1;
        }
        if (length == bytes - 1) { /* a long traceback: its end is what tells */
            memmove(text, text + bytes / 2, length - bytes / 2);
            length -= bytes / 2;
        }
        ssize_t count = read(fd, text + length, bytes - 1 - length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            break;
        length += (size_t)count;
        text[length] = 0;
        if (!strncmp(text, "ready\n", 6) || strstr(text, "\nready\n"))
            return 0;
    }
    text[length] = 0;
    return -1;
}

/* Whether a child that has closed its output ends as well; one that does not must not keep the user waiting. */
static int await_end(pid_t child, int *status)
{
    struct pollfd ended = {.fd = (int)syscall(SYS_pidfd_open, child, 0), .events = POLLIN};
    poll(&ended, 1, END_TIMEOUT_MS);
    if (ended.fd >= 0)
        close(ended.fd);
    return waitpid(child, status, WNOHANG) == child;
}

/* The line of `text` that names the fault: the first that says Error, as ours do, else the last, as tracebacks do. */
static void keep_telling_line(char *text)
{
    char *line = strncmp(text, "Error: ", 7) ? strstr(text, "\nError: ") : text;
    if (line) {
        line += strlen(line == text ? "Error: " : "\nError: ");
        line[strcspn(line, "\n")] = 0;
    } else {
        size_t length = strlen(text);
        while (length && text[length - 1] == '\n')
            text[--length] = 0;
        line = strrchr(text, '\n');
        line = line ? line + 1 : text;
    }
    memmove(text, line, strlen(line) + 1);
}

/*
 * 0: a daemon is ready. -1: ours is not, and `reason` says why; another client's may be, which the caller tries first.
 * No sleeps: the daemon holds the other end of a pipe, and two daemons sort themselves out by their locks before
 * either says a word.
 */
int start_daemon(const struct options *options, char *reason, size_t reason_bytes)
{
    char path[PATH_MAX], buffers[5][PATH_MAX], said[2048] = "";
    struct words words = {.count = 0};
    const char *python = find_python(path, sizeof path);
    int pipe_fd[2], status = 0;
    if (!python) {
        snprintf(reason, reason_bytes, "no python3 found beside pyrt or in PATH; set PYRT_PYTHON");
        return -1;
    }
    begin(&words, python, "daemon");
    add(&words, "--background", NULL);
    add_places(&words, options, buffers);
    int null_fd = above_stdio(open("/dev/null", O_RDWR | O_CLOEXEC));
    if (null_fd < 0 || pipe2(pipe_fd, O_CLOEXEC) < 0)
        fail("cannot start the pyrt daemon: %s", strerror(errno));
    for (int i = 0; i < 2; i++)
        if ((pipe_fd[i] = above_stdio(pipe_fd[i])) < 0)
            fail("cannot start the pyrt daemon: %s", strerror(-pipe_fd[i]));
    pid_t child = fork();
    if (child == 0) {
        leave_session(null_fd, pipe_fd[1], pipe_fd[1]);
        execv(python, (char **)words.word);
        dprintf(2, "Error: cannot run it: %s\n", strerror(errno));
        _exit(CLIENT_FAILED);
    }
    close(pipe_fd[1]);
    close(null_fd);
    int ready = child < 0 ? -1 : await_ready(pipe_fd[0], said, sizeof said);
    if (child < 0)
        snprintf(said, sizeof said, "fork: %s", strerror(errno));
    close(pipe_fd[0]);
    if (ready == 0)
        return 0;
    if (child > 0 && await_end(child, &status) && WIFSIGNALED(status) && !said[0])
        snprintf(said, sizeof said, "it died of signal %d", WTERMSIG(status));
    keep_telling_line(said);
    snprintf(reason, reason_bytes, "cannot start the pyrt daemon with %s: %s", python,
             said[0] ? said : "it ended without a word");
    return -1;
}

/* A socket that speaks plain frames; behind it a process that resolves names and does TLS. Exits where it cannot. */
int start_relay(const struct options *options)
{
    char path[PATH_MAX], buffers[5][PATH_MAX];
    struct words words = {.count = 0};
    const char *python = find_python(path, sizeof path);
    int pair[2];
    if (!python)
        fail("tcp:// by name or with --tls needs python3, and there is none beside pyrt or in PATH; set PYRT_PYTHON");
    begin(&words, python, "relay");
    add(&words, "--host", options->hosts[0]);
    add_tls(&words, options, buffers);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        fail("socketpair: %s", strerror(errno));
    for (int i = 0; i < 2; i++)
        if ((pair[i] = above_stdio(pair[i])) < 0)
            fail("socketpair: %s", strerror(-pair[i]));
    int null_fd = above_stdio(open("/dev/null", O_RDWR | O_CLOEXEC));
    if (null_fd < 0)
        fail("/dev/null: %s", strerror(-null_fd));
    pid_t child = fork();
    if (child < 0)
        fail("fork: %s", strerror(errno));
    if (child == 0) {
        leave_session(pair[1], null_fd, 2);
        execv(python, (char **)words.word);
        dprintf(2, "Error: cannot run %s: %s\n", python, strerror(errno));
        _exit(CLIENT_FAILED);
    }
    close(pair[1]);
    close(null_fd);
    return pair[0];
}
