/* SPDX-License-Identifier: Apache-2.0 */
/* The three parts of the start floor: the raw clone, the child's side, the veth. See floor_start.c. */
#ifndef FLOOR_START_H
#define FLOOR_START_H

#include <linux/sched.h>
#include <stddef.h>
#include <sys/types.h>

/* clone3 whose child executes program_fd at once. argv[0] must be "floor-init". Returns the pid, or -1 and errno. */
pid_t floor_clone_exec(struct clone_args *args, size_t size, int program_fd, char *const argv[], char *const env[]);

/* Everything inside the container; argv: floor-init LOWER UPPER WORK PROGRAM ARGS. Never returns. */
_Noreturn void floor_init(char **argv);

/* A veth whose peer is born as eth0 in the namespace of pid, its host side up on the bridge. 0 or -1 and errno. */
int floor_veth(pid_t pid, const char *bridge);

#endif
