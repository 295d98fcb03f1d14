/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pyrt-init's two places in a start through lxc-start.
 *
 * Before it: in a mount namespace that lxc-start will have for itself, the container's root is mounted, so that the
 * kernel unmounts it when lxc-start ends. Volumes and small files are opened here as well, as detached mounts: lxc
 * refuses a target behind a symbolic link, which images are full of. They wait, with the socket that the container
 * reports on, in a queue of which lxc-start knows only that it is its standard output.
 *
 * After it: lxc-start executes this program, its own standard input, as the container's first process (Docker 0.1.0's
 * SysInit). Namespaces, host name, eth0, root, /proc, /sys and /dev are there; what the queue holds is mounted, and the
 * rest of a start is the same as without lxc.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/syscalls.h"
#include "init.h"
#include "netlink.h"

#define STAGE "/run/lxc" /* lxc's own directory: what it leaves there goes with this tmpfs */

static void send_fd(int socket, int fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    char byte = 0;
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};

    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    if (sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) /* nobody reads before lxc-start has been started */
        fail("lxc", errno, "hand a descriptor on");
}

static int receive_fd(int socket)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    int fd = -1;
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};

    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1)
        return -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

static int make_stage(void)
{
    static const char *const directories[] = {"root", "rootfs", "mask", "files"};

    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        fail("mounts", errno, "make the mounts private");
    if (mount("tmpfs", STAGE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=700") < 0 || chdir(STAGE) < 0)
        fail("mounts", errno, STAGE);
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
        if (mkdir(directories[i], 0755) < 0)
            fail("mounts", errno, directories[i]);
    if (mount("tmpfs", "files", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755,size=16384k") < 0)
        fail("mounts", errno, "files");
    int files = open("files", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (files < 0)
        fail("mounts", errno, "files");
    return files;
}

/* The plan's three descriptors: this program for standard input, the container's socket, lxc-start's messages. */
void become_lxc_start(void)
{
    struct plan plan;
    int queue[2];
    int files_fd = make_stage();

    receive_plan(&plan);
    open_volumes(&plan);
    make_files(&plan, files_fd);
    mount_root(&plan, STAGE "/mask", STAGE "/root");
    struct timespec root_time = time_of(open_root(STAGE "/root"));

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, queue) < 0)
        fail("lxc", errno, "socketpair");
    send_fd(queue[0], plan.stdio_fds[1]);
    for (int i = 0; i < plan.volume_count; i++)
        send_fd(queue[0], plan.volumes[i].fd);
    for (int i = 0; i < plan.file_count; i++)
        send_fd(queue[0], plan.files[i].fd);
    if (send(queue[0], &root_time, sizeof root_time, MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof root_time)
        fail("lxc", errno, "hand the root's time on");
    if (chdir("/") < 0 || dup2(plan.stdio_fds[0], 0) < 0 || dup2(queue[1], 1) < 0 || dup2(plan.stdio_fds[2], 2) < 0)
        fail("lxc", errno, "standard input and output");
    execute(&plan);
}

void take_container_socket(void)
{
    int fd = receive_fd(STDOUT_FILENO);
    if (fd < 0 || (fd != INIT_SOCKET && dup3(fd, INIT_SOCKET, O_CLOEXEC) < 0))
        _exit(125); /* there is nobody to tell; lxc-start ends as well, and that says it */
    if (fd != INIT_SOCKET)
        close(fd);
}

void take_mounts(struct plan *plan)
{
    for (int i = 0; i < plan->volume_count; i++)
        if ((plan->volumes[i].fd = receive_fd(STDOUT_FILENO)) < 0)
            fail("volume", 0, plan->volumes[i].first);
    for (int i = 0; i < plan->file_count; i++)
        if ((plan->files[i].fd = receive_fd(STDOUT_FILENO)) < 0)
            fail("files", 0, plan->files[i].first);

    /* lxc makes a file in the root and removes it, which is not the container's doing either. */
    struct timespec root_time;
    if (recv(STDOUT_FILENO, &root_time, sizeof root_time, 0) != sizeof root_time)
        fail("root", 0, "its time is missing");
    put_back_time(AT_FDCWD, root_time);
}

/* /proc/sys, which is read-only by now, in a mount of proc that is nowhere attached. */
static int open_sysctl(void)
{
    int context = sys_fsopen("proc");
    int ret = context < 0 ? context : sys_fsconfig_create(context);
    int proc = ret < 0 ? ret : sys_fsmount(context, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    int sysctl = proc < 0 ? proc : sys_openat2(proc, "sys", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (sysctl < 0)
        fail("mounts", -sysctl, "proc");
    close(context);
    close(proc);
    return sysctl;
}

void adopt_stage(struct stage *stage)
{
    *stage = (struct stage){.proc = -1, .sys = -1, .files = -1, .host_root = -1, .terminal = -1, .terminal_master = -1};
    if (chdir("/") < 0)
        fail("mounts", errno, "/");
    stage->dev = open("dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int console = openat(stage->dev, "console", O_CREAT | O_CLOEXEC, 0600); /* where a terminal is mounted */
    if (console < 0)
        fail("mounts", errno, "dev/console");
    close(console);
    stage->sysctl = open_sysctl();
}

/* lxc has given eth0 its addresses; what it does not know of such an interface is in netlink.h. */
void finish_network(const struct stage *stage, unsigned init_flags)
{
    if (init_flags & PYRT_INIT_HOST_NETWORK)
        return;
    int ret = pyrt_disable_ipv6(stage->sysctl, "eth0");
    if (ret < 0 && ret != -ENOENT)
        fail("network", -ret, "switch IPv6 off");
    ret = pyrt_link_settle("eth0");
    if (ret < 0 && ret != -ENODEV)
        fail("network", -ret, "eth0");
}
