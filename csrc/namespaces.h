/* SPDX-License-Identifier: Apache-2.0 */
/* The bare system calls of namespaces and mounts, for callers who build something of their own. */
#ifndef PYRT_NAMESPACES_H
#define PYRT_NAMESPACES_H

#include <stdint.h>

/* cdef: begin */
/* Each returns 0 or -errno and acts on the calling thread (unshare, setns) or on its mount namespace. */
int pyrt_unshare(uint64_t namespaces);
int pyrt_setns(int fd, int namespaces);
int pyrt_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *options);
int pyrt_umount(const char *target, int flags);
int pyrt_pivot_root(const char *new_root, const char *put_old);
/* cdef: end */

#endif
