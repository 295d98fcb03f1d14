/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel work of a container's cgroups: make its directories and write its limits, move a process in, remove them.
 *
 * A plan is a run of NUL-terminated records, the first byte of each its kind:
 *
 *     d PATH    make this directory; it must not exist yet
 *     p PATH    make this directory, or find it there (a parent)
 *     w PATH    open this file for writing
 *     = TEXT    write TEXT with one write(2) to the file opened last (devices.allow takes a rule per write)
 *     j PATH    write the pid to this file (a cgroup.procs)
 *
 * so that Python makes one with a single bytes.replace() of the container's id, and one call does all of it. Nothing
 * here allocates. Every function returns >= 0 or -errno and stores the index of the record that failed in *failed. */
#ifndef PYRT_CGROUP_H
#define PYRT_CGROUP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* cdef: begin */
/* Carries out a plan; returns the number of records. When one fails, the `d` directories made so far are removed. */
int cgroup_apply(const char *plan, size_t length, int pid, int *failed);

/* Removes the `d` directories of a plan; one that is not there is no failure. The kernel answers EBUSY until
 * the last process is really gone, so that is tried again, sleeping, for at most timeout_ms. Goes on past a failure and
 * returns the first. */
int cgroup_remove(const char *plan, size_t length, int timeout_ms, int *failed);

struct cgroup_device {
    char type;       /* 'c' or 'b' */
    int64_t major;
    int64_t minor;   /* -1: every minor */
};

/* Loads a program that allows open and mknod of these devices, and mknod of no others; returns its descriptor. */
int cgroup_device_load(const struct cgroup_device *devices, int count);

/* Attaches that program to the v2 cgroup that cgroup_fd (not O_PATH) names, beside any of its parents'. */
int cgroup_device_attach(int program_fd, int cgroup_fd);
/* cdef: end */

#endif
