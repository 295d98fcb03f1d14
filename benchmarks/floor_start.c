/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor of starting a container: nothing but the kernel's work, by the cheapest calls known.
 *
 * One run, as the parent sees it:
 *
 *   begin   mkdir the overlay's directories, cgroups and limits
 *           -> clone3(VM|VFORK, all namespaces, into the group of v2) of this same static program from a sealed memfd
 *           -> (veth) -> "go" byte
 *           child: its groups of v1, proc, sysfs, dev, devpts, shm, mqueue, overlay, pivot_root, masks, lo up, capabilities, seccomp
 *           -> execve of the payload; its CLOEXEC pipe closes
 *   exec    end of file on that pipe: "begin to exec"
 *   end     payload reaped, cgroups removed, overlay's directories cleaned: "whole run"
 *
 * Parked (-p), what no image can change is done before begin: the groups, without limits, clone, join, veth, and every
 * mount but the overlay. What remains after begin: the overlay's directories, limits, "go"; the child moves its mounts.
 *
 * usage: floor_start [-n REPEATS] [-i] [-p] [-C] [-N] [-v BRIDGE] [-s BPF_FILE] LOWERDIR SCRATCHDIR [PROGRAM [ARG...]]
 *   -p parked   -C without cgroup   -N without network namespace   -v a veth on this bridge   -s a seccomp program
 *   -i one run for each line of standard input, each answered by a line "EXEC_US WHOLE_US": a floor in a process that is
 *      as warm as the one it is compared with
 * Else prints lines "NAME median_us p10_us p90_us": exec and whole.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "floor_start.h"

struct options {
    int repeats, interactive, parked, cgroup, network;
    const char *bridge, *bpf, *lower, *scratch;
    char **argv;
};

/* A container between its two halves. */
struct start {
    pid_t pid;
    int pidfd, go_fd, executed_fd, cgroup_fd;
};

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* The sealed copy of this program that the child executes, as pyrt does with its init. */
static int seal_self(void)
{
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int fd = memfd_create("floor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    char buffer[65536];
    ssize_t n;
    while ((n = read(from, buffer, sizeof buffer)) > 0)
        if (write(fd, buffer, (size_t)n) != n)
            err(1, "memfd");
    close(from);
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        err(1, "seal");
    return fd;
}

/* The child from clone to exec: shares the parent's memory, so it does nothing but exec. */
static pid_t spawn(int program_fd, uint64_t namespaces, int cgroup_fd, int enters, int *pidfd, char *const argv[])
{
    struct clone_args args = {
        .flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | namespaces,
        .pidfd = (uint64_t)(uintptr_t)pidfd,
        .exit_signal = SIGCHLD,
    };
    static char group[64];
    char *environment[] = {group, NULL};
    static char stack[65536] __attribute__((aligned(16)));
    args.stack = (uint64_t)(uintptr_t)stack;
    args.stack_size = sizeof stack;
    snprintf(group, sizeof group, FLOOR_GROUP "=%s", enters ? floor_cgroup_name() : "");
    if (cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup_fd;
    }
    return floor_clone_exec(&args, sizeof args, program_fd, argv, environment);
}

/* Moves fd out of the low numbers that the child's descriptors will have. */
static int high(int fd)
{
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 64);
    if (moved < 0)
        err(1, "F_DUPFD");
    close(fd);
    return moved;
}

static void clean(const char *scratch)
{
    char path[4200];
    static const char *const names[] = {"up", "work/work", "work"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", scratch, names[i]);
        if (rmdir(path) < 0 && errno != ENOENT)
            warn("%s (the payload must not write)", path);
    }
}

static void overlay_path(char *path, size_t size, const struct options *o, const char *name)
{
    snprintf(path, size, "%s/%s", o->scratch, name);
}

static void make_directories(const struct options *o)
{
    static const char *const names[] = {"up", "work"};
    char path[4200];
    for (size_t i = 0; i < 2; i++) {
        overlay_path(path, sizeof path, o, names[i]);
        if (mkdir(path, 0755) < 0)
            err(1, "%s", path);
    }
}

/* From nothing to a child that waits for "go", in its groups and with its network. */
static void prepare(const struct options *o, int program_fd, int bpf_fd, struct start *start)
{
    static char up[4200], work[4200];
    char *argv[40] = {o->parked ? FLOOR_INIT_PARKED : FLOOR_INIT, (char *)o->lower, up, work, NULL};
    int go[2], executed[2];
    for (int i = 0; o->argv[i] && i < 32; i++)
        argv[4 + i] = o->argv[i];
    overlay_path(up, sizeof up, o, "up");
    overlay_path(work, sizeof work, o, "work");
    if (pipe2(go, O_CLOEXEC) < 0 || pipe2(executed, O_CLOEXEC) < 0)
        err(1, "pipe");
    go[0] = high(go[0]), go[1] = high(go[1]), executed[0] = high(executed[0]), executed[1] = high(executed[1]);
    dup2(go[0], GO_FD);
    dup2(executed[1], EXEC_FD);
    if (bpf_fd >= 0)
        dup2(bpf_fd, BPF_FD);

    start->cgroup_fd = o->cgroup ? floor_cgroup_make() : -1;
    if (o->cgroup && !o->parked)
        floor_cgroup_limit();
    uint64_t namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC;
    if (o->network)
        namespaces |= CLONE_NEWNET;
    start->pid = spawn(program_fd, namespaces, start->cgroup_fd, o->cgroup, &start->pidfd, argv);
    if (start->pid < 0)
        err(1, "clone3");
    close(GO_FD), close(EXEC_FD), close(BPF_FD);
    close(go[0]), close(executed[1]);
    if (o->bridge && floor_veth(start->pid, o->bridge) < 0)
        err(1, "veth");
    start->go_fd = go[1], start->executed_fd = executed[0];
}

