/* SPDX-License-Identifier: Apache-2.0 */
/* Asks the kernel what a seccomp program decides, by making every system call there is, in all three ABIs of x86_64.
 *
 *     seccomp_probe FILE          every call; prints "ABI NUMBER VALUE", VALUE being what the call returned
 *     seccomp_probe FILE PROGRAM  installs the program and executes PROGRAM under it
 *
 * For the first the program must have been changed to let no call through (the test replaces its answers by errnos of their
 * own), so nothing is ever done: the results go to shared memory, and the parent kills the child, which cannot even exit. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HIGHEST = 600, ABIS = 3, X32_BIT = 0x40000000 };
static const char *const abi_names[ABIS] = {"x86_64", "i386", "x32"};

struct results {
    volatile int done;
    volatile int values[ABIS][HIGHEST + 1];
};

static long call64(long number)
{
    long result;
    register long r10 __asm__("r10") = 0;
    register long r8 __asm__("r8") = 0;
    register long r9 __asm__("r9") = 0;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(0L), "S"(0L), "d"(0L), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static int call32(int number)
{
    int result;

    __asm__ volatile("int $0x80" /* the sixth argument, in ebp, is what it is */
                     : "=a"(result)
                     : "a"(number), "b"(0), "c"(0), "d"(0), "S"(0), "D"(0)
                     : "r8", "r9", "r10", "r11", "memory");
    return result;
}

static void install(const char *path)
{
    static struct sock_filter code[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = read(fd, code, sizeof code);
    struct sock_fprog program = {.len = (unsigned short)(size / (ssize_t)sizeof code[0]), .filter = code};

    close(fd);
    if (size <= 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0) {
        perror("seccomp");
        exit(2);
    }
}

static void ask_everything(struct results *results)
{
    for (int number = 0; number <= HIGHEST; number++) {
        /* uretprobe and uprobe: newer kernels ask no filter, and kill a caller that is not their own trampoline. */
        if (number != 335 && number != 336)
            results->values[0][number] = (int)call64(number);
        results->values[1][number] = call32(number);
        results->values[2][number] = (int)call64(number | X32_BIT);
    }
    results->done = 1;
    for (;;)
        ;
}

int main(int argc, char **argv)
{
    struct results *results;
    pid_t child;

    if (argc > 2) {
        install(argv[1]);
        execv(argv[2], argv + 2);
        perror(argv[2]);
        return 2;
    }
    results = mmap(NULL, sizeof *results, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        install(argv[1]);
        ask_everything(results);
    }
    for (int tries = 0; !results->done && tries < 5000 && waitpid(child, NULL, WNOHANG) == 0; tries++)
        usleep(1000);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    if (!results->done)
        return 3;
    for (int abi = 0; abi < ABIS; abi++)
        for (int number = 0; number <= HIGHEST; number++)
            printf("%s %d %d\n", abi_names[abi], number, results->values[abi][number]);
    return 0;
}
