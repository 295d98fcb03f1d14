/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A second barrier that needs no privilege: from here on this process makes, changes and reads files beneath one
 * directory only. A kernel without Landlock, or with its first version (which forbids links between directories), has
 * the first barrier alone: every name is resolved beneath that directory, following no link (csrc/untar/tree.h).
 */

#include <errno.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client.h"

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#define REFERS 2 /* the version that has it */
#define ALL ((LANDLOCK_ACCESS_FS_REFER << 1) - 1)

/* 0 or -errno; the descriptor is borrowed. */
int landlock_confine(int directory_fd, const char **step)
{
    struct landlock_ruleset_attr rules = {.handled_access_fs = ALL};
    struct landlock_path_beneath_attr beneath = {.allowed_access = ALL, .parent_fd = directory_fd};
    int ret = 0;
    *step = "confine the process to the directory";
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < REFERS)
        return 0;
    int fd = (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0);
    if (fd < 0)
        return -errno;
    if (syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0 ||
        syscall(SYS_landlock_restrict_self, fd, 0) < 0)
        ret = -errno;
    close(fd);
    return ret;
}
