/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor of starting a container: nothing but the kernel's work, by the cheapest calls known, nothing prepared.
 *
 * One run, as the parent sees it:
 *
 *   begin   mkdir cgroups -> clone3(VM|VFORK, all namespaces) of this same static program from a sealed memfd
 *           -> join cgroups -> (veth) -> "go" byte
 *           child: proc, sysfs, dev, devpts, shm, mqueue, overlay, pivot_root, masks, lo up, capabilities, seccomp
 *           -> execve of the payload; its CLOEXEC pipe closes
 *   exec    end of file on that pipe: "begin to exec"
 *   end     payload reaped, cgroups removed, overlay's directories cleaned: "whole run"
 *
 * usage: floor_start [-n REPEATS] [-w WAIT_MS] [-C] [-N] [-v BRIDGE] [-s BPF_FILE] LOWERDIR SCRATCHDIR [PROGRAM [ARG...]]
 *   -C without cgroup   -N without network namespace   -v a veth on this bridge   -w rest between two runs
 * Prints lines "NAME median_us p10_us p90_us": exec and whole.
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

#define GO_FD 3     /* the child waits here until its cgroups and network are made */
#define EXEC_FD 4   /* closes on exec: how the parent knows */
#define BPF_FD 5    /* the seccomp program, if any */

static const char *const hierarchies[] = {"memory", "cpu", "pids"};
#define HIERARCHIES (sizeof(hierarchies) / sizeof(hierarchies[0]))

