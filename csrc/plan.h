/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parent of a container and pyrt-init say to each other over the init's socket. A container is started so:
 *
 *   parent                                  pyrt-init
 *   clone3, exec ------------------------>  makes what no image can change: /proc, /sys, /dev, lo
 *   cgroup, veth                            PARKED
 *   u32 size, plan, descriptors --------->  applies the plan
 *                                           TERMINAL + the terminal's master, if it asked for one
 *                                           EXECUTING, then execve closes the socket: it runs
 *                                           or FAILED (step, errno, text), then exit
 *
 * And a program joins a container that runs so (PYRT_INIT_JOIN):
 *
 *   parent                                  pyrt-init, outside             its child, inside
 *   clone3, exec ------------------------>  (waits, without a word)
 *   u32 size, plan, descriptors --------->  enters groups and namespaces,
 *                                           applies the rest of the plan
 *                                           TERMINAL + the master, if it asked for one
 *                                           clone: the kernel notes the
 *                                           child's pid; exit              EXECUTING, then execve: it runs
 *                                                                          or FAILED, then exit
 *
 * The child is the parent's own (CLONE_PARENT). From its birth on it can be seen in the container, and it never has more
 * rights than the container's own processes: what it says is believed as far as one of them would be. So TERMINAL counts
 * as the first report only, and the child's pid is in a file that no process inside has ever had.
 *
 * The end of the socket without EXECUTING or FAILED means that the init died.
 *
 * A plan is a sequence of records: u16 op, u16 flags, u32 size, then size bytes, all in the machine's byte order.
 */
#ifndef PYRT_PLAN_H
#define PYRT_PLAN_H

#include <stddef.h>
#include <stdint.h>

/* cdef: begin */
enum pyrt_init_flag {
    PYRT_INIT_PRIVILEGED = 1,   /* nothing masked or read-only in /proc and /sys */
    PYRT_INIT_HOST_NETWORK = 2, /* the network namespace is not the container's own */
    PYRT_INIT_CGROUP2 = 4,      /* show the container's own group, read-only, at /sys/fs/cgroup */
    PYRT_INIT_JOIN = 8,         /* nothing is made: the plan names a container that runs */
    PYRT_INIT_BEFORE_LXC = 64,  /* becomes lxc-start; only its mount namespace is new (csrc/init/lxc.c) */
    PYRT_INIT_AFTER_LXC = 128,  /* started by lxc-start, which has made namespaces, root, /proc, /sys and /dev */
};

enum pyrt_plan_op {
    PYRT_PLAN_HOSTNAME = 1, /* string */
    PYRT_PLAN_ADDRESS,      /* struct pyrt_plan_address: eth0 */
    PYRT_PLAN_OVERLAY,      /* directory, options: the root; relative paths in options start at directory */
    PYRT_PLAN_MASK,         /* struct pyrt_plan_mask, path: an entry of a layer that OVERLAY finds as PYRT_MASK_PATH */
    PYRT_PLAN_ROOTFS,       /* path: the root is this directory itself */
    PYRT_PLAN_READONLY,     /* empty: the root is read-only once it is furnished */
    PYRT_PLAN_VOLUME,       /* source on the host, target; flags: 1 read-only */
    PYRT_PLAN_FILE,         /* target, then the content: a file mounted over the root's own */
    PYRT_PLAN_STDIO,        /* flags: 1 stdin is among the descriptors (then stdout, stderr) or it is /dev/null;
                               2 none is, and all three are */
    PYRT_PLAN_TERMINAL,     /* u16 rows, u16 columns: a terminal instead of three descriptors */
    PYRT_PLAN_USER,         /* string: user[:group], names or numbers, as the root's own files know them */
    PYRT_PLAN_CWD,          /* string */
    PYRT_PLAN_CAPS,         /* u64: bounding, permitted and effective set */
    PYRT_PLAN_NO_NEW_PRIVS, /* empty */
    PYRT_PLAN_SECCOMP,      /* array of struct sock_filter */
    PYRT_PLAN_ENV,          /* strings, NUL after each */
    PYRT_PLAN_ARGV,         /* strings, NUL after each */
    PYRT_PLAN_JOIN,         /* strings, NUL after each: files 0 is written to (tasks, cgroup.procs). Two descriptors come first:
                               the pidfd of the container's first process, and a file of at least four bytes of memory,
                               for the pid of the process inside, as the parent sees it (i32; 0 until it is born) */
    PYRT_PLAN_GATE,         /* empty: the program waits for one byte more, whatever it is; not with JOIN */
};

struct pyrt_plan_address {
    uint32_t address;       /* network byte order */
    uint32_t gateway;       /* network byte order */
    uint32_t prefix_length;
};

struct pyrt_plan_mask {
    uint32_t mode;          /* of a directory; 0 is a whiteout */
    uint32_t uid, gid;
};

enum pyrt_report_kind {
    PYRT_REPORT_PARKED = 1,   /* carries its pidfd, if it was started by lxc-start */
    PYRT_REPORT_TERMINAL = 2, /* carries the master's descriptor */
    PYRT_REPORT_EXECUTING = 3,
    PYRT_REPORT_FAILED = 4,
};

struct pyrt_report {
    uint32_t kind;
    int32_t error; /* errno, 0 when the text says it all */
    char step[24];
    char text[224];
};
/* cdef: end */

#define PYRT_MASK_PATH "/proc/mask"
#define PYRT_PLAN_MASKS_MAX 64
#define PYRT_PLAN_MAX (8 << 20)
#define PYRT_PLAN_VOLUMES_MAX 64
#define PYRT_PLAN_FILES_MAX 8
#define PYRT_PLAN_SECCOMP_MAX (4096 * 8) /* the kernel's BPF_MAXINSNS */
#define PYRT_VOLUME_READONLY 1
#define PYRT_STDIO_STDIN 1
#define PYRT_STDIO_NONE 2
#define PYRT_PLAN_FDS_MAX 5

struct pyrt_plan_record {
    uint16_t op, flags;
    uint32_t size;
};

#endif
