/* SPDX-License-Identifier: Apache-2.0 */
/* The last of the root this process was: groups, user, capabilities, no_new_privs and the seccomp program. */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/syscalls.h"
#include "init.h"

static void set_capabilities(uint64_t set)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {.effective = (uint32_t)set, .permitted = (uint32_t)set},
        {.effective = (uint32_t)(set >> 32), .permitted = (uint32_t)(set >> 32)},
    };
    /* Inheritable stays empty, which empties the ambient set too. */
    if (syscall(SYS_capset, &header, data) < 0)
        fail("capabilities", errno, "capset");
}

static void bound_capabilities(uint64_t set)
{
    for (int capability = 0; capability < 64; capability++) {
        if (set & (1ULL << capability))
            continue;
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) {
            if (errno == EINVAL && capability > 0) /* one past the last that this kernel knows */
                return;
            fail("capabilities", errno, "bounding set");
        }
    }
}

/* A program that opens /dev/stdout again needs to own what is behind it. */
static void give_stdio(uid_t uid)
{
    struct stat status;
    if (uid == 0)
        return;
    for (int fd = 0; fd < 3; fd++)
        if (fstat(fd, &status) == 0 && (S_ISFIFO(status.st_mode) || isatty(fd)) && fchown(fd, uid, (gid_t)-1) < 0)
            fail("stdio", errno, "give it to the user");
}

static void become(const struct identity *identity)
{
    uid_t uid = identity->uid, real, effective, saved;
    gid_t gid = identity->gid, real_gid, effective_gid, saved_gid;

    if (setgroups((size_t)identity->group_count, identity->groups) < 0)
        fail("user", errno, "setgroups");
    if (setresgid(gid, gid, gid) < 0)
        fail("user", errno, "setresgid");
    if (prctl(PR_SET_KEEPCAPS, 1) < 0 || setresuid(uid, uid, uid) < 0 || prctl(PR_SET_KEEPCAPS, 0) < 0)
        fail("user", errno, "setresuid");
    if (getresuid(&real, &effective, &saved) < 0 || real != uid || effective != uid || saved != uid ||
        getresgid(&real_gid, &effective_gid, &saved_gid) < 0 || real_gid != gid || effective_gid != gid || saved_gid != gid ||
        getgroups(0, NULL) != identity->group_count)
        fail("user", EPERM, "the kernel did not change the user");
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) /* cleared by the change */
        fail("process", errno, "set the parent-death signal");
    if (prctl(PR_SET_DUMPABLE, 0) < 0) /* set by the change to what fs.suid_dumpable says */
        fail("process", errno, "set dumpable");
}

static void confine_system_calls(const struct plan *plan)
{
    struct sock_fprog program = {
        .len = (unsigned short)(plan->seccomp_bytes / sizeof(struct sock_filter)),
        .filter = (struct sock_filter *)(uintptr_t)plan->seccomp,
    };
    if (plan->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        fail("seccomp", errno, "set no_new_privs");
    if (plan->seccomp_bytes && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
        fail("seccomp", errno, "install the program");
}

void drop_privileges(const struct plan *plan, const struct identity *identity)
{
    give_stdio(identity->uid);
    if (plan->has_caps)
        bound_capabilities(plan->caps);
    become(identity);
    /* Without no_new_privs the kernel wants CAP_SYS_ADMIN from whoever installs a program. */
    if (plan->has_caps)
        set_capabilities(plan->caps | (1ULL << CAP_SYS_ADMIN));
    confine_system_calls(plan);
    if (plan->has_caps)
        set_capabilities(plan->caps);
}
