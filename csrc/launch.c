/* SPDX-License-Identifier: Apache-2.0 */
/* Between clone3 and exec the child shares this process's memory: it makes system calls only, and touches no lock. */
#define _GNU_SOURCE
#include "launch.h"

#include <linux/close_range.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "base/syscalls.h"

#define CHILD_STACK_BYTES (32 << 10)
#define INIT_SOCKET 3
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif

static int same_file(int one, int other)
{
    struct stat a, b;

    return fstat(one, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/*
 * A number for the socket of the child that is being made, low since it was taken when there were few descriptors.
 * Between launches it is one more for the program, and a number that has become somebody else's is theirs.
 */
static int reserve_low_number(int init_fd)
{
    static int number = -1; /* one thread at a time: see pyrt_launch */

    if (number < 0 || !same_file(number, init_fd))
        number = fcntl(init_fd, F_DUPFD_CLOEXEC, INIT_SOCKET + 1);
    return number < 0 ? -errno : number;
}

int pyrt_seal_program(int fd, const char *name)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int memfd = sys_result(syscall(SYS_memfd_create, name, flags | MFD_EXEC));
    if (memfd == -EINVAL) /* before Linux 6.3 */
        memfd = sys_result(syscall(SYS_memfd_create, name, flags));
    if (memfd < 0)
        return memfd;

    char buffer[16 << 10];
    ssize_t got;
    int ret = 0;
    while ((got = read(fd, buffer, sizeof buffer)) > 0)
        for (ssize_t done = 0; done < got;) {
            ssize_t put = write(memfd, buffer + done, (size_t)(got - done));
            if (put < 0) {
                ret = -errno;
                goto failed;
            }
            done += put;
        }
    if (got < 0)
        ret = -errno;
    int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    if (ret == 0 && fcntl(memfd, F_ADD_SEALS, seals | F_SEAL_EXEC) < 0 && fcntl(memfd, F_ADD_SEALS, seals) < 0)
        ret = -errno;
    if (ret == 0)
        ret = reserve_low_number(memfd);
    if (ret >= 0)
        return memfd;
failed:
    close(memfd);
    return ret;
}

/* What the child needs; it lives on the parent's stack, and the parent waits (CLONE_VFORK). */
struct child {
    int init_fd;
    int socket;
    int netns_fd;
    unsigned beyond; /* no descriptor it needs has this number or a higher one */
    char *argv[PYRT_LAUNCH_GROUPS_MAX + 3]; /* the program, its flags, its groups */
    volatile int error; /* written by the child when it cannot exec */
};

static int child_main(void *argument)
{
    struct child *child = argument;
    char *envp[] = {NULL};

    /* Until here the table is the parent's. A parent of a thousand containers has many thousand descriptors: it would
     * take longer to copy them, and close them again, than all the rest. */
    if (sys_close_range(child->beyond, ~0U, CLOSE_RANGE_UNSHARE) < 0)
        goto failed;
    if (child->netns_fd >= 0 && setns(child->netns_fd, CLONE_NEWNET) < 0)
        goto failed;
    /* The program's own descriptor is CLOEXEC; everything else of this process closes here, not at the exec. */
    int init_fd = fcntl(child->init_fd, F_DUPFD_CLOEXEC, INIT_SOCKET + 1);
    int socket = fcntl(child->socket, F_DUPFD, INIT_SOCKET + 1);
    if (init_fd < 0 || socket < 0)
        goto failed;
    for (int fd = 0; fd <= INIT_SOCKET; fd++) /* 0-2 too: nothing of this process's stdio gets in */
        if (dup2(socket, fd) < 0)
            goto failed;
    if (dup2(init_fd, INIT_SOCKET + 1) < 0 || fcntl(INIT_SOCKET + 1, F_SETFD, FD_CLOEXEC) < 0)
        goto failed;
    sys_close_range(INIT_SOCKET + 2, ~0U, 0);
    syscall(SYS_execveat, INIT_SOCKET + 1, "", child->argv, envp, AT_EMPTY_PATH);
failed:
    child->error = errno;
    _exit(127);
}

/*
 * clone3 with a stack of the child's own, which the C library does not offer. Registers survive the system call in
 * both processes, so the child finds its function and argument there, and never returns into a frame of the parent.
 */
static long clone3_call(struct pyrt_clone_args *args, size_t size, int (*function)(void *), void *argument)
{
#if defined(__x86_64__)
    register int (*child_function)(void *) __asm__("r12") = function;
    register void *child_argument __asm__("r13") = argument;
    long ret;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r13, %%rdi\n\t"
                     "call *%%r12\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(ret)
                     : "0"((long)SYS_clone3), "D"(args), "S"(size), "r"(child_function), "r"(child_argument)
                     : "rcx", "r11", "memory");
    return ret;
#elif defined(__aarch64__)
    register long number __asm__("x8") = SYS_clone3;
    register void *x0 __asm__("x0") = args;
    register size_t x1 __asm__("x1") = size;
    register int (*child_function)(void *) __asm__("x19") = function;
    register void *child_argument __asm__("x20") = argument;
    __asm__ volatile("svc 0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t"
                     "mov x0, x20\n\t"
                     "blr x19\n\t"
                     "brk 0\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x1), "r"(number), "r"(child_function), "r"(child_argument)
                     : "memory", "x30");
    return (long)x0;
#else
#error "pyrt knows how to call clone3 on x86_64 and aarch64"
#endif
}