static void park(const struct options *o, int program_fd, int bpf_fd, struct start *start)
{
    char message[256];
    prepare(o, program_fd, bpf_fd, start);
    ssize_t n = read(start->executed_fd, message, sizeof message);
    if (n != 1 || *message != *FLOOR_PARKED)
        errx(1, "parking failed: %.*s", n > 0 ? (int)n : 0, message);
}

/* Takes back everything of a run; returns the status of its process. */
static int finish(const struct options *o, struct start *start)
{
    int status;
    waitpid(start->pid, &status, 0);
    close(start->executed_fd), close(start->pidfd);
    if (start->cgroup_fd >= 0)
        close(start->cgroup_fd);
    if (o->cgroup)
        floor_cgroup_remove();
    return status;
}

/* Measures one run, of what is parked or from nothing. */
static void run(const struct options *o, int program_fd, int bpf_fd, struct start *start, double *to_exec, double *whole)
{
    double begin = now_us();
    make_directories(o);
    if (!o->parked)
        prepare(o, program_fd, bpf_fd, start);
    else if (o->cgroup)
        floor_cgroup_limit();
    if (write(start->go_fd, "g", 1) != 1)
        err(1, "go");
    char message[256];
    ssize_t n = read(start->executed_fd, message, sizeof message);
    *to_exec = now_us() - begin;
    close(start->go_fd);
    int status = finish(o, start);
    clean(o->scratch);
    *whole = now_us() - begin;
    if (n > 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        errx(1, "the run failed: status %x %.*s", status, (int)n, message);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print(const char *name, double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, ascending);
    printf("%s %.1f %.1f %.1f\n", name, values[count / 2], values[count / 10], values[count * 9 / 10]);
}

static int await_line(void)
{
    for (int c; (c = getchar()) != EOF;)
        if (c == '\n')
            return 1;
    return 0;
}

/* Answers a line when the next one is parked: nothing of this process runs while somebody else is measured. */
static void serve(const struct options *o, int program_fd, int bpf_fd)
{
    struct start start;
    double to_exec, whole;
    if (o->parked)
        park(o, program_fd, bpf_fd, &start);
    while (await_line()) {
        run(o, program_fd, bpf_fd, &start, &to_exec, &whole);
        if (o->parked)
            park(o, program_fd, bpf_fd, &start);
        printf("%.1f %.1f\n", to_exec, whole);
        fflush(stdout);
    }
    if (o->parked) {
        close(start.go_fd); /* not wanted: it ends */
        finish(o, &start);
    }
}

static void repeat(const struct options *o, int program_fd, int bpf_fd)
{
    struct start start;
    double *to_exec = calloc((size_t)o->repeats, sizeof *to_exec), *whole = calloc((size_t)o->repeats, sizeof *whole);
    for (int i = 0; i < o->repeats; i++) {
        if (o->parked)
            park(o, program_fd, bpf_fd, &start);
        run(o, program_fd, bpf_fd, &start, &to_exec[i], &whole[i]);
    }
    print("exec", to_exec, o->repeats);
    print("whole", whole, o->repeats);
    free(to_exec);
    free(whole);
}

static const char *scratch_directory;

static void clean_up(void) /* after a failure; after success only the shared group is left */
{
    floor_cgroup_remove();
    floor_cgroup_teardown();
    clean(scratch_directory);
}

int main(int argc, char **argv)
{
    if (strcmp(argv[0], FLOOR_INIT) == 0 || strcmp(argv[0], FLOOR_INIT_PARKED) == 0)
        floor_init(argv, strcmp(argv[0], FLOOR_INIT) != 0);
    struct options o = {.repeats = 1, .cgroup = 1, .network = 1};
    static char *program[] = {"/bin/true", NULL};
    for (int c; (c = getopt(argc, argv, "+n:ipCNv:s:")) != -1;) {
        switch (c) {
        case 'n': o.repeats = atoi(optarg); break;
        case 'i': o.interactive = 1; break;
        case 'p': o.parked = 1; break;
        case 'C': o.cgroup = 0; break;
        case 'N': o.network = 0; break;
        case 'v': o.bridge = optarg; break;
        case 's': o.bpf = optarg; break;
        default: return 2;
        }
    }
    if (argc - optind < 2 || o.repeats < 1)
        errx(2, "usage: floor_start [-n REPEATS] [-i] [-p] [-C] [-N] [-v BRIDGE] [-s BPF_FILE] LOWERDIR SCRATCHDIR [PROGRAM...]");
    o.lower = argv[optind], o.scratch = argv[optind + 1];
    o.argv = argc - optind > 2 ? argv + optind + 2 : program;

    scratch_directory = o.scratch;
    int program_fd = high(seal_self());
    int bpf_fd = o.bpf ? high(open(o.bpf, O_RDONLY | O_CLOEXEC)) : -1;
    floor_cgroup_setup();
    atexit(clean_up);
    if (o.interactive)
        serve(&o, program_fd, bpf_fd);
    else
        repeat(&o, program_fd, bpf_fd);
    return 0;
}
