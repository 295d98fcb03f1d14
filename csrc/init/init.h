/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pyrt-init's parts. The program runs alone in the container's namespaces, so a step that fails reports and exits:
 * `fail` never returns. Nothing here allocates once the plan is read.
 */
#ifndef PYRT_INIT_H
#define PYRT_INIT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "plan.h"

#define INIT_SOCKET 3

/* A plan, pointing into the message it was read from. Strings are NUL-terminated inside the message. */
struct plan_pair {
    const char *first, *second;
    const char *content;  /* FILE: what follows the target */
    size_t content_bytes;
    unsigned flags;
    int fd;               /* VOLUME, FILE: its detached mount, owned */
};

struct plan_mask {
    struct pyrt_plan_mask entry;
    const char *path; /* relative, "" for the layer itself */
};

struct plan {
    const char *hostname, *user, *cwd, *rootfs;
    struct pyrt_plan_address address;
    struct plan_pair overlay;
    struct plan_mask masks[PYRT_PLAN_MASKS_MAX];
    struct plan_pair volumes[PYRT_PLAN_VOLUMES_MAX];
    struct plan_pair files[PYRT_PLAN_FILES_MAX];
    int volume_count, file_count, mask_count;
    int has_address, has_terminal, has_no_stdio, has_gate, readonly, no_new_privs, has_caps;
    uint16_t rows, columns;
    uint64_t caps;
    const void *seccomp;
    size_t seccomp_bytes;
    char **env, **argv;
    int stdio_fds[3]; /* owned; -1: the null device */
    char **groups;    /* files in which one that joins enters its groups; NULL for one that does not */
    int container_fd; /* owned: the pidfd of what it joins */
    int child_fd;     /* owned: where the pid of its child is noted */
};

/* What is made while parked and moved into the root later: descriptors of attached mounts, and of the old root; -1 for
 * what lxc-start has put into the root already. */
struct stage {
    int proc, sys, dev, files, host_root;
    int sysctl; /* /proc/sys as it is below the read-only mount */
    int terminal_master, terminal; /* opened when the plan asks for one */
};

/* report.c */
void report(enum pyrt_report_kind kind, int pass_fd);
__attribute__((noreturn)) void fail(const char *step, int error, const char *text);
__attribute__((noreturn)) void fail_path(const char *step, int error, const char *before, const char *path);

/* plan.c: pure but for the allocation of the two string arrays, which a caller of parse_plan provides. */
int parse_plan(const uint8_t *bytes, size_t size, struct plan *plan, char **strings, size_t string_count);
void receive_plan(struct plan *plan);
void pass_gate(const struct plan *plan);

/* entrances.c: files ended by NULL */
void enter_groups(char *const *files, const char *step);

/* stage.c: before the plan is known */
void begin_stage(struct stage *stage);
void complete_stage(struct stage *stage, unsigned init_flags);
void stage_cgroup(unsigned init_flags);

/* root.c */
void open_volumes(struct plan *plan);
void make_files(struct plan *plan, int files_fd);
void mount_root(const struct plan *plan, const char *mask, const char *target);
int open_root(const char *root);
struct timespec time_of(int directory_fd);
void put_back_time(int directory_fd, struct timespec time);
void make_root(const struct plan *plan);
void furnish_root(const struct plan *plan, struct stage *stage);

/* lxc.c: in the place of the native start's first half, when there is lxc-start between this program and itself */
__attribute__((noreturn)) void become_lxc_start(void);
void take_container_socket(void);
void take_mounts(struct plan *plan);
void adopt_stage(struct stage *stage);
void finish_network(const struct stage *stage, unsigned init_flags);

/* terminal.c */
void open_terminal(const struct plan *plan, struct stage *stage);
void connect_stdio(const struct plan *plan, const struct stage *stage);
void lead_session(const struct plan *plan);

/* user.c */
struct identity {
    uid_t uid;
    gid_t gid;
    gid_t groups[64];
    int group_count;
};
void resolve_user(const char *spec, struct identity *identity);

/* privileges.c */
void drop_privileges(const struct plan *plan, const struct identity *identity);

/* join.c */
__attribute__((noreturn)) void join(void);

/* execute.c */
void enter_directory(const char *cwd);
__attribute__((noreturn)) void execute(const struct plan *plan);

#endif