static void format_flags(unsigned flags, char text[12])
{
    char digits[12];
    int count = 0;
    do
        digits[count++] = (char)('0' + flags % 10);
    while (flags /= 10);
    for (int i = 0; i < count; i++)
        text[i] = digits[count - 1 - i];
    text[count] = '\0';
}

static unsigned beyond(const struct child *child)
{
    int most = child->init_fd > child->socket ? child->init_fd : child->socket;

    return (unsigned)(most > child->netns_fd ? most : child->netns_fd) + 1;
}

int pyrt_launch(int init_fd, uint64_t namespaces, unsigned init_flags, int cgroup_fd, int netns_fd,
                const char *const *groups, struct pyrt_slot *slot)
{
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER; /* there is one low number */
    struct child child = {.init_fd = init_fd, .netns_fd = netns_fd};
    int sockets[2];
    int pidfd = -1;
    int ret = 0;
    char flags_text[12];
    sigset_t all, previous;

    child.argv[0] = (char *)(uintptr_t)"pyrt-init";
    child.argv[1] = flags_text;
    for (int count = 0; groups && groups[count]; count++) {
        if (count == PYRT_LAUNCH_GROUPS_MAX)
            return -E2BIG;
        child.argv[2 + count] = (char *)(uintptr_t)groups[count];
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
        return -errno;
    char *stack = mmap(NULL, CHILD_STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) {
        ret = -errno;
        goto close_sockets;
    }
    format_flags(init_flags, flags_text);
    pthread_mutex_lock(&one_at_a_time);
    child.socket = reserve_low_number(init_fd);
    if (child.socket < 0 || dup3(sockets[1], child.socket, O_CLOEXEC) < 0) {
        ret = child.socket < 0 ? child.socket : -errno;
        goto unlock;
    }
    child.beyond = beyond(&child);
    /* In the group of a running container the child may be frozen, or wait for a processor as long as that container
     * has it wait. This process must not: it shares nothing then, for which it would have to. */
    int joins = init_flags & PYRT_INIT_JOIN;
    uint64_t sharing = joins && cgroup_fd >= 0 ? 0 : CLONE_VM | CLONE_VFORK | CLONE_FILES;
    struct pyrt_clone_args args = {
        .flags = sharing | CLONE_PIDFD | namespaces | (cgroup_fd >= 0 ? CLONE_INTO_CGROUP : 0),
        .pidfd = (uint64_t)(uintptr_t)&pidfd,
        .exit_signal = SIGCHLD,
        .stack = (uint64_t)(uintptr_t)stack,
        .stack_size = CHILD_STACK_BYTES,
        .cgroup = cgroup_fd >= 0 ? (uint64_t)cgroup_fd : 0,
    };

    /* A handler of this process must not run in the child, on the memory they share. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous);
    long pid = clone3_call(&args, sizeof args, child_main, &child);
    pthread_sigmask(SIG_SETMASK, &previous, NULL);
    dup3(init_fd, child.socket, O_CLOEXEC);

    if (pid < 0)
        ret = (int)pid;
    else if (child.error) { /* it ran as far as exec and exited; nobody else knows this child */
        ret = -child.error;
        siginfo_t info;
        while (syscall(SYS_waitid, 3 /* P_PIDFD */, pidfd, &info, 4 /* WEXITED */, NULL) < 0 && errno == EINTR)
            ;
        close(pidfd);
    } else
        *slot = (struct pyrt_slot){.pid = (int)pid, .pidfd = pidfd, .socket = sockets[0]};
unlock:
    pthread_mutex_unlock(&one_at_a_time);
    munmap(stack, CHILD_STACK_BYTES);
close_sockets:
    close(sockets[1]);
    if (ret < 0)
        close(sockets[0]);
    return ret;
}

