/* SPDX-License-Identifier: Apache-2.0 */
/* The four parts of the start floor: the raw clone and the child's side, the cgroups, the veth. See floor_start.c. */
#ifndef FLOOR_START_H
#define FLOOR_START_H

#include <linux/sched.h>
#include <stddef.h>
#include <sys/types.h>

#define FLOOR_GROUP "FLOOR_GROUP" /* the variable that tells the child which groups it enters */
#define GO_FD 3   /* the child waits here until its cgroups and network are made, and, parked, until it is wanted */
#define EXEC_FD 4 /* closes on exec: how the parent knows */
#define BPF_FD 5  /* the seccomp program, if any */

#define FLOOR_INIT "floor-init" /* argv[0] of the child: what it is to do */
#define FLOOR_INIT_PARKED "floor-init-parked"
#define FLOOR_PARKED "p" /* what a parked child says on EXEC_FD; anything else there is an error's text */

/* clone3 whose child executes program_fd at once. Returns the pid, or -1 and errno. */
pid_t floor_clone_exec(struct clone_args *args, size_t size, int program_fd, char *const argv[], char *const env[]);

/* Everything inside the container; argv: FLOOR_INIT LOWER UPPER WORK PROGRAM ARGS. Never returns. */
_Noreturn void floor_init(char **argv, int parked);

/* What the groups of this process's runs need that is made once: the list of devices, v2's controllers. */
void floor_cgroup_setup(void);
/* The groups of one run, without limits. Returns the v2 group's descriptor where a child can be born in it, or -1. */
int floor_cgroup_make(void);
void floor_cgroup_limit(void); /* 512 MiB of memory (and as much swap), one processor, 1024 tasks */
const char *floor_cgroup_name(void);            /* what the child has to enter, "" if nothing */
void floor_cgroup_enter(const char *of_parent); /* the child's: the groups of this name */
void floor_cgroup_remove(void);
void floor_cgroup_teardown(void); /* undoes the setup */

/* A veth whose peer is born as eth0 in the namespace of pid, its host side up on the bridge. 0 or -1 and errno. */
int floor_veth(pid_t pid, const char *bridge);

#endif
