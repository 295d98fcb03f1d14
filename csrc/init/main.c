/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pyrt-init: the first process of a container, until it becomes the container's program; and, in join.c, what brings
 * another program into a container that runs.
 *
 * Theory of operation. The parent clones this program into its namespaces from a sealed memfd, with one descriptor: the
 * socket of plan.h. While parked, the init makes everything that no image can influence, on a tmpfs that covers /proc in
 * its own mount namespace: proc, sysfs and a /dev of its own, masked and read-only where they must be. The plan then
 * brings the image: the root is mounted beside them, becomes / by pivot_root, and only then is furnished, so that a
 * symbolic link in a hostile image leads at most to another place in the same image. From the pivot on, nothing is
 * looked up by path that was not put there by the plan; the host's tree is gone before the container's user is read.
 *
 * No allocation after the plan is read, no name service, no locale: the program is static and calls nothing of the kind.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/keyctl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "base/syscalls.h"
#include "init.h"
#include "netlink.h"

static void setup_process(void)
{
    sigset_t none;
    struct sigaction by_default = {.sa_handler = SIG_DFL};

    /* Handlers went at the exec; what the parent ignored (Python: SIGPIPE) or blocked did not. */
    for (int signal = 1; signal < NSIG; signal++)
        sigaction(signal, &by_default, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);

    if (fcntl(INIT_SOCKET, F_SETFD, FD_CLOEXEC) < 0) /* the exec closes it, which tells the parent */
        _exit(125);
    umask(0022);
    /* No process of the container, however capable, may look into this one. */
    if (prctl(PR_SET_DUMPABLE, 0) < 0)
        fail("process", errno, "set dumpable");
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        fail("process", errno, "set the parent-death signal");
}

static void setup_keyring(void)
{
    /* Without a session ring of its own the container would possess the keys of whoever started pyrt. */
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
        fail("keyring", errno, "join a new session keyring");
}

static void set_sysctl(const struct stage *stage, const char *path, const char *value)
{
    int fd = openat(stage->sysctl, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return;
    if (fd < 0 || write(fd, value, strlen(value)) < 0)
        fail("network", errno, path);
    close(fd);
}

/*
 * What eth0 is to be is said before it is there: afterwards the kernel has addresses to take down, in the way of a start.
 * The parent makes it meanwhile, hence this is done as soon as there is a /proc: the host's would do, but of the files
 * that a thousand namespaces have there by the same name one is found slowly. A privileged container may want IPv6 on
 * links of its own.
 */
static void forgo_ipv6(const struct stage *stage, unsigned init_flags)
{
    if (init_flags & (PYRT_INIT_HOST_NETWORK | PYRT_INIT_PRIVILEGED))
        return;
    int ret = pyrt_disable_ipv6(stage->sysctl, "default");
    if (ret < 0 && ret != -ENOENT)
        fail("network", -ret, "switch IPv6 off");
}

static void setup_own_network(const struct stage *stage, unsigned init_flags)
{
    if (init_flags & PYRT_INIT_HOST_NETWORK)
        return;
    int ret = pyrt_link_up_lo();
    if (ret < 0)
        fail("network", -ret, "lo");
    /* In a network of its own nothing is gained by guarding these: ping without CAP_NET_RAW, low ports without root. */
    set_sysctl(stage, "net/ipv4/ping_group_range", "0 2147483647");
    set_sysctl(stage, "net/ipv4/ip_unprivileged_port_start", "0");
}

static void setup_names(const struct plan *plan)
{
    /* The group was joined between parking and the plan: only now is it the root of a namespace. */
    if (unshare(CLONE_NEWCGROUP) < 0)
        fail("namespaces", errno, "unshare the cgroup namespace");
    if (plan->hostname && sethostname(plan->hostname, strlen(plan->hostname)) < 0)
        fail("hostname", errno, plan->hostname);
}

static void setup_address(const struct plan *plan, const struct stage *stage)
{
    const struct pyrt_plan_address *address = &plan->address;
    if (!plan->has_address)
        return;
    int ret = pyrt_disable_ipv6(stage->sysctl, "eth0");
    if (ret < 0 && ret != -ENOENT)
        fail("network", -ret, "switch IPv6 off");
    ret = pyrt_configure_interface("eth0", address->address, (int)address->prefix_length, address->gateway);
    if (ret < 0)
        fail("network", -ret, "eth0");
}

int main(int argc, char **argv)
{
    unsigned init_flags = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
    int after_lxc = init_flags & PYRT_INIT_AFTER_LXC;
    struct stage stage;
    struct plan plan;
    struct identity identity;

    if (after_lxc)
        take_container_socket();
    setup_process();
    if (init_flags & PYRT_INIT_BEFORE_LXC)
        become_lxc_start();
    if (argc > 2) /* before anything is made: what the kernel keeps for it counts as the container's */
        enter_groups(argv + 2, "cgroup");
    setup_keyring();
    if (init_flags & PYRT_INIT_JOIN)
        join();
    if (after_lxc)
        adopt_stage(&stage);
    else
        begin_stage(&stage);
    forgo_ipv6(&stage, init_flags);
    if (!after_lxc)
        complete_stage(&stage, init_flags);
    setup_own_network(&stage, init_flags);
    report(PYRT_REPORT_PARKED, after_lxc ? (int)syscall(SYS_pidfd_open, getpid(), 0) : -1);

    receive_plan(&plan);
    if (plan.groups)
        fail("plan", EBADMSG, "it is for one that joins");
    setup_names(&plan);
    stage_cgroup(init_flags);
    if (after_lxc) {
        finish_network(&stage, init_flags);
        take_mounts(&plan);
    } else {
        setup_address(&plan, &stage);
        open_volumes(&plan);
        make_files(&plan, stage.files);
    }
    open_terminal(&plan, &stage);
    if (!after_lxc)
        make_root(&plan);
    furnish_root(&plan, &stage);
    connect_stdio(&plan, &stage);
    lead_session(&plan);
    resolve_user(plan.user, &identity);
    enter_directory(plan.cwd);
    pass_gate(&plan);
    drop_privileges(&plan, &identity);
    execute(&plan);
}
