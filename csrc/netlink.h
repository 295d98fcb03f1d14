/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw rtnetlink for one container's network: its veth pair, its interface, its routes.
 *
 * The host side (the supervisor, through cffi) makes the pair; the container side (pyrt-init, static) configures what
 * arrived in its namespace. Everything acts on the network namespace of the calling thread, opens one socket, sends its
 * requests in one datagram and allocates nothing. Results are >= 0 or -errno, the errno being the kernel's own answer.
 */
#ifndef PYRT_NETLINK_H
#define PYRT_NETLINK_H

#include <stdint.h>

/* cdef: begin */

/*
 * Makes a veth pair: `host_name` here, up and a port of the bridge; `peer_name` directly inside the namespace of
 * `peer_netns_fd` (moving it there afterwards costs 17 ms), up and without an address. mtu 0 is the kernel's default.
 * The pair ends with the peer's namespace. An interface name that is taken: -EEXIST.
 */
int pyrt_veth_create(const char *host_name, int bridge_index, int peer_netns_fd, const char *peer_name, int mtu);

/* Brings up the loopback interface of this namespace. */
int pyrt_link_up_lo(void);

/*
 * Gives an interface of this namespace its address, brings it up and, with a gateway other than 0, makes it the default
 * route; it can send as soon as this returns. Addresses are in network order. The hardware address is derived from
 * `address_be`, so an address that is given to another container later never meets a stale neighbour entry.
 */
int pyrt_configure_interface(const char *name, uint32_t address_be, int prefix_length, uint32_t gateway_be);

/*
 * Switches IPv6 off for one interface of this namespace; call it before pyrt_configure_interface. The bridge is IPv4
 * only, and an interface that speaks IPv6 all the same would believe a router advertisement from any other container
 * (CVE-2020-13401) and spend its first second on duplicate address detection. lo keeps ::1. There is no netlink request
 * for it, hence `sysctl_dirfd`, a directory descriptor of /proc/sys in any proc file system. -ENOENT: a kernel without IPv6.
 */
int pyrt_disable_ipv6(int sysctl_dirfd, const char *name);

/* Finishes a carrier change of this interface that the kernel has queued: it can send as soon as this returns. */
int pyrt_link_settle(const char *name);

/* Removes an interface (a veth: both ends). Costs 17 ms: for undoing a failed start only. */
int pyrt_link_delete(const char *name);

/* The index of an interface of this namespace, or -ENODEV. */
int pyrt_link_index(const char *name);

/* cdef: end */

#endif
