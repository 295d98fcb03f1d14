/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the daemon asks for: the values of variables, and files by name.
 *
 * A daemon on a unix socket has more rights here than we do. One at the other end of a network has not: it gets what
 * the command line names and nothing else (`argv` is given then), so it cannot collect keys and passwords.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"

static int is_named(const char *text, char *const *argv)
{
    if (!argv)
        return 1;
    for (int i = 0; argv[i]; i++)
        if (strstr(argv[i], text))
            return 1;
    return 0;
}

static int may_know(const char *name, char *const *argv)
{
    if (!argv || !strcmp(name, "TERM"))
        return 1;
    for (int i = 0; argv[i]; i++) {
        const char *value = strchr(argv[i], '=');
        if (!strcmp(argv[i], name) || (value && !strcmp(value + 1, name)))
            return 1;
    }
    return 0;
}

/* `names`: each ends with NUL. The answer's length, -EPROTO, or -E2BIG. */
ssize_t answer_variables(unsigned char *data, size_t bytes, const char *names, size_t names_bytes, char *const *argv)
{
    size_t length = 0;
    if (names_bytes && names[names_bytes - 1])
        return -EPROTO;
    for (const char *name = names; name < names + names_bytes; name += strlen(name) + 1) {
        const char *value = may_know(name, argv) ? getenv(name) : NULL;
        if (!value)
            continue;
        size_t need = strlen(name) + 1 + strlen(value) + 1;
        if (need > bytes - length)
            return -E2BIG;
        length += (size_t)sprintf((char *)data + length, "%s=%s", name, value) + 1;
    }
    return (ssize_t)length;
}

/* A descriptor to read from, or -1 and the reason. */
int open_source(const char *path, char *const *argv, char *reason, size_t reason_bytes)
{
    struct stat status;
    if (!strcmp(path, "-"))
        return STDIN_FILENO;
    if (!is_named(path, argv)) {
        snprintf(reason, reason_bytes, "the daemon asked for a file that the command does not name");
        return -1;
    }
    int fd = above_stdio(open(path, O_RDONLY | O_NOCTTY | O_CLOEXEC));
    if (fd >= 0 && fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
        close(fd);
        fd = -EISDIR;
    }
    if (fd < 0)
        snprintf(reason, reason_bytes, "cannot open '%.3000s': %s", path, strerror(-fd));
    return fd < 0 ? -1 : fd;
}
