/* SPDX-License-Identifier: Apache-2.0 */
/* Removes a directory tree, following nothing in it. */
#ifndef PYRT_REMOVE_H
#define PYRT_REMOVE_H

/* cdef: begin */
/*
 * Removes `name` in the directory dirfd, and everything below it. What is gone already is no error. Returns 0, -errno of
 * the first thing that could not be removed (the rest is removed all the same), or -ELOOP for what lies too deep:
 * descriptors are held along the way down, so the depth is bounded.
 */
int pyrt_remove_tree(int dirfd, const char *name);
/* cdef: end */

#endif
