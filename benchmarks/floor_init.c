/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child's side of the start floor: mounts, pivot_root, masks, lo, capabilities, seccomp, exec.
 *
 * Not parked, every mount is made where it stays. Parked, what no image can change is made beforehand, on a tmpfs that
 * covers /proc, and moved into the root when that is known: the way of pyrt's init, by as few calls.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "floor_start.h"

#define STAGE "/proc" /* exists on every host, and hides nothing else of it */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
/* podman's eleven: chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service sys_chroot setfcap */
#define CAPABILITIES UINT64_C(0x800405fb)

pid_t floor_clone_exec(struct clone_args *args, size_t size, int program_fd, char *const argv[], char *const env[])
{
    /* With CLONE_VFORK the parent sleeps meanwhile; the child has a stack of its own and comes back here on it. */
    long pid;
    register struct clone_args *r_args __asm__("rdi") = args;
    register size_t r_size __asm__("rsi") = size;
    register long r_fd __asm__("r12") = program_fd;
    register char *const *r_argv __asm__("r13") = argv;
    register char *const *r_env __asm__("r14") = env;
    __asm__ volatile("syscall\n"
                     "test %%rax, %%rax\n"
                     "jnz 1f\n"
                     "mov %[execveat], %%eax\n" /* execveat(program_fd, "", argv, env, AT_EMPTY_PATH) */
                     "mov %%r12, %%rdi\n"
                     "lea 2f(%%rip), %%rsi\n"
                     "mov %%r13, %%rdx\n"
                     "mov %%r14, %%r10\n"
                     "mov $0x1000, %%r8d\n"
                     "syscall\n"
                     "mov $127, %%edi\n"
                     "mov %[exit], %%eax\n"
                     "syscall\n"
                     "2: .byte 0\n"
                     "1:\n"
                     : "=a"(pid)
                     : "a"((long)SYS_clone3), "r"(r_args), "r"(r_size), "r"(r_fd), "r"(r_argv), "r"(r_env),
                       [execveat] "i"(SYS_execveat), [exit] "i"(SYS_exit)
                     : "rcx", "r11", "rdx", "r10", "r8", "memory");
    if (pid < 0) {
        errno = (int)-pid;
        return -1;
    }
    return (pid_t)pid;
}

static _Noreturn void fail(const char *step)
{
    dprintf(EXEC_FD, "%s: %s", step, strerror(errno));
    _exit(1);
}

static void mount_at(const char *kind, const char *target, unsigned long flags, const char *options)
{
    if (mount(kind, target, kind, flags, options) < 0)
        fail(target);
}

