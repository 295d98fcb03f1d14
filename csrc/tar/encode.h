/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header blocks of a tar archive: ustar where it can say everything, else with a PAX header before it.
 *
 * No system call and no state: the same item always gives the same bytes, whatever the host calls its users.
 */
#ifndef PYRT_TAR_ENCODE_H
#define PYRT_TAR_ENCODE_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "tar/bytes.h"
#include "untar/header.h" /* enum tar_type, TAR_BLOCK */

struct item_xattr {
    const char *name; /* without '=', which PAX cannot tell from its own */
    const uint8_t *value;
    size_t length;
};

/* What is written of one entry. Names and targets are bytes of any length without a NUL. */
struct tar_item {
    enum tar_type type;
    const char *name, *link; /* link: of symbolic and hard links */
    uint32_t mode, uid, gid, major, minor;
    uint64_t size; /* of what follows; 0 for all but regular files */
    struct timespec mtime;
    const struct item_xattr *xattrs;
    size_t xattr_count;
};

/* Append the item's headers to `out`. 0 or -ENOMEM. */
int encode_item(const struct tar_item *item, struct bytes *out);

#endif
