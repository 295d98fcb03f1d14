/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks around inside a container and prints what it sees, one fact a line, with no shell or library in between.
 * Static; the tests put it into their images as /bin/probe. Its exit status is 0 unless the verb says otherwise.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <netinet/in.h>
#include <sched.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void result(const char *what, long ret)
{
    printf("%s %s\n", what, ret < 0 ? strerrorname_np(errno) : "ok");
}

/* Open descriptors: "NUMBER TARGET". */
static void fds(void)
{
    char path[64], target[4096];
    for (int fd = 0; fd < 1024; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(path, target, sizeof target - 1);
        if (n >= 0)
            printf("%d %.*s\n", fd, (int)n, target);
    }
}

static void ids(void)
{
    uid_t uid[3];
    gid_t gid[3], groups[256];
    getresuid(&uid[0], &uid[1], &uid[2]);
    getresgid(&gid[0], &gid[1], &gid[2]);
    printf("uid %u %u %u\ngid %u %u %u\ngroups", uid[0], uid[1], uid[2], gid[0], gid[1], gid[2]);
    int count = getgroups(256, groups);
    for (int i = 0; i < count; i++)
        printf(" %u", groups[i]);
    printf("\n");
}

/* PATH...: what each one is, for masks and devices: "PATH TYPE MODE MAJOR:MINOR SIZE" or "PATH ERRNO". */
static void look(char **paths)
{
    for (; *paths; paths++) {
        struct stat st;
        if (lstat(*paths, &st) < 0) {
            result(*paths, -1);
            continue;
        }
        const char *kind = S_ISCHR(st.st_mode) ? "char" : S_ISDIR(st.st_mode) ? "dir" : S_ISLNK(st.st_mode) ? "link"
                           : S_ISREG(st.st_mode) ? "file" : S_ISBLK(st.st_mode) ? "block" : "other";
        printf("%s %s %04o %u:%u %lld\n", *paths, kind, st.st_mode & 07777, major(st.st_rdev), minor(st.st_rdev),
               (long long)st.st_size);
    }
}

