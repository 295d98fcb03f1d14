/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard input, output and error: three descriptors from the parent, or a terminal of the container's own devpts.
 * For one that joins, /dev is what the container has made of it: nothing is taken for a device that does not prove to be.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <termios.h>
#include <unistd.h>

#include "base/syscalls.h"
#include "init.h"

static int is_device(int fd, unsigned major_number, unsigned minor_number)
{
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == makedev(major_number, minor_number);
}

/* In a devpts only the kernel makes entries, so the ptmx of one is the real one, unless something is mounted on it. */
static int open_master(int dev)
{
    struct statfs where;
    int pts = sys_openat2(dev, "pts", O_PATH | O_DIRECTORY | O_CLOEXEC, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    if (pts < 0)
        fail("terminal", -pts, "open /dev/pts");
    if (fstatfs(pts, &where) < 0 || where.f_type != DEVPTS_SUPER_MAGIC)
        fail("terminal", 0, "/dev/pts is no devpts");
    int master = sys_openat2(pts, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC,
                             RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
    if (master < 0)
        fail("terminal", -master, "open /dev/pts/ptmx");
    if (!is_device(master, 5, 2))
        fail("terminal", 0, "/dev/pts/ptmx is no terminal multiplexer");
    close(pts);
    return master;
}

static void mount_console(const struct stage *stage)
{
    int mount_fd = sys_open_tree(stage->terminal, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    int console = openat(stage->dev, "console", O_PATH | O_CLOEXEC);
    int ret = mount_fd < 0 ? mount_fd : console < 0 ? -errno : sys_move_mount(mount_fd, console);
    if (ret < 0)
        fail("terminal", -ret, "mount /dev/console");
    close(mount_fd);
    close(console);
}

void open_terminal(const struct plan *plan, struct stage *stage)
{
    struct winsize size = {.ws_row = plan->rows, .ws_col = plan->columns};
    int unlocked = 0;

    if (!plan->has_terminal)
        return;
    int master = open_master(stage->dev);
    if (ioctl(master, TIOCSPTLCK, &unlocked) < 0 || ioctl(master, TIOCSWINSZ, &size) < 0)
        fail("terminal", errno, "open");
    /* By descriptor: a name under /dev/pts could be somebody else's by now. */
    stage->terminal = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (stage->terminal < 0)
        fail("terminal", errno, "open its other end");
    if (!plan->groups) /* the console is the first process's */
        mount_console(stage);
    report(PYRT_REPORT_TERMINAL, master);
    close(master);
}

/* The container's own null device: a descriptor of the host's would lead out of it. */
static int open_null(const struct stage *stage)
{
    /* O_NONBLOCK: what lies there instead, a FIFO perhaps, must not hold us up. */
    int fd = sys_openat2(stage->dev, "null", O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    if (fd < 0)
        fail("stdio", -fd, "/dev/null");
    if (!is_device(fd, 1, 3))
        fail("stdio", 0, "/dev/null is not the null device");
    if (fcntl(fd, F_SETFL, 0) < 0)
        fail("stdio", errno, "/dev/null");
    return fd;
}

void connect_stdio(const struct plan *plan, const struct stage *stage)
{
    for (int i = 0; i < 3; i++) {
        int fd = plan->has_terminal ? stage->terminal : plan->stdio_fds[i];
        if (dup2(fd < 0 ? open_null(stage) : fd, i) < 0)
            fail("stdio", errno, "dup2");
    }
}

void lead_session(const struct plan *plan)
{
    if (setsid() < 0 && getsid(0) != getpid()) /* lxc-start has seen to it */
        fail("stdio", errno, "setsid");
    if (plan->has_terminal && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
        fail("terminal", errno, "take control");
}
