/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's root: mounted, made /, and only then furnished. From make_root on, the image is hostile: whatever is
 * looked up in it is looked up after the pivot, from one descriptor of the new root, and stays beneath it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/syscalls.h"
#include "init.h"

#define IN_ROOT (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)

/* The host's own paths, named by the user: opened as mounts while the host's tree is still there. */
void open_volumes(struct plan *plan)
{
    for (int i = 0; i < plan->volume_count; i++) {
        struct plan_pair *volume = &plan->volumes[i];
        volume->fd = sys_open_tree(AT_FDCWD, volume->first, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
        if (volume->fd < 0)
            fail("volume", -volume->fd, volume->first);
        if (volume->flags & PYRT_VOLUME_READONLY) {
            int ret = sys_mount_set_readonly(volume->fd, 1);
            if (ret < 0)
                fail("volume", -ret, volume->first);
        }
    }
}

static void mount_overlay(const struct plan_pair *overlay, const char *target)
{
    /* Relative names keep many layers within the page that mount(2) reads. */
    if (chdir(overlay->first) < 0)
        fail("root", errno, overlay->first);
    if (mount("overlay", target, "overlay", 0, overlay->second) < 0)
        fail_path("root", errno, "mount overlay ", overlay->second);
}

static void bind_rootfs(const char *path, const char *target)
{
    int ret = mount(path, target, NULL, MS_BIND | MS_REC, NULL);
    if (ret < 0)
        fail("root", errno, path);
}

/*
 * A layer that hides what of the host's root no container may see, for the image that is the host's root: directories
 * that lead to a whiteout. On the stage's tmpfs, because a lower directory must not lie within another.
 */
static void make_mask(const struct plan *plan, const char *directory)
{
    int mask = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (mask < 0)
        fail("root", errno, directory);
    for (int i = 0; i < plan->mask_count; i++) {
        const struct pyrt_plan_mask *entry = &plan->masks[i].entry;
        const char *path = *plan->masks[i].path ? plan->masks[i].path : ".";
        int ret;
        if (!entry->mode)
            ret = mknodat(mask, path, S_IFCHR, 0);
        else if ((ret = strcmp(path, ".") ? mkdirat(mask, path, 0700) : 0) == 0)
            ret = fchownat(mask, path, entry->uid, entry->gid, 0) < 0 ? -1 : fchmodat(mask, path, entry->mode & 07777, 0);
        if (ret < 0)
            fail_path("root", errno, "mask ", path);
    }
    close(mask);
}

void mount_root(const struct plan *plan, const char *mask, const char *target)
{
    if (plan->mask_count)
        make_mask(plan, mask);
    if (plan->overlay.first)
        mount_overlay(&plan->overlay, target);
    else
        bind_rootfs(plan->rootfs, target);
}

void make_root(const struct plan *plan)
{
    mount_root(plan, PYRT_MASK_PATH, "/proc/root");
    if (chdir("/proc/root") < 0)
        fail("root", errno, "enter");
    /* The old root ends up mounted over the new one, where only its descriptor reaches it. */
    if (sys_pivot_root(".", ".") < 0)
        fail("root", errno, "pivot_root");
}

/*
 * A place made for a mount is not the container's doing, so it leaves no trace in the time of the directory it is in:
 * make it between these two.
 */
struct timespec time_of(int directory_fd)
{
    struct stat status;

    return fstat(directory_fd, &status) < 0 ? (struct timespec){.tv_nsec = UTIME_OMIT} : status.st_mtim;
}

void put_back_time(int directory_fd, struct timespec time)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, time};

    if (utimensat(directory_fd, ".", times, 0) < 0)
        return; /* on a root that is read-only nothing was made either */
}

/* The kernel's own file systems only ever go onto ordinary directories (CVE-2019-19921 and its kin). */
static int open_ordinary(int root_fd, const char *name)
{
    struct timespec time = time_of(root_fd);
    if (mkdirat(root_fd, name, 0755) == 0)
        put_back_time(root_fd, time);
    else if (errno != EEXIST)
        fail_path("root", errno, "make /", name);
    int target = sys_openat2(root_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                             RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
    if (target == -ELOOP || target == -ENOTDIR)
        fail_path("root", 0, "refusing to start: must be an ordinary directory in the image: /", name);
    if (target < 0)
        fail_path("root", -target, "open /", name);
    return target;
}

static void attach(int root_fd, const char *name, int mount_fd)
{
    int target = open_ordinary(root_fd, name);
    int ret = sys_move_mount(mount_fd, target);
    if (ret < 0)
        fail_path("root", -ret, "attach /", name);
    close(target);
}

/* Opens a root that somebody else will furnish: the same directories, and the same refusal. */
int open_root(const char *root)
{
    int root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        fail("root", errno, root);
    close(open_ordinary(root_fd, "proc"));
    close(open_ordinary(root_fd, "sys"));
    close(open_ordinary(root_fd, "dev"));
    return root_fd;
}

/* Makes the directories that lead to path's last component. */
static int make_parents(int root_fd, const char *path)
{
    char prefix[4096];
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        size_t length = (size_t)(slash - path);
        if (length >= sizeof prefix)
            return -ENAMETOOLONG;
        memcpy(prefix, path, length);
        prefix[length] = '\0';
        int fd = sys_openat2(root_fd, prefix, O_PATH | O_DIRECTORY | O_CLOEXEC, IN_ROOT);
        if (fd == -ENOENT) {
            /* mkdir has no in-root resolution of its own: make the last component from its parent's descriptor. */
            char *last = strrchr(prefix, '/');
            int parent = root_fd;
            if (last != prefix) {
                *last = '\0';
                parent = sys_openat2(root_fd, prefix, O_PATH | O_DIRECTORY | O_CLOEXEC, IN_ROOT);
            }
            if (parent < 0)
                return parent;
            struct timespec time = time_of(parent);
            int ret = mkdirat(parent, last + 1, 0755) < 0 && errno != EEXIST ? -errno : 0;
            put_back_time(parent, time);
            if (parent != root_fd)
                close(parent);
            if (ret < 0)
                return ret;
            continue;
        }
        if (fd < 0)
            return fd;
        close(fd);
    }
    return 0;
}

