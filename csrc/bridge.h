/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bridge that containers hang on, host side only: making it, finding it, and what addresses the host already uses.
 * The same rules as in netlink.h: the calling thread's network namespace, nothing allocated, >= 0 or -errno.
 */
#ifndef PYRT_BRIDGE_H
#define PYRT_BRIDGE_H

#include <stddef.h>
#include <stdint.h>

/* cdef: begin */

/* Makes a bridge, down and without an address; spanning tree and multicast snooping off. A taken name: -EEXIST. */
int pyrt_bridge_create(const char *name, int mtu);

/* The index of the bridge of this name; -ENODEV: no such interface; -EEXIST: one that is not a bridge. */
int pyrt_bridge_find(const char *name);

/* Makes an interface a port of a bridge. */
int pyrt_link_set_master(const char *name, int bridge_index);

/* The first IPv4 address of an interface: its prefix length, with *address_be filled in; -ENODATA if it has none. */
int pyrt_address_get(int index, uint32_t *address_be);

/*
 * 1 if any IPv4 route or address of this host, in any routing table, overlaps network_be/prefix_length; else 0.
 * Routes as wide as /6 are the default route in disguise (VPNs split it in two) and do not count.
 */
int pyrt_route_conflict(uint32_t network_be, int prefix_length);

/* cdef: end */

/* What pyrt_parse_dump() found; set the first two, zero the rest. */
struct pyrt_dump {
    int kind;      /* RTM_NEWADDR: the first address of interface `index`; RTM_NEWROUTE: a route that overlaps */
    int index;
    uint32_t address_be; /* in: the network (routes); out: the address */
    int prefix_length;   /* likewise */
    int found;
    int error; /* of the dump itself, -errno */
    int done;
};

/* Reads one received datagram of a dump: 0 or -EBADMSG. Pure: it may be given any bytes. */
int pyrt_parse_dump(const void *data, size_t length, struct pyrt_dump *dump);

/* Reads an RTM_NEWLINK answer: 1 if the interface is a bridge, 0 if not, the kernel's error, or -EBADMSG. Pure. */
int pyrt_parse_is_bridge(const void *data, size_t length);

#endif
