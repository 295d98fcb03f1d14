/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Route netlink messages: building requests in a fixed buffer, sending them, reading what the kernel answers.
 *
 * A request goes out with one sendto(), and the kernel has executed every message of it, in order, when that call
 * returns: the acknowledgements are already waiting in the socket. A message that fails does not stop those after it.
 */
#ifndef PYRT_RTNL_H
#define PYRT_RTNL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PYRT_NL_BYTES 1024 /* of requests in one datagram */

/* Requests being built. What goes wrong is kept in `error`, and pyrt_nl_send() returns it instead of sending anything. */
struct pyrt_nl {
    _Alignas(4) unsigned char data[PYRT_NL_BYTES];
    size_t length;
    size_t message; /* where the message being built begins */
    uint32_t count; /* messages so far; each is acknowledged */
    int error;      /* 0, -EMSGSIZE when full, or what is wrong with an interface's name */
};

/* Begins a request: an nlmsghdr with its sequence number (1, 2, …) and `family_header`, for instance an ifinfomsg. */
void pyrt_nl_begin(struct pyrt_nl *request, uint16_t type, uint16_t flags, const void *family_header, size_t bytes);
void pyrt_nl_put(struct pyrt_nl *request, uint16_t type, const void *value, size_t bytes);
void pyrt_nl_put_u32(struct pyrt_nl *request, uint16_t type, uint32_t value);
void pyrt_nl_put_name(struct pyrt_nl *request, uint16_t type, const char *name);
/* Appends bytes that are no attribute: a family header inside a nested attribute. */
void pyrt_nl_append(struct pyrt_nl *request, const void *bytes, size_t count);
/*
 * Begins a request about the interface `name`, to be acknowledged: RTM_NEWLINK, which sets these flags of the interface
 * (IFF_UP), or RTM_DELLINK. A name that the kernel could not take spoils the request, see pyrt_nl_check_name().
 */
void pyrt_nl_begin_link(struct pyrt_nl *request, uint16_t type, uint16_t flags, unsigned link_flags, const char *name);
/* IFLA_IFNAME, with the same check. */
void pyrt_nl_put_link_name(struct pyrt_nl *request, const char *name);
/* A whole request: brings the interface up, as a port of this bridge. */
void pyrt_nl_put_port(struct pyrt_nl *request, const char *name, int bridge_index);
/* A nested attribute: what is put between the two calls becomes its content. */
size_t pyrt_nl_nest(struct pyrt_nl *request, uint16_t type);
void pyrt_nl_nest_end(struct pyrt_nl *request, size_t nest);

/* A hardware address for an IPv4 address: locally administered, 02:70 ('p') and the four bytes. */
void pyrt_nl_hardware_address(uint32_t address_be, unsigned char out[6]);

/* A route netlink socket, close-on-exec. */
int pyrt_nl_open(void);
/* Sends what was built: 0 or -errno. */
int pyrt_nl_send(int fd, const struct pyrt_nl *request);
/* Receives one datagram: its length, -EMSGSIZE if it is longer than `size`, or -errno. */
ssize_t pyrt_nl_receive(int fd, void *buffer, size_t size);
/* Sends what was built and waits for every acknowledgement: 0, or the first error among them. */
int pyrt_nl_transact(int fd, const struct pyrt_nl *request);
/* The same by a socket of its own. */
int pyrt_nl_execute(const struct pyrt_nl *request);
/* The index of an interface, by any socket. */
int pyrt_nl_index(int fd, const char *name);
/* -EINVAL, -ENAMETOOLONG or 0: whether the kernel could take `name` for an interface. */
int pyrt_nl_check_name(const char *name);

/*
 * Reads acknowledgements from one received datagram: returns how many there were, and stores the first error in *error
 * if that is still 0; -EBADMSG when a length does not fit. A pure function: it may be given any bytes.
 */
int pyrt_nl_parse_acks(const void *data, size_t length, int *error);

/*
 * Steps through the messages in [*cursor, end): 1 with type, what follows the nlmsghdr and its length, 0 at the end,
 * -EBADMSG. Pure, like the above.
 */
int pyrt_nl_next_message(const unsigned char **cursor, const unsigned char *end, uint16_t *type,
                         const unsigned char **body, size_t *bytes);

/*
 * Steps through the attributes in [*cursor, end): 1 with type, value and its length, 0 at the end, -EBADMSG.
 * Pure as well.
 */
int pyrt_nl_next_attribute(const unsigned char **cursor, const unsigned char *end, uint16_t *type,
                           const unsigned char **value, size_t *bytes);

#endif
