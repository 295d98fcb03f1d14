/* SPDX-License-Identifier: Apache-2.0 */
/* Standard input, output and error: three descriptors from the parent, or a terminal of the container's own devpts. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/syscalls.h"
#include "init.h"

void open_terminal(const struct plan *plan, struct stage *stage)
{
    struct winsize size = {.ws_row = plan->rows, .ws_col = plan->columns};
    int unlocked = 0;

    if (!plan->has_terminal)
        return;
    int master = openat(stage->dev, "pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) < 0 || ioctl(master, TIOCSWINSZ, &size) < 0)
        fail("terminal", errno, "open");
    /* By descriptor: a name under /dev/pts could be somebody else's by now. */
    stage->terminal = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (stage->terminal < 0)
        fail("terminal", errno, "open its other end");

    int mount_fd = sys_open_tree(stage->terminal, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    int console = openat(stage->dev, "console", O_PATH | O_CLOEXEC);
    int ret = mount_fd < 0 ? mount_fd : console < 0 ? -errno : sys_move_mount(mount_fd, console);
    if (ret < 0)
        fail("terminal", -ret, "mount /dev/console");
    close(mount_fd);
    close(console);
    report(PYRT_REPORT_TERMINAL, master);
    close(master);
}

void connect_stdio(const struct plan *plan, const struct stage *stage)
{
    int fds[3] = {plan->stdio_fds[0], plan->stdio_fds[1], plan->stdio_fds[2]};

    if (setsid() < 0 && getsid(0) != getpid()) /* lxc-start has seen to it */
        fail("stdio", errno, "setsid");
    if (plan->has_terminal) {
        if (ioctl(stage->terminal, TIOCSCTTY, 0) < 0)
            fail("terminal", errno, "take control");
        fds[0] = fds[1] = fds[2] = stage->terminal;
    }
    if (fds[0] < 0) {
        /* The container's own null device: a descriptor of the host's would lead out of it. */
        fds[0] = openat(stage->dev, "null", O_RDONLY | O_CLOEXEC);
        if (fds[0] < 0)
            fail("stdio", errno, "/dev/null");
    }
    for (int i = 0; i < 3; i++)
        if (dup2(fds[i], i) < 0)
            fail("stdio", errno, "dup2");
}
