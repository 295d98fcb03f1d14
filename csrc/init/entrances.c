/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entering cgroups, one's own doing: a process of one thread that writes 0 into a `tasks` file of v1 moves itself, and
 * needs no lock for that. Whoever is moved by another, through cgroup.procs, waits for a lock that all forks of the
 * machine share; where nobody has asked for it lately that takes 5 to 30 ms, and no group can be made or removed by
 * anybody meanwhile (cgroup_procs_write_start in the kernel's kernel/cgroup/cgroup.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "init.h"

void enter_groups(char *const *files, const char *step)
{
    for (; *files; files++) {
        int fd = open(*files, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, "0", 1) < 0)
            fail(step, errno, *files);
        close(fd);
    }
}
