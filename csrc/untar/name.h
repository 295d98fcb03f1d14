/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of entries: made relative and free of ".." by their text alone, and the whiteouts hidden in them.
 * Pure functions. That the path so made meets no symbolic link is the kernel's part; see tree.h.
 */
#ifndef PYRT_UNTAR_NAME_H
#define PYRT_UNTAR_NAME_H

#include <stddef.h>
#include <stdint.h>

#define NAME_BYTES_MAX 4095 /* PATH_MAX less its NUL: what a system call takes */

enum name_kind {
    NAME_PLAIN,
    NAME_WHITEOUT, /* .wh.NAME: NAME of the layers below is gone */
    NAME_OPAQUE,   /* .wh..wh..opq: everything in this directory of the layers below is gone */
    NAME_AUFS,     /* .wh..wh.*, also as first component: aufs' own bookkeeping, left out */
    NAME_BAD,      /* a whiteout of nothing, of "." or "..", or something inside a whiteout */
};

/*
 * Clean a name into out (NAME_BYTES_MAX + 1 bytes): "/a//./b/" becomes "a/b", "/" becomes "".
 * Returns its length, or -EXDEV: it leaves the root; -ENAMETOOLONG; -EINVAL: it holds a NUL.
 */
int name_clean(const uint8_t *name, size_t length, char *out);

/* What a clean name stands for. */
enum name_kind name_kind(const char *name);

/* The last component of a clean name. */
const char *name_base(const char *name);

#endif