struct options {
    int repeats, wait_ms, cgroup, network;
    const char *bridge, *bpf, *lower, *scratch;
    char **argv;
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

static int is_v1(void)
{
    return access("/sys/fs/cgroup/memory/cgroup.procs", F_OK) == 0;
}

static void cgroup_path(char *path, size_t size, size_t i, const char *file)
{
    if (is_v1())
        snprintf(path, size, "/sys/fs/cgroup/%s/pyrt-floor%d/%s", hierarchies[i], getpid(), file);
    else
        snprintf(path, size, "/sys/fs/cgroup/pyrt-floor%d/%s", getpid(), file);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        err(1, "%s", path);
    close(fd);
}

/* Makes the groups and their limits: memory 512 MiB, one cpu, 1024 tasks. Returns the v2 group's fd or -1. */
static int make_cgroups(void)
{
    static const char *const v1[HIERARCHIES][2] = {
        {"memory.limit_in_bytes", "536870912"}, {"cpu.cfs_quota_us", "100000"}, {"pids.max", "1024"}};
    static const char *const v2[HIERARCHIES][2] = {{"memory.max", "536870912"}, {"cpu.max", "100000"}, {"pids.max", "1024"}};
    char path[160];
    for (size_t i = 0; i < HIERARCHIES; i++) {
        cgroup_path(path, sizeof path, i, "");
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            err(1, "%s", path);
        cgroup_path(path, sizeof path, i, is_v1() ? v1[i][0] : v2[i][0]);
        write_file(path, is_v1() ? v1[i][1] : v2[i][1]);
    }
    if (is_v1())
        return -1;
    cgroup_path(path, sizeof path, 0, "");
    return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static void join_cgroups(pid_t pid)
{
    char path[160], text[16];
    snprintf(text, sizeof text, "%d", pid);
    for (size_t i = 0; i < HIERARCHIES && is_v1(); i++) {
        cgroup_path(path, sizeof path, i, "cgroup.procs");
        write_file(path, text);
    }
}

static void remove_cgroups(void)
{
    char path[160];
    for (size_t i = 0; i < HIERARCHIES; i++) {
        cgroup_path(path, sizeof path, i, "");
        for (int tries = 0; rmdir(path) < 0 && errno == EBUSY && tries < 1000; tries++)
            usleep(1000);
    }
}

/* The child from clone to exec: shares the parent's memory, so it does nothing but exec. */
static pid_t spawn(int program_fd, uint64_t namespaces, int cgroup_fd, int *pidfd, char *const argv[])
{
    struct clone_args args = {
        .flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | namespaces,
        .pidfd = (uint64_t)(uintptr_t)pidfd,
        .exit_signal = SIGCHLD,
    };
    static char *const no_environment[] = {NULL};
    static char stack[65536] __attribute__((aligned(16)));
    args.stack = (uint64_t)(uintptr_t)stack;
    args.stack_size = sizeof stack;
    if (cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup_fd;
    }
    return floor_clone_exec(&args, sizeof args, program_fd, argv, no_environment);
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

static void one_run(const struct options *o, int program_fd, int bpf_fd, double *to_exec, double *whole)
{
    char lower[4200], up[4200], work[4200];
    int go[2], executed[2], pidfd = -1, status;
    char *argv[40] = {"floor-init", lower, up, work, NULL};
    for (int i = 0; o->argv[i] && i < 32; i++)
        argv[4 + i] = o->argv[i];

    double begin = now_us();
    snprintf(lower, sizeof lower, "%s", o->lower);
    snprintf(up, sizeof up, "%s/up", o->scratch);
    snprintf(work, sizeof work, "%s/work", o->scratch);
    if (mkdir(up, 0755) < 0 || mkdir(work, 0755) < 0)
        err(1, "%s", up);
    if (pipe2(go, O_CLOEXEC) < 0 || pipe2(executed, O_CLOEXEC) < 0)
        err(1, "pipe");
    go[0] = high(go[0]), go[1] = high(go[1]), executed[0] = high(executed[0]), executed[1] = high(executed[1]);
    dup2(go[0], GO_FD);
    dup2(executed[1], EXEC_FD);
    if (bpf_fd >= 0)
        dup2(bpf_fd, BPF_FD);

    int cgroup_fd = o->cgroup ? make_cgroups() : -1;
    uint64_t namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC;
    pid_t pid = spawn(program_fd, namespaces | (o->network ? CLONE_NEWNET : 0), cgroup_fd, &pidfd, argv);
    if (pid < 0)
        err(1, "clone3");
    close(GO_FD), close(EXEC_FD), close(BPF_FD);
    close(go[0]), close(executed[1]);
    if (o->cgroup)
        join_cgroups(pid);
    if (o->bridge && floor_veth(pid, o->bridge) < 0)
        err(1, "veth");
    if (write(go[1], "g", 1) != 1)
        err(1, "go");
    char message[256];
    ssize_t n = read(executed[0], message, sizeof message - 1);
    *to_exec = now_us() - begin;
    waitpid(pid, &status, 0);
    close(go[1]), close(executed[0]), close(pidfd);
    if (cgroup_fd >= 0)
        close(cgroup_fd);
    if (o->cgroup)
        remove_cgroups();
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

static const char *scratch_directory;

static void clean_up(void) /* after a failure; after success there is nothing left */
{
    remove_cgroups();
    clean(scratch_directory);
}

int main(int argc, char **argv)
{
    if (strcmp(argv[0], "floor-init") == 0)
        floor_init(argv);
    struct options o = {.repeats = 1, .cgroup = 1, .network = 1};
    static char *program[] = {"/bin/true", NULL};
    for (int c; (c = getopt(argc, argv, "+n:w:CNv:s:")) != -1;) {
        switch (c) {
        case 'n': o.repeats = atoi(optarg); break;
        case 'w': o.wait_ms = atoi(optarg); break;
        case 'C': o.cgroup = 0; break;
        case 'N': o.network = 0; break;
        case 'v': o.bridge = optarg; break;
        case 's': o.bpf = optarg; break;
        default: return 2;
        }
    }
    if (argc - optind < 2 || o.repeats < 1)
        errx(2, "usage: floor_start [-n REPEATS] [-w WAIT_MS] [-C] [-N] [-v BRIDGE] [-s BPF_FILE] LOWERDIR SCRATCHDIR [PROGRAM...]");
    o.lower = argv[optind], o.scratch = argv[optind + 1];
    o.argv = argc - optind > 2 ? argv + optind + 2 : program;

    scratch_directory = o.scratch;
    atexit(clean_up);
    double *to_exec = calloc((size_t)o.repeats, sizeof *to_exec), *whole = calloc((size_t)o.repeats, sizeof *whole);
    if (o.cgroup && !is_v1())
        write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory +cpu +pids");
    int program_fd = high(seal_self());
    int bpf_fd = o.bpf ? high(open(o.bpf, O_RDONLY | O_CLOEXEC)) : -1;
    for (int i = 0; i < o.repeats; i++) {
        one_run(&o, program_fd, bpf_fd, &to_exec[i], &whole[i]);
        if (o.wait_ms)
            usleep((useconds_t)o.wait_ms * 1000);
    }
    print("exec", to_exec, o.repeats);
    print("whole", whole, o.repeats);
    free(to_exec);
    free(whole);
    return 0;
}
