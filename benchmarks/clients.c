/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts a program again and again, CLIENTS copies at a time, and measures each from its spawn until it was collected.
 * In C, so that the figure is the program's and not that of an interpreter that starts it.
 *
 * usage: clients CLIENTS TOTAL PROGRAM [ARG...]     "{}" within an argument becomes the number of the start
 * Prints microseconds: first of the whole, then of each start as they ended. Standard output of the programs is dropped.
 * The first that does not end with status 0 is the last that is started; clients then ends with status 1.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

struct client {
    pid_t pid;
    double begin_us;
};

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* The argument with the number in the place of {}; what asprintf made is not freed, it is a few bytes a start. */
static char *numbered(char *argument, long number)
{
    char *mark = strstr(argument, "{}"), *made;
    if (!mark)
        return argument;
    if (asprintf(&made, "%.*s%ld%s", (int)(mark - argument), argument, number, mark + 2) < 0)
        err(1, "asprintf");
    return made;
}

static void start(struct client *client, char **argv, int count, long number, const posix_spawn_file_actions_t *actions)
{
    char *words[count + 1];
    for (int i = 0; i <= count; i++)
        words[i] = argv[i] ? numbered(argv[i], number) : NULL;
    client->begin_us = now_us();
    int error = posix_spawnp(&client->pid, words[0], actions, NULL, words, environ);
    if (error)
        errx(1, "%s: %s", words[0], strerror(error));
}

int main(int argc, char **argv)
{
    long clients = argc > 3 ? atol(argv[1]) : 0, total = argc > 3 ? atol(argv[2]) : 0;
    if (clients < 1 || total < 1)
        errx(2, "usage: clients CLIENTS TOTAL PROGRAM [ARG...]");
    if (clients > total)
        clients = total;
    struct client *running = calloc((size_t)clients, sizeof *running);
    double *took_us = calloc((size_t)total, sizeof *took_us);
    long started = 0, ended = 0;
    int failed = 0;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);

    double begin_us = now_us();
    for (; started < clients; started++)
        start(&running[started], argv + 3, argc - 3, started, &actions);
    while (ended < started) {
        int status;
        pid_t pid = waitpid(-1, &status, 0);
        double end_us = now_us();
        if (pid < 0)
            err(1, "waitpid");
        long slot = 0;
        while (running[slot].pid != pid)
            slot++;
        took_us[ended++] = end_us - running[slot].begin_us;
        failed |= status;
        if (!failed && started < total)
            start(&running[slot], argv + 3, argc - 3, started++, &actions);
    }
    double whole_us = now_us() - begin_us;
    if (failed)
        return 1;
    printf("%.1f\n", whole_us);
    for (long i = 0; i < ended; i++)
        printf("%.1f\n", took_us[i]);
    return 0;
}