/* Opens what a mount goes onto, and makes it, a directory or an empty file, where the image has nothing. */
static int open_target(int root_fd, const char *path, int directory)
{
    int target = sys_openat2(root_fd, path, O_PATH | O_CLOEXEC, IN_ROOT);
    if (target != -ENOENT)
        return target;
    int ret = make_parents(root_fd, path);
    if (ret < 0)
        return ret;

    char parent_path[4096];
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    if (length >= sizeof parent_path)
        return -ENAMETOOLONG;
    memcpy(parent_path, path, length);
    parent_path[length] = '\0';
    char *name = strrchr(parent_path, '/');
    if (!name)
        return -EINVAL;
    *name++ = '\0';
    int parent = sys_openat2(root_fd, *parent_path ? parent_path : "/", O_PATH | O_DIRECTORY | O_CLOEXEC, IN_ROOT);
    if (parent < 0)
        return parent;
    struct timespec time = time_of(parent);
    for (int attempt = 0; attempt < 2; attempt++) {
        if (directory)
            ret = mkdirat(parent, name, 0755) < 0 ? -errno : 0;
        else
            ret = mknodat(parent, name, S_IFREG | 0644, 0) < 0 ? -errno : 0;
        if (ret != -EEXIST || unlinkat(parent, name, 0) < 0)
            break; /* it exists and yet was not found: a link that leads nowhere, which gives way */
    }
    put_back_time(parent, time);
    target = ret < 0 ? ret : sys_openat2(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, RESOLVE_BENEATH);
    close(parent);
    return target;
}

static void write_file(int directory_fd, const char *name, const struct plan_pair *file)
{
    int fd = openat(directory_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, file->flags);
    if (fd < 0)
        fail("files", errno, file->first);
    for (size_t done = 0; done < file->content_bytes;) {
        ssize_t put = write(fd, file->content + done, file->content_bytes - done);
        if (put < 0)
            fail("files", errno, file->first);
        done += (size_t)put;
    }
    close(fd);
}

void make_files(struct plan *plan, int files_fd)
{
    for (int i = 0; i < plan->file_count; i++) {
        struct plan_pair *file = &plan->files[i];
        char name[2] = {(char)('a' + i), '\0'};
        write_file(files_fd, name, file);
        file->fd = sys_open_tree(files_fd, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        if (file->fd < 0)
            fail("files", -file->fd, file->first);
    }
}

static void attach_files(const struct plan *plan, int root_fd)
{
    for (int i = 0; i < plan->file_count; i++) {
        const struct plan_pair *file = &plan->files[i];
        int target = open_target(root_fd, file->first, 0);
        int ret = target < 0 ? target : sys_move_mount(file->fd, target);
        if (ret < 0)
            fail("files", -ret, file->first);
        close(file->fd);
        close(target);
    }
}

static void attach_volumes(const struct plan *plan, int root_fd)
{
    for (int i = 0; i < plan->volume_count; i++) {
        const struct plan_pair *volume = &plan->volumes[i];
        struct stat status;
        if (fstat(volume->fd, &status) < 0)
            fail("volume", errno, volume->first);
        int target = open_target(root_fd, volume->second, S_ISDIR(status.st_mode));
        int ret = target < 0 ? target : sys_move_mount(volume->fd, target);
        if (ret == -EINVAL)
            fail_path("volume", 0, "source and target are not both files, or not both directories: ", volume->second);
        if (ret < 0)
            fail("volume", -ret, volume->second);
        close(volume->fd);
        close(target);
    }
}

void furnish_root(const struct plan *plan, struct stage *stage)
{
    int root_fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        fail("root", errno, "open");
    if (stage->proc >= 0) {
        attach(root_fd, "proc", stage->proc);
        attach(root_fd, "sys", stage->sys);
        attach(root_fd, "dev", stage->dev);
    }
    attach_files(plan, root_fd);
    attach_volumes(plan, root_fd);
    if (plan->readonly) {
        int ret = sys_mount_set_readonly(root_fd, 0);
        if (ret < 0)
            fail("root", -ret, "make read-only");
    }

    /* The host's tree leaves, and with it the stage. */
    if (stage->host_root >= 0 && (fchdir(stage->host_root) < 0 || umount2(".", MNT_DETACH) < 0 || fchdir(root_fd) < 0))
        fail("root", errno, "leave the host's root");
    close(stage->host_root);
    close(stage->sysctl);
    close(root_fd);
}
