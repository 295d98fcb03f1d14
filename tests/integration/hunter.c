/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lies in wait, inside a container, for processes of pyrt's own that come in: those whose command line is pyrt-init's.
 * Of each it tries to get hold, in every way that /proc and ptrace offer; with the argument `keep` it keeps what it
 * traces, dead or alive. Until SIGTERM; then it prints, a line each,
 *
 *     seen NUMBER          how often it came upon one
 *     rights CAPS FILTER   the permitted capabilities and the Seccomp mode that such a process had
 *     fd TARGET            what a descriptor of one led to
 *     caught WHAT          what could be opened or read, or traced
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define FINDINGS 256

static volatile sig_atomic_t over;
static char findings[FINDINGS][128];
static int finding_count;
static unsigned long seen;

static void on_term(int number)
{
    (void)number;
    over = 1;
}

static void note(const char *what, const char *detail)
{
    char text[128];
    snprintf(text, sizeof text, "%s %.100s", what, detail);
    for (int i = 0; i < finding_count; i++)
        if (strcmp(findings[i], text) == 0)
            return;
    if (finding_count < FINDINGS)
        strcpy(findings[finding_count++], text);
}

static int read_file(const char *pid, const char *name, char *text, size_t size)
{
    char path[300];
    snprintf(path, sizeof path, "/proc/%.20s/%s", pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    return n > 0 ? 0 : -1;
}

/* By its command line: that can be read whoever it is, and changes with the execve. */
static int is_init(const char *pid)
{
    char text[64];
    return read_file(pid, "cmdline", text, sizeof text) == 0 && strcmp(text, "pyrt-init") == 0;
}

static void look_at_rights(const char *pid)
{
    char text[4096], caps[32] = "?", mode[32] = "?", line[80];
    if (read_file(pid, "status", text, sizeof text) < 0)
        return;
    const char *at = strstr(text, "CapPrm:"), *filter = strstr(text, "Seccomp:");
    if (at)
        sscanf(at, "CapPrm: %31s", caps);
    if (filter)
        sscanf(filter, "Seccomp: %31s", mode);
    snprintf(line, sizeof line, "%s %s", caps, mode);
    if (is_init(pid))
        note("rights", line);
}

static void try_links(const char *pid)
{
    static const char *const names[] = {"exe", "cwd", "root", "ns/mnt"};
    char path[300], target[256];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "/proc/%.20s/%s", pid, names[i]);
        ssize_t n = readlink(path, target, sizeof target - 1);
        if (n >= 0 && is_init(pid))
            note("caught", names[i]);
    }
    for (int fd = 0; fd < 16; fd++) {
        snprintf(path, sizeof path, "/proc/%.20s/fd/%d", pid, fd);
        ssize_t n = readlink(path, target, sizeof target - 1);
        if (n < 0 || !is_init(pid))
            continue;
        target[n] = 0;
        char *number = strchr(target, '[');
        if (number)
            *number = 0;
        note("fd", target);
        note("caught", "fd");
    }
}

static void try_files(const char *pid)
{
    static const char *const names[] = {"mem", "environ", "maps", "exe", "syscall", "stack"};
    char path[300];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "/proc/%.20s/%s", pid, names[i]);
        int fd = open(path, (strcmp(names[i], "mem") && strcmp(names[i], "exe") ? O_RDONLY : O_RDWR) | O_CLOEXEC);
        char byte;
        int got = fd >= 0 && (strcmp(names[i], "mem") == 0 || strcmp(names[i], "exe") == 0 || read(fd, &byte, 1) >= 0);
        if (got && is_init(pid))
            note("caught", names[i]);
        if (fd >= 0)
            close(fd);
    }
}

static void try_trace(const char *pid)
{
    if (ptrace(PTRACE_SEIZE, atoi(pid), NULL, NULL) < 0)
        return;
    if (is_init(pid))
        note("caught", "trace");
}

/* What is traced is ours to bury first; with an argument it never is. */
static void let_go(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0)
        if (WIFSTOPPED(status))
            ptrace(PTRACE_DETACH, pid, NULL, NULL);
}

int main(int argc, char **argv)
{
    (void)argv;
    struct sigaction action = {.sa_handler = on_term};
    sigaction(SIGTERM, &action, NULL);
    char own[24];
    snprintf(own, sizeof own, "%d", getpid());
    printf("ready\n");
    fflush(stdout);
    while (!over) {
        DIR *proc = opendir("/proc");
        struct dirent *entry;
        while (proc && !over && (entry = readdir(proc))) {
            if (entry->d_name[0] < '0' || entry->d_name[0] > '9' || strcmp(entry->d_name, own) == 0 || !is_init(entry->d_name))
                continue;
            seen++;
            look_at_rights(entry->d_name);
            try_links(entry->d_name);
            try_files(entry->d_name);
            try_trace(entry->d_name);
        }
        if (proc)
            closedir(proc);
        if (argc == 1)
            let_go();
    }
    printf("seen %lu\n", seen);
    for (int i = 0; i < finding_count; i++)
        printf("%s\n", findings[i]);
    return 0;
}
