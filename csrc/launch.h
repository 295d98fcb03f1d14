/* SPDX-License-Identifier: Apache-2.0 */
/* The parent's half of starting a container: clone3 into pyrt-init, hand it the plan, hear how it went. */
#ifndef PYRT_LAUNCH_H
#define PYRT_LAUNCH_H

#include <stddef.h>
#include <stdint.h>

#include "plan.h"

/* cdef: begin */
struct pyrt_slot {
    int pid;
    int pidfd;  /* owned by the caller, CLOEXEC */
    int socket; /* owned by the caller, CLOEXEC: the init's reports, and the way in for its plan */
};

/* Copies the program open at fd (at its beginning) into a sealed memfd. Returns the memfd or -errno. */
int pyrt_seal_program(int fd, const char *name);

/*
 * Starts the sealed program init_fd in new namespaces (CLONE_NEW* bits); it parks and waits for its plan. For
 * PYRT_INIT_JOIN there are no new namespaces, and the group is that of a running container.
 * init_flags: enum pyrt_init_flag. cgroup_fd: a v2 group it is born in, or -1. netns_fd: a network namespace
 * to join, or -1. groups: the files in which it enters other groups, as entrances.c has it, ended by NULL; or NULL.
 * It dies with the calling thread (SIGKILL). Blocks until the program runs, about 0.15 ms. Returns 0 or -errno; -E2BIG
 * for more than PYRT_LAUNCH_GROUPS_MAX groups.
 */
#define PYRT_LAUNCH_GROUPS_MAX 16
int pyrt_launch(int init_fd, uint64_t namespaces, unsigned init_flags, int cgroup_fd, int netns_fd,
                const char *const *groups, struct pyrt_slot *slot);

/* Makes this process the parent of its descendants' orphans, for good. Returns 0 or -errno. */
int pyrt_adopt_orphans(void);

/* Sends a plan and the descriptors that belong to it (borrowed). Blocks while the init has not read it. 0 or -errno. */
int pyrt_launch_go(int socket, const uint8_t *plan, size_t size, const int *fds, int fd_count);

/* Opens the gate of a plan that has one. Returns 0 or -errno (-EPIPE: the init has ended). */
int pyrt_launch_open_gate(int socket);

/*
 * Receives one report. Returns 1 and fills *report, and *passed_fd (owned by the caller) where one came with it: TERMINAL;
 * 0 at the end of the socket; -EAGAIN when wait is 0 and nothing is there yet; other -errno.
 */
int pyrt_launch_report(int socket, int wait, struct pyrt_report *report, int *passed_fd);
/* cdef: end */

#endif