/* PATH...: opened for writing (or, a directory, a file made in it): "PATH ok" or "PATH ERRNO". Writes nothing. */
static void writable(char **paths)
{
    for (; *paths; paths++) {
        int fd = open(*paths, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 && errno == EISDIR)
            fd = open(*paths, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        result(*paths, fd);
        if (fd >= 0)
            close(fd);
    }
}

/* How many bytes each file gives: "PATH BYTES" or "PATH ERRNO". */
static void bytes(char **paths)
{
    static char buffer[65536];
    for (; *paths; paths++) {
        int fd = open(*paths, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        ssize_t n = fd < 0 ? -1 : read(fd, buffer, sizeof buffer);
        if (n < 0)
            result(*paths, -1);
        else
            printf("%s %zd\n", *paths, n);
        if (fd >= 0)
            close(fd);
    }
}

/*
 * Calls that a container must not be able to make, "NAME ERRNO". Each has arguments that the kernel refuses even where
 * the call is allowed, after the permission check (another errno then), because a runtime under test may be broken:
 * nothing here may change the machine. The two that would, unshare and mknod, touch only this process and are undone.
 */
static void calls(void)
{
    struct timex tick = {.modes = ADJ_TICK};
    if (getpid() != 1) {
        fprintf(stderr, "probe: calls are for pid 1 of a container\n");
        exit(3);
    }
    result("mount", mount("none", "/tmp", "probe-no-such-kind", 0, NULL));
    result("umount", umount2("/bin", MNT_DETACH));
    result("mknod", mknod("/tmp/probe-node", S_IFCHR | 0600, makedev(1, 1)));
    unlink("/tmp/probe-node");
    result("sethostname", syscall(SYS_sethostname, "probe", -1));
    result("add_key", syscall(SYS_add_key, "probe-no-such-kind", "probe", "x", 1, KEY_SPEC_PROCESS_KEYRING));
    result("keyctl", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0));
    result("bpf", syscall(SYS_bpf, 0, NULL, 0));
    result("io_uring", syscall(SYS_io_uring_setup, 0, NULL));
    result("perf", syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
    result("userfaultfd", syscall(SYS_userfaultfd, ~0));
    result("open_by_handle", syscall(SYS_open_by_handle_at, -1, NULL, 0));
    result("kexec", syscall(SYS_kexec_load, 0, 0, NULL, ~0UL));
    result("init_module", syscall(SYS_init_module, NULL, 0, ""));
    result("adjtimex", adjtimex(&tick));
    result("swapon", syscall(SYS_swapon, "/nonexistent", 0));
    result("reboot", syscall(SYS_reboot, 0, 0, 0, NULL));
    result("clone3", syscall(SYS_clone3, NULL, 0));
    result("unknown-call", syscall(9999));
    result("af_alg", socket(AF_ALG, SOCK_SEQPACKET, 0));
    result("af_vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
    result("af_packet", socket(AF_PACKET, SOCK_RAW, 0));
    result("setns", setns(-1, CLONE_NEWNET));
    result("pivot_root", syscall(SYS_pivot_root, "/nonexistent", "/nonexistent"));
    result("unshare-mount", unshare(CLONE_NEWNS));
    result("unshare-user", unshare(CLONE_NEWUSER));
}

static void tty(void)
{
    struct winsize size = {0};
    for (int fd = 0; fd < 3; fd++)
        printf("isatty %d %d\n", fd, isatty(fd));
    ioctl(0, TIOCGWINSZ, &size);
    printf("size %u %u\n", size.ws_row, size.ws_col);
    int controlling = open("/dev/tty", O_RDWR | O_CLOEXEC);
    result("/dev/tty", controlling);
    printf("session %d foreground %d\n", getsid(0) == getpid(), tcgetpgrp(0) == getpgrp());
    result("tiocsti", ioctl(0, TIOCSTI, "x"));
}

static void on_winch(int number) { (void)number; }

/* Prints every size the terminal takes, until a line arrives on stdin. */
static void winch(void)
{
    struct sigaction action = {.sa_handler = on_winch};
    struct pollfd input = {.fd = 0, .events = POLLIN};
    struct winsize size = {0};
    sigset_t blocked, open_to_all;

    sigemptyset(&open_to_all);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGWINCH);
    sigprocmask(SIG_BLOCK, &blocked, NULL); /* but for ppoll: none comes between looking and waiting */
    sigaction(SIGWINCH, &action, NULL);
    do {
        ioctl(0, TIOCGWINSZ, &size);
        printf("size %u %u\n", size.ws_row, size.ws_col);
        fflush(stdout);
    } while (ppoll(&input, 1, NULL, &open_to_all) < 0 && errno == EINTR);
}

/* Prints the number of every signal it gets; SIGTERM ends it with status 15. */
static void signals(void)
{
    sigset_t all;
    int number;
    sigfillset(&all);
    sigdelset(&all, SIGCHLD);
    sigprocmask(SIG_BLOCK, &all, NULL);
    printf("ready\n");
    fflush(stdout);
    while (sigwait(&all, &number) == 0) {
        printf("signal %d\n", number);
        fflush(stdout);
        if (number == SIGTERM)
            exit(15);
    }
}

/* MEGABYTES: touched one by one. */
static void memory(const char *megabytes)
{
    for (long i = 0; i < atol(megabytes); i++) {
        char *block = malloc(1 << 20);
        if (!block) {
            printf("malloc failed at %ld\n", i);
            exit(1);
        }
        memset(block, 1, 1 << 20);
    }
    printf("touched %s\n", megabytes);
}

/* COUNT: children that wait; prints how many could be made, then ends them. */
static void forks(const char *count)
{
    static pid_t children[4096];
    long made = 0;
    for (; made < atol(count) && made < 4096; made++) {
        children[made] = fork();
        if (children[made] == 0) {
            pause();
            _exit(0);
        }
        if (children[made] < 0) {
            result("fork", -1);
            break;
        }
    }
    printf("made %ld\n", made);
    fflush(stdout);
    for (long i = 0; i < made; i++)
        if (kill(children[i], SIGKILL) == 0)
            waitpid(children[i], NULL, 0);
}

/* SECONDS of wall time spent computing; prints the user time it got in milliseconds. */
static void spin(const char *seconds)
{
    struct timespec now;
    struct rusage used;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t end_ms = now.tv_sec * 1000 + now.tv_nsec / 1000000 + 1000 * atol(seconds);
    while (clock_gettime(CLOCK_MONOTONIC, &now) == 0 && now.tv_sec * 1000 + now.tv_nsec / 1000000 < end_ms)
        for (volatile int i = 0; i < 100000; i++)
            ;
    getrusage(RUSAGE_SELF, &used);
    printf("used_ms %ld\n", used.ru_utime.tv_sec * 1000L + used.ru_utime.tv_usec / 1000);
}

/* FD BYTES SEED: a xorshift stream, so that a digest tells whether any byte was lost, doubled or changed. */
static void emit(int fd, uint64_t count, uint64_t state)
{
    static uint64_t block[8192];
    while (count > 0) {
        for (size_t i = 0; i < sizeof block / sizeof *block; i++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            block[i] = state;
        }
        uint64_t size = count < sizeof block ? count : sizeof block, done = 0;
        while (done < size) {
            ssize_t n = write(fd, (char *)block + done, size - done);
            if (n < 0)
                exit(errno == EPIPE ? 32 : 1);
            done += (uint64_t)n;
        }
        count -= size;
    }
}

/* PORT: sends every datagram back to where it came from, for ever. */
static void echo_datagrams(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    char buffer[2048];
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        exit(1);
    for (;;) {
        socklen_t length = sizeof address;
        ssize_t n = recvfrom(fd, buffer, sizeof buffer, 0, (struct sockaddr *)&address, &length);
        if (n < 0 || sendto(fd, buffer, (size_t)n, 0, (struct sockaddr *)&address, length) < 0)
            exit(1);
    }
}

/* A B: puts each in the place of the other, for ever. */
static void exchange(const char *a, const char *b)
{
    while (renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0)
        ;
    exit(1);
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "", *first = argc > 2 ? argv[2] : "";
    if (strcmp(verb, "fds") == 0)
        fds();
    else if (strcmp(verb, "ids") == 0)
        ids();
    else if (strcmp(verb, "env") == 0)
        for (char **e = environ; *e; e++)
            printf("%s\n", *e);
    else if (strcmp(verb, "args") == 0)
        for (char **a = argv + 2; *a; a++)
            printf("[%s]\n", *a);
    else if (strcmp(verb, "look") == 0)
        look(argv + 2);
    else if (strcmp(verb, "writable") == 0)
        writable(argv + 2);
    else if (strcmp(verb, "bytes") == 0)
        bytes(argv + 2);
    else if (strcmp(verb, "calls") == 0)
        calls();
    else if (strcmp(verb, "tty") == 0)
        tty();
    else if (strcmp(verb, "winch") == 0)
        winch();
    else if (strcmp(verb, "signals") == 0)
        signals();
    else if (strcmp(verb, "memory") == 0)
        memory(first);
    else if (strcmp(verb, "forks") == 0)
        forks(first);
    else if (strcmp(verb, "spin") == 0)
        spin(first);
    else if (strcmp(verb, "emit") == 0 && argc > 4)
        emit(atoi(argv[2]), strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
    else if (strcmp(verb, "udp") == 0)
        echo_datagrams(first);
    else if (strcmp(verb, "xattr") == 0 && argc > 4) /* PATH NAME VALUE */
        return setxattr(argv[2], argv[3], argv[4], strlen(argv[4]), 0) < 0;
    else if (strcmp(verb, "exchange") == 0 && argc > 3)
        exchange(argv[2], argv[3]);
    else if (strcmp(verb, "exit") == 0)
        return atoi(first);
    else
        return 2;
    return 0;
}