static void make_dev(void)
{
    static const struct {
        const char *path;
        unsigned minor;
        unsigned major;
    } nodes[] = {{"dev/null", 3, 1}, {"dev/zero", 5, 1}, {"dev/full", 7, 1}, {"dev/random", 8, 1}, {"dev/urandom", 9, 1},
                 {"dev/tty", 0, 5}};
    static const char *const links[][2] = {{"/proc/self/fd", "dev/fd"},     {"/proc/self/fd/0", "dev/stdin"},
                                           {"/proc/self/fd/1", "dev/stdout"}, {"/proc/self/fd/2", "dev/stderr"},
                                           {"pts/ptmx", "dev/ptmx"}};
    mount_at("tmpfs", "dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
    for (size_t i = 0; i < COUNT(nodes); i++)
        if (mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)) < 0)
            fail(nodes[i].path);
    for (size_t i = 0; i < COUNT(links); i++)
        if (symlink(links[i][0], links[i][1]) < 0)
            fail(links[i][1]);
    if (mkdir("dev/pts", 0755) < 0 || mkdir("dev/shm", 01777) < 0 || mkdir("dev/mqueue", 0755) < 0)
        fail("dev");
    mount_at("devpts", "dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
    mount_at("tmpfs", "dev/shm", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=65536k");
    mount_at("mqueue", "dev/mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

static void make_private(void)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        fail("private");
}

/* proc, sysfs and dev below the current directory. */
static void furnish(void)
{
    mount_at("proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_at("sysfs", "sys", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL);
    make_dev();
}

static void mount_overlay(char **argv, const char *target)
{
    char options[13000];
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", argv[1], argv[2], argv[3]);
    if (mount("overlay", target, "overlay", 0, options) < 0)
        fail("overlay");
    if (chdir(target) < 0)
        fail("chdir");
}

static void enter_root(void)
{
    if (syscall(SYS_pivot_root, ".", ".") < 0)
        fail("pivot_root");
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        fail("old root");
}

/* Masks and read-only parts of what `furnish` made. */
static void protect_paths(void)
{
    static const char *const files[] = {"proc/kcore", "proc/keys", "proc/latency_stats", "proc/sched_debug",
                                        "proc/timer_list", "proc/timer_stats", "proc/interrupts"};
    static const char *const directories[] = {"proc/acpi", "proc/asound", "proc/scsi", "sys/firmware",
                                              "sys/devices/virtual/powercap"};
    static const char *const readonly[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
    for (size_t i = 0; i < COUNT(files); i++)
        if (mount("dev/null", files[i], NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
            fail(files[i]);
    const char *empty = NULL; /* the first is a tmpfs, the others are that one again: a tmpfs each costs more */
    for (size_t i = 0; i < COUNT(directories); i++) {
        int ret = empty ? mount(empty, directories[i], NULL, MS_BIND, NULL)
                        : mount("tmpfs", directories[i], "tmpfs", MS_RDONLY, "size=0k");
        if (ret < 0 && errno != ENOENT)
            fail(directories[i]);
        if (ret == 0)
            empty = directories[i];
    }
    for (size_t i = 0; i < COUNT(readonly); i++) {
        if (mount(readonly[i], readonly[i], NULL, MS_BIND | MS_REC, NULL) < 0) {
            if (errno == ENOENT)
                continue;
            fail(readonly[i]);
        }
        unsigned long flags = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
        if (mount(NULL, readonly[i], NULL, flags, NULL) < 0)
            fail(readonly[i]);
    }
}

static void loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        fail("lo");
    close(fd);
}

/* Address and default route of a veth that has arrived meanwhile. */
static void configure_eth0(void)
{
    struct ifreq request = {.ifr_name = "eth0"};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a630002)}; /* 10.99.0.2 */
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("socket");
    memcpy(&request.ifr_addr, &address, sizeof address);
    if (ioctl(fd, SIOCSIFADDR, &request) < 0) {
        if (errno != ENODEV)
            fail("address");
        close(fd);
        return;
    }
    address.sin_addr.s_addr = htonl(0xffffff00);
    memcpy(&request.ifr_netmask, &address, sizeof address);
    if (ioctl(fd, SIOCSIFNETMASK, &request) < 0)
        fail("netmask");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        fail("eth0");
    address.sin_addr.s_addr = 0;
    memcpy(&route.rt_dst, &address, sizeof address);
    memcpy(&route.rt_genmask, &address, sizeof address);
    address.sin_addr.s_addr = htonl(0x0a630001);
    memcpy(&route.rt_gateway, &address, sizeof address);
    if (ioctl(fd, SIOCADDRT, &route) < 0)
        fail("route");
    close(fd);
}

static void drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{.effective = (uint32_t)CAPABILITIES, .permitted = (uint32_t)CAPABILITIES}};
    for (int cap = 0; cap < 64; cap++)
        if (!(CAPABILITIES >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            break; /* past the last capability of this kernel */
    if (syscall(SYS_capset, &header, data) < 0)
        fail("capset");
}

static void load_seccomp(void)
{
    static struct sock_filter program[4096];
    ssize_t bytes = read(BPF_FD, program, sizeof program);
    if (bytes <= 0)
        return; /* none was given */
    struct sock_fprog prog = {.len = (unsigned short)((size_t)bytes / sizeof program[0]), .filter = program};
    lseek(BPF_FD, 0, SEEK_SET);
    close(BPF_FD);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0)
        fail("seccomp");
}

static void stage(void)
{
    static const char *const directories[] = {"root", "proc", "sys", "dev"};
    mount_at("tmpfs", STAGE, MS_NOSUID | MS_NODEV, "mode=700");
    if (chdir(STAGE) < 0)
        fail(STAGE);
    for (size_t i = 0; i < COUNT(directories); i++)
        if (mkdir(directories[i], 0755) < 0)
            fail(directories[i]);
    furnish();
    protect_paths();
}

/* The root from the stage: the overlay, and three mounts that move into it. */
static void unstage(char **argv)
{
    static const char *const mounts[] = {"proc", "sys", "dev"};
    mount_overlay(argv, STAGE "/root");
    for (size_t i = 0; i < COUNT(mounts); i++) {
        char from[16];
        snprintf(from, sizeof from, "../%s", mounts[i]);
        if (mount(from, mounts[i], NULL, MS_MOVE, NULL) < 0)
            fail(from);
    }
    enter_root();
}

static void await_go(int parked)
{
    char go;
    if (parked && write(EXEC_FD, FLOOR_PARKED, 1) != 1)
        fail("parked");
    if (read(GO_FD, &go, 1) != 1)
        _exit(1); /* not wanted any more */
    close(GO_FD);
}

_Noreturn void floor_init(char **argv, int parked)
{
    static char *const environment[] = {"HOME=/", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    fcntl(EXEC_FD, F_SETFD, FD_CLOEXEC);
    umask(0);
    const char *group = getenv(FLOOR_GROUP);
    if (group && *group)
        floor_cgroup_enter(group);
    make_private();
    if (parked) {
        stage();
    } else {
        mount_overlay(argv, argv[1]); /* over its own lower: any directory will do */
        furnish();
        enter_root();
        protect_paths();
    }
    loopback_up();
    if (syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, NULL) < 0)
        fail("keyring");
    await_go(parked);
    configure_eth0();
    if (sethostname("floor", 5) < 0)
        fail("hostname");
    if (unshare(CLONE_NEWCGROUP) < 0) /* after it was entered, so that its group is its root */
        fail("cgroup namespace");
    if (parked)
        unstage(argv);
    if (setsid() < 0 && errno != EPERM)
        fail("setsid");
    load_seccomp(); /* before the capabilities go: without no_new_privs it takes CAP_SYS_ADMIN */
    drop_capabilities();
    execve(argv[4], argv + 4, environment);
    fail(argv[4]);
}
