/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container's root is furnished with, made before the image is known, on a tmpfs of this mount namespace only.
 * Everything here is the kernel's own or was just made by us, so paths are safe: no image can have touched them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/syscalls.h"
#include "init.h"

/* The tmpfs covers this directory: it exists on every host, and nothing else of the host's is hidden by it. */
#define STAGE "/proc"
#define KERNEL_FS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

static void stage_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *options)
{
    if (mount(source, target, type, flags, options) < 0)
        fail_path("mounts", errno, "mount ", target);
}

static void make_directory(const char *path, mode_t mode)
{
    if (mkdir(path, mode) < 0)
        fail_path("mounts", errno, "mkdir ", path);
}

static void stage_dev(void)
{
    static const struct {
        const char *path;
        unsigned major, minor;
    } nodes[] = {{"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7}, {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
    static const struct {
        const char *target, *path;
    } links[] = {{"/proc/self/fd", "dev/fd"}, {"/proc/self/fd/0", "dev/stdin"}, {"/proc/self/fd/1", "dev/stdout"},
                 {"/proc/self/fd/2", "dev/stderr"}, {"pts/ptmx", "dev/ptmx"}, {"/proc/kcore", "dev/core"}};

    make_directory("dev", 0755);
    stage_mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
    mode_t previous = umask(0);
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
        if (mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)) < 0)
            fail_path("mounts", errno, "mknod ", nodes[i].path);
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        if (symlink(links[i].target, links[i].path) < 0)
            fail_path("mounts", errno, "symlink ", links[i].path);
    int console = open("dev/console", O_CREAT | O_EXCL | O_CLOEXEC, 0600); /* where a terminal is mounted */
    if (console < 0)
        fail("mounts", errno, "dev/console");
    close(console);
    make_directory("dev/pts", 0755);
    make_directory("dev/shm", 01777);
    make_directory("dev/mqueue", 01777);
    umask(previous);
    stage_mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
    stage_mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=65536k");
    stage_mount("mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

/* Returns 0 when there is nothing at path to hide; anything but its absence is an error (a mask must not fail open). */
static int exists(const char *path, struct stat *status)
{
    if (lstat(path, status) == 0)
        return 1;
    if (errno != ENOENT)
        fail_path("masks", errno, "", path);
    return 0;
}

static void mask(const char *path)
{
    struct stat status;
    if (!exists(path, &status))
        return;
    stage_mount(S_ISDIR(status.st_mode) ? "empty" : "dev/null", path, NULL, MS_BIND, NULL);
}

static void make_readonly(const char *path)
{
    struct stat status;
    if (!exists(path, &status))
        return;
    int fd = sys_open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    int target = open(path, O_PATH | O_CLOEXEC);
    int ret = fd < 0 ? fd : target < 0 ? -errno : sys_mount_set_readonly(fd, 0);
    if (ret == 0)
        ret = sys_move_mount(fd, target);
    if (ret < 0)
        fail_path("masks", -ret, "read-only ", path);
    close(fd);
    close(target);
}

/* Docker's lists (moby, oci/defaults.go), which podman and containerd share. */
static void hide_kernel(void)
{
    static const char *const masked[] = {
        "proc/acpi",        "proc/asound",     "proc/interrupts", "proc/kcore",      "proc/keys",
        "proc/latency_stats", "proc/sched_debug", "proc/scsi",   "proc/timer_list", "proc/timer_stats",
        "sys/firmware",     "sys/devices/virtual/powercap"};
    static const char *const readonly[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};

    /* One read-only directory hides every masked one: a file system each would be more to make and to take down. */
    make_directory("empty", 0555);
    make_readonly("empty");
    for (size_t i = 0; i < sizeof masked / sizeof *masked; i++)
        mask(masked[i]);
    for (size_t i = 0; i < sizeof readonly / sizeof *readonly; i++)
        make_readonly(readonly[i]);
}

static int open_staged(const char *path)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        fail_path("mounts", errno, "open ", path);
    return fd;
}

void begin_stage(struct stage *stage)
{
    *stage = (struct stage){.terminal = -1, .terminal_master = -1};
    /* First of all, for every mount there is: nothing made here may show up on the host. */
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        fail("mounts", errno, "make the mounts private");
    stage->host_root = open_staged("/");
    /* The files that a plan brings are made here too, and stay when it goes: hence the limit. */
    stage_mount("tmpfs", STAGE, "tmpfs", KERNEL_FS, "mode=700,size=16384k");
    if (chdir(STAGE) < 0)
        fail("mounts", errno, STAGE);

    make_directory("proc", 0555);
    stage_mount("proc", "proc", "proc", KERNEL_FS, NULL);
    stage->sysctl = open_staged("proc/sys");
}

void complete_stage(struct stage *stage, unsigned init_flags)
{
    int privileged = init_flags & PYRT_INIT_PRIVILEGED;

    make_directory("root", 0755);
    make_directory("mask", 0755);
    make_directory("files", 0755);
    make_directory("sys", 0555);
    stage_mount("sysfs", "sys", "sysfs", KERNEL_FS | (privileged ? 0 : MS_RDONLY), NULL);
    stage_dev();
    if (!privileged)
        hide_kernel();

    stage->proc = open_staged("proc");
    stage->sys = open_staged("sys");
    stage->dev = open_staged("dev");
    stage->files = open_staged("files");
}

/* After the group was joined and its namespace made: the mount shows what is the namespace's root at that moment. */
void stage_cgroup(unsigned init_flags)
{
    if (init_flags & PYRT_INIT_CGROUP2)
        stage_mount("cgroup", "sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL);
}
