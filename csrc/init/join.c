/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bringing one more program into a container that runs, and that is hostile by now.
 *
 * Theory of operation. A process can be seen in a container, and traced from there by who is capable of that, once it is
 * in the container's PID namespace. A process enters that only by being born in it. So everything is done outside: the
 * groups, the other namespaces, the terminal, the user, the capabilities, the system call filter. What is then born
 * inside has the rights of the container's own processes and not one more, no descriptor but its standard ones and the
 * socket, and this sealed program as its executable; it becomes the leader of a session, and the program.
 *
 * Looked up in the container's tree are /dev/pts, /dev/null, the passwd and group files, the working directory and the
 * program: each as one that expects the worst (terminal.c, user.c, execute.c).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "base/syscalls.h"
#include "init.h"

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

static void enter_namespaces(const struct plan *plan)
{
    /* All at once or none. The root and the working directory become those of the mount namespace; the PID namespace is
     * that of children only. */
    if (setns(plan->container_fd, NAMESPACES) < 0)
        fail("join", errno, "namespaces");
}

static int open_dev(void)
{
    int dev = sys_openat2(AT_FDCWD, "/dev", O_PATH | O_DIRECTORY | O_CLOEXEC, RESOLVE_NO_SYMLINKS);
    if (dev < 0)
        fail("stdio", -dev, "/dev");
    return dev;
}

/* A word that the kernel writes the child's pid into as it is born, and that the child has no access to. */
static pid_t *map_note(int fd)
{
    pid_t *note = mmap(NULL, sizeof *note, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (note == MAP_FAILED || madvise(note, sizeof *note, MADV_DONTFORK) < 0)
        fail("join", errno, "map the note of the pid");
    return note;
}

void join(void)
{
    struct plan plan;
    struct identity identity;
    struct stage stage = {.terminal = -1, .terminal_master = -1};

    receive_plan(&plan);
    if (!plan.groups)
        fail("plan", EBADMSG, "it names nothing to join");
    pid_t *note = map_note(plan.child_fd);
    /* First of all, while the files can still be reached: whatever is used from here on counts as the container's. */
    enter_groups(plan.groups, "join");
    enter_namespaces(&plan);
    stage.dev = open_dev();
    open_terminal(&plan, &stage);
    connect_stdio(&plan, &stage);
    sys_close_range(INIT_SOCKET + 1, ~0U, 0);
    resolve_user(plan.user, &identity);
    enter_directory(plan.cwd);
    drop_privileges(&plan, &identity);

    /* clone3 is not to be had behind the filter; the first three arguments are the same on every machine. */
    long child = syscall(SYS_clone, CLONE_PARENT | CLONE_PARENT_SETTID | SIGCHLD, NULL, note, NULL, NULL);
    if (child < 0)
        fail("join", errno, "start a process in the container");
    if (child > 0)
        _exit(0);
    lead_session(&plan);
    execute(&plan);
}
