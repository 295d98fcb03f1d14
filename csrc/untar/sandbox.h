/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The second barrier: after this the process has a mount namespace of its own in which the target is the root and
 * nothing else exists, on a mount that follows no symbolic link, opens no device and runs nothing.
 */
#ifndef PYRT_UNTAR_SANDBOX_H
#define PYRT_UNTAR_SANDBOX_H

/* Make the directory `target_fd` (closed here) the root of this process. A descriptor of it, or -errno. */
int sandbox_enter(int target_fd, const char **step);

#endif
