/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "namespaces.h"

#include <sched.h>
#include <sys/mount.h>

#include "base/syscalls.h"

int pyrt_unshare(uint64_t namespaces)
{
    return sys_result(unshare((int)namespaces));
}

int pyrt_setns(int fd, int namespaces)
{
    return sys_result(setns(fd, namespaces));
}

int pyrt_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *options)
{
    return sys_result(mount(source, target, type, flags, options));
}

int pyrt_umount(const char *target, int flags)
{
    return sys_result(umount2(target, flags));
}

int pyrt_pivot_root(const char *new_root, const char *put_old)
{
    return sys_pivot_root(new_root, put_old);
}
