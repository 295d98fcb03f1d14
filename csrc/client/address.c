/* SPDX-License-Identifier: Apache-2.0 */
/* Where the daemon is: the text of -H, and the two kinds of socket a static program can connect by itself. */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client.h"

static void set_path(struct address *address, const char *directory, const char *name)
{
    int length = snprintf(address->path, sizeof address->path, "%s%s", directory, name);
    if (length < 0 || (size_t)length >= sizeof address->path)
        fail("the path of the daemon's socket is too long");
}

static int is_numeric(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* HOST:PORT, [HOST]:PORT; a name other than localhost needs a resolver, which only the relay has. */
static void set_host(struct address *address, const char *text, int tls)
{
    const char *colon = strrchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : 0;
    char *end = NULL;
    long port = colon ? strtol(colon + 1, &end, 10) : 0;
    if (!length || *end || port < 1 || port > 65535 || colon[1] < '0' || colon[1] > '9')
        fail("-H tcp://%.200s: expected tcp://HOST:PORT", text);
    if (text[0] == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    }
    if (!length || length >= sizeof address->host)
        fail("-H tcp://: the host name is empty or too long");
    memcpy(address->host, text, length);
    address->host[length] = 0;
    snprintf(address->port, sizeof address->port, "%ld", port);
    if (!tls && !strcmp(address->host, "localhost"))
        strcpy(address->host, "127.0.0.1");
    address->transport = tls || !is_numeric(address->host) ? TRANSPORT_RELAY : TRANSPORT_TCP;
}

static void check_tls(const struct options *options, const struct address *address)
{
    int files = !!options->tls_ca + !!options->tls_cert + !!options->tls_key;
    if (!options->tls && files)
        fail("--tlscacert, --tlscert and --tlskey mean nothing without --tls");
    if (options->tls && files < 3)
        fail("--tls needs all of --tlscacert, --tlscert and --tlskey: both sides are authenticated");
    if (options->tls && address->transport == TRANSPORT_UNIX)
        fail("--tls needs -H tcp://HOST:PORT");
}

void parse_address(struct address *address, const struct options *options)
{
    char usual[sizeof address->path];
    int length = snprintf(usual, sizeof usual, "%s/pyrt.sock", options->run_dir);
    if (length < 0 || (size_t)length >= sizeof usual)
        fail("--run-dir: the path is too long");
    const char *host = options->host_count ? options->hosts[0] : NULL;
    if (!host) {
        set_path(address, usual, "");
    } else if (!strncmp(host, "unix://", 7) && host[7]) {
        set_path(address, host + 7, "");
    } else if (!strncmp(host, "tcp://", 6)) {
        set_host(address, host + 6, options->tls);
    } else {
        fail("-H %.200s: expected unix://PATH or tcp://HOST:PORT", host);
    }
    address->may_start = address->transport == TRANSPORT_UNIX && !strcmp(address->path, usual);
    check_tls(options, address);
}

/* Keep ours out of 0, 1 and 2, which may have been closed: a frame written there must not look like output. */
int above_stdio(int fd)
{
    if (fd < 0 || fd > 2)
        return fd < 0 ? -errno : fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int error = errno;
    close(fd);
    return moved < 0 ? -error : moved;
}

static int connected(int fd, const void *name, socklen_t bytes)
{
    if (fd < 0)
        return fd;
    while (connect(fd, name, bytes) < 0) {
        int error = errno;
        if (error == EINTR)
            continue;
        if (error == EISCONN)
            break;
        close(fd);
        return -error;
    }
    return fd;
}

/* The socket, or -errno. A path too long for the kernel's 108 bytes is reached through its directory. */
int connect_unix(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int directory_fd = -1;
    if (strlen(path) < sizeof name.sun_path) {
        strcpy(name.sun_path, path);
    } else {
        char directory[4096];
        const char *slash = strrchr(path, '/');
        if (!slash || slash == path || (size_t)(slash - path) >= sizeof directory)
            return -ENAMETOOLONG;
        memcpy(directory, path, (size_t)(slash - path));
        directory[slash - path] = 0;
        directory_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (directory_fd < 0)
            return -errno;
        int length = snprintf(name.sun_path, sizeof name.sun_path, "/proc/self/fd/%d%s", directory_fd, slash);
        if (length < 0 || (size_t)length >= sizeof name.sun_path) {
            close(directory_fd);
            return -ENAMETOOLONG;
        }
    }
    int fd = connected(above_stdio(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)), &name, sizeof name);
    if (directory_fd >= 0)
        close(directory_fd);
    return fd;
}

/* As the daemon does at its end. None of this can fail on a TCP socket, and without it all works, only worse. */
static void tune(int fd)
{
    int on = 1, idle_s = 60, interval_s = 15, probes = 4;
    /* a keystroke is a frame: it must not wait for the last one's acknowledgement */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* a host that has vanished is noticed within two minutes */
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

int connect_tcp(const struct address *address)
{
    int port = htons((unsigned short)atoi(address->port));
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = (in_port_t)port};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = (in_port_t)port};
    int fd;
    if (inet_pton(AF_INET, address->host, &v4.sin_addr) == 1) {
        fd = connected(above_stdio(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), &v4, sizeof v4);
    } else {
        inet_pton(AF_INET6, address->host, &v6.sin6_addr);
        fd = connected(above_stdio(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)), &v6, sizeof v6);
    }
    if (fd >= 0)
        tune(fd);
    return fd;
}