int pyrt_adopt_orphans(void)
{
    return sys_result(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
}

int pyrt_launch_go(int socket, const uint8_t *plan, size_t size, const int *fds, int fd_count)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(PYRT_PLAN_FDS_MAX * sizeof(int))];
    } control = {0};
    uint32_t size_field = (uint32_t)size;
    struct iovec parts[2] = {{&size_field, sizeof size_field}, {(void *)(uintptr_t)plan, size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

    if (fd_count > PYRT_PLAN_FDS_MAX || size > PYRT_PLAN_MAX)
        return -E2BIG;
    if (fd_count > 0) {
        message.msg_control = control.space;
        message.msg_controllen = CMSG_SPACE((size_t)fd_count * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN((size_t)fd_count * sizeof(int));
        memcpy(CMSG_DATA(&control.header), fds, (size_t)fd_count * sizeof(int));
    }
    while (message.msg_iovlen > 0) {
        ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return -errno;
        message.msg_control = NULL; /* the descriptors went with the first bytes */
        message.msg_controllen = 0;
        while (message.msg_iovlen > 0 && (size_t)sent >= message.msg_iov->iov_len) {
            sent -= (ssize_t)message.msg_iov->iov_len;
            message.msg_iov++;
            message.msg_iovlen--;
        }
        if (message.msg_iovlen > 0) {
            message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + sent;
            message.msg_iov->iov_len -= (size_t)sent;
        }
    }
    return 0;
}

int pyrt_launch_open_gate(int socket)
{
    ssize_t sent;

    do
        sent = send(socket, "", 1, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

/* The first of the descriptors that came with a message; others, which nobody should have sent, are closed. */
static int passed_descriptor(struct msghdr *message)
{
    int fds[2], passed = -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
        return -1;
    size_t bytes = header->cmsg_len - CMSG_LEN(0);
    memcpy(fds, CMSG_DATA(header), bytes < sizeof fds ? bytes : sizeof fds); /* the buffer's padding has room for two */
    for (size_t i = 0; i < bytes / sizeof(int); i++)
        if (i == 0)
            passed = fds[i];
        else
            close(fds[i]);
    return passed;
}

int pyrt_launch_report(int socket, int wait, struct pyrt_report *report, int *passed_fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {report, sizeof *report};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};

    *passed_fd = -1;
    ssize_t got;
    do /* a report is written in one piece, far below the socket's buffer, so it arrives whole */
        got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL | (wait ? 0 : MSG_DONTWAIT));
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == ECONNRESET ? 0 : -errno;
    if (got == 0)
        return 0;
    *passed_fd = passed_descriptor(&message);
    if (got != sizeof *report) {
        if (*passed_fd >= 0)
            close(*passed_fd);
        *passed_fd = -1;
        return -EPROTO;
    }
    report->step[sizeof report->step - 1] = '\0';
    report->text[sizeof report->text - 1] = '\0';
    return 1;
}
