/* SPDX-License-Identifier: Apache-2.0 */
/* The last step: the working directory, the program, and nothing else left open. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/syscalls.h"
#include "init.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

void enter_directory(const char *cwd)
{
    char real[PATH_MAX];
    if (chdir(cwd ? cwd : "/") < 0)
        fail_path("working directory", errno, "", cwd ? cwd : "/");
    /* CVE-2024-21626: through a descriptor somebody forgot, the way would lead out of the root. */
    long length = syscall(SYS_getcwd, real, sizeof real);
    if (length < 0 || real[0] != '/')
        fail_path("working directory", 0, "is outside the container: ", cwd ? cwd : "/");
}

static const char *search_path(char **env)
{
    for (; *env; env++)
        if (strncmp(*env, "PATH=", 5) == 0)
            return *env + 5;
    return DEFAULT_PATH;
}

/* execvp's search, with the plan's environment; returns the errno that describes the failure best. */
static int search_and_execute(const struct plan *plan)
{
    const char *name = plan->argv[0];
    size_t name_length = strlen(name);
    int denied = 0;
    char path[PATH_MAX];

    if (strchr(name, '/') || name_length == 0) {
        execve(name, plan->argv, plan->env);
        return errno;
    }
    for (const char *directory = search_path(plan->env), *colon; directory; directory = colon ? colon + 1 : NULL) {
        colon = strchr(directory, ':');
        size_t length = colon ? (size_t)(colon - directory) : strlen(directory);
        if (length + name_length + 2 > sizeof path)
            continue;
        memcpy(path, directory, length);
        if (length)
            path[length++] = '/';
        memcpy(path + length, name, name_length + 1);
        execve(path, plan->argv, plan->env);
        if (errno == EACCES)
            denied = 1;
        else if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG)
            return errno;
    }
    return denied ? EACCES : ENOENT;
}

void execute(const struct plan *plan)
{
    report(PYRT_REPORT_EXECUTING, -1);
    /* CLOEXEC would be too late: the program's own path may name a descriptor (/proc/self/fd/N). */
    sys_close_range(INIT_SOCKET + 1, ~0U, 0);
    int error = search_and_execute(plan);
    fail("exec", error, plan->argv[0]);
}
