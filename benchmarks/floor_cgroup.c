/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The start floor's cgroups: the groups that pyrt gives a container, in the order it makes and joins them. On v1 or a
 * hybrid: the v2 tree's (if there is one), memory, cpu and pids, and one `devices` group that all runs share, with
 * the list of allowed devices. In the group of v2 the child is born; into those of v1 it goes by itself, by `tasks`: to
 * be moved through cgroup.procs costs 5 to 12 ms where nobody has been lately.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "floor_start.h"

#define ROOT "/sys/fs/cgroup/"
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Found out by floor_cgroup_setup: the hierarchies a run has groups of, relative to ROOT. */
static const char *const *groups;
static size_t group_count;
static int v1, devices_group;
static char name[32];

static void look_around(void)
{
    static const char *const on_v1[] = {"unified", "memory", "cpu", "pids"};
    static const char *const on_v2[] = {"."};
    snprintf(name, sizeof name, "pyrt-floor%d", getpid());
    v1 = access(ROOT "memory/cgroup.procs", F_OK) == 0;
    devices_group = access(ROOT "devices/cgroup.procs", F_OK) == 0;
    groups = v1 ? on_v1 : on_v2;
    group_count = v1 ? COUNT(on_v1) : COUNT(on_v2);
    if (v1 && access(ROOT "unified/cgroup.procs", F_OK) < 0) /* no v2 tree here */
        groups++, group_count--;
}

static const char *group_path(const char *hierarchy, const char *file)
{
    static char path[160];
    snprintf(path, sizeof path, ROOT "%s/%s/%s", hierarchy, name, file);
    return path;
}

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int ret = fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
    close(fd);
    return ret;
}

static void must_write(const char *path, const char *text)
{
    int ret = write_file(path, text);
    if (ret < 0)
        errx(1, "%s to %s: %s", text, path, strerror(-ret));
}

void floor_cgroup_setup(void)
{
    static const char *const devices[] = {"c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm",
                                          "c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm"};
    look_around();
    if (!v1)
        must_write(ROOT "cgroup.subtree_control", "+memory +cpu +pids");
    if (!devices_group)
        return;
    if (mkdir(group_path("devices", ""), 0755) < 0 && errno != EEXIST)
        err(1, "%s", group_path("devices", ""));
    must_write(group_path("devices", "devices.deny"), "a");
    for (size_t i = 0; i < COUNT(devices); i++)
        write_file(group_path("devices", "devices.allow"), devices[i]); /* fails where we are confined ourselves */
}

int floor_cgroup_make(void)
{
    for (size_t i = 0; i < group_count; i++)
        if (mkdir(group_path(groups[i], ""), 0755) < 0 && errno != EEXIST)
            err(1, "%s", group_path(groups[i], ""));
    return open(group_path(v1 ? "unified" : ".", ""), O_PATH | O_DIRECTORY | O_CLOEXEC); /* -1: there is no v2 here */
}

void floor_cgroup_limit(void)
{
    static const char *const on_v1[][3] = {{"memory", "memory.limit_in_bytes", "536870912"},
                                        {"memory", "memory.memsw.limit_in_bytes", "1073741824"},
                                        {"cpu", "cpu.cfs_quota_us", "100000"},
                                        {"pids", "pids.max", "1024"}};
    static const char *const on_v2[][3] = {{".", "memory.max", "536870912"},
                                        {".", "memory.swap.max", "536870912"},
                                        {".", "cpu.max", "100000 100000"},
                                        {".", "pids.max", "1024"}};
    const char *const(*files)[3] = v1 ? on_v1 : on_v2;
    for (size_t i = 0; i < COUNT(on_v1); i++) {
        int ret = write_file(group_path(files[i][0], files[i][1]), files[i][2]);
        if (ret < 0 && ret != -ENOENT) /* there is no account of swap on some machines */
            errx(1, "%s: %s", files[i][1], strerror(-ret));
    }
}

const char *floor_cgroup_name(void)
{
    return v1 ? name : "";
}

void floor_cgroup_enter(const char *of_parent)
{
    static const char *const on_v1[] = {"memory", "cpu", "pids", "devices"};
    snprintf(name, sizeof name, "%s", of_parent);
    for (size_t i = 0; i < COUNT(on_v1); i++) {
        int ret = write_file(group_path(on_v1[i], "tasks"), "0");
        if (ret < 0 && ret != -ENOENT) /* not every machine has devices */
            errx(1, "%s: %s", on_v1[i], strerror(-ret));
    }
}

static void remove_group(const char *path)
{
    for (int tries = 0; rmdir(path) < 0 && errno == EBUSY && tries < 1000; tries++)
        usleep(1000);
}

void floor_cgroup_remove(void)
{
    for (size_t i = 0; i < group_count; i++)
        remove_group(group_path(groups[i], ""));
}

void floor_cgroup_teardown(void)
{
    if (devices_group)
        remove_group(group_path("devices", ""));
}
