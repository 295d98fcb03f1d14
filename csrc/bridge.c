/* SPDX-License-Identifier: Apache-2.0 */
/* The bridge that containers hang on; see bridge.h. */
#include "bridge.h"

#include "rtnl.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ALIGN4(n) (((n) + 3u) & ~(size_t)3u)
#define DUMP_BYTES 32768     /* what the kernel fills at once */
#define WIDEST_PREFIX 7      /* wider routes are the default route in disguise */

int pyrt_bridge_create(const char *name, int mtu)
{
    struct pyrt_nl request = { 0 };
    struct ifinfomsg none = { 0 };
    uint8_t off = 0;
    size_t info, data;
    int fd, error = pyrt_nl_check_name(name);

    if (error)
        return error;
    fd = pyrt_nl_open();
    if (fd < 0)
        return fd;
    pyrt_nl_begin(&request, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &none, sizeof none);
    pyrt_nl_put_name(&request, IFLA_IFNAME, name);
    if (mtu)
        pyrt_nl_put_u32(&request, IFLA_MTU, (uint32_t)mtu);
    info = pyrt_nl_nest(&request, IFLA_LINKINFO);
    pyrt_nl_put(&request, IFLA_INFO_KIND, "bridge", 6);
    data = pyrt_nl_nest(&request, IFLA_INFO_DATA);
    pyrt_nl_put_u32(&request, IFLA_BR_STP_STATE, 0);
    pyrt_nl_put(&request, IFLA_BR_MCAST_SNOOPING, &off, sizeof off);
    pyrt_nl_nest_end(&request, data);
    pyrt_nl_nest_end(&request, info);
    error = pyrt_nl_transact(fd, &request);
    close(fd);
    return error;
}

int pyrt_link_set_master(const char *name, int bridge_index)
{
    struct pyrt_nl request = { 0 };
    struct ifinfomsg up = { .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
    int fd, error = pyrt_nl_check_name(name);

    if (error)
        return error;
    fd = pyrt_nl_open();
    if (fd < 0)
        return fd;
    pyrt_nl_begin(&request, RTM_NEWLINK, NLM_F_ACK, &up, sizeof up);
    pyrt_nl_put_name(&request, IFLA_IFNAME, name);
    pyrt_nl_put_u32(&request, IFLA_MASTER, (uint32_t)bridge_index);
    error = pyrt_nl_transact(fd, &request);
    close(fd);
    return error;
}

/* --- what the kernel answers ------------------------------------------------------------------------------------ */

/* Finds one attribute behind a family header: 1, 0 if it is not there, -EBADMSG. */
static int find_attribute(const unsigned char *at, const unsigned char *end, uint16_t wanted,
                          const unsigned char **value, size_t *bytes)
{
    uint16_t type;
    int more;

    while ((more = pyrt_nl_next_attribute(&at, end, &type, value, bytes)) > 0)
        if (type == wanted)
            return 1;
    return more;
}

int pyrt_parse_is_bridge(const void *data, size_t length)
{
    const unsigned char *at = data, *value;
    struct nlmsghdr header;
    size_t bytes;
    int found, code = 0;

    if (length < sizeof header)
        return -EBADMSG;
    memcpy(&header, at, sizeof header);
    if (header.nlmsg_len > length)
        return -EBADMSG;
    if (header.nlmsg_type == NLMSG_ERROR)
        return pyrt_nl_parse_acks(data, length, &code) == 1 && code ? code : -EBADMSG;
    if (header.nlmsg_type != RTM_NEWLINK || header.nlmsg_len < sizeof header + sizeof(struct ifinfomsg))
        return -EBADMSG;
    found = find_attribute(at + sizeof header + sizeof(struct ifinfomsg), at + header.nlmsg_len, IFLA_LINKINFO, &value,
                           &bytes);
    if (found > 0)
        found = find_attribute(value, value + bytes, IFLA_INFO_KIND, &value, &bytes);
    if (found <= 0)
        return found;
    return bytes >= 6 && bytes <= 7 && !memcmp(value, "bridge\0", bytes);
}

static int overlaps(uint32_t a_be, int a_length, uint32_t b_be, int b_length)
{
    int length = a_length < b_length ? a_length : b_length;
    unsigned char a[4], b[4];

    memcpy(a, &a_be, 4);
    memcpy(b, &b_be, 4);
    for (int i = 0; i < 4 && length > 0; i++, length -= 8) {
        unsigned mask = length >= 8 ? 0xff : 0xff00u >> length;

        if ((a[i] ^ b[i]) & mask & 0xff)
            return 0;
    }
    return 1;
}

static int read_address(const unsigned char *at, const unsigned char *end, struct pyrt_dump *dump)
{
    struct ifaddrmsg message;
    const unsigned char *value;
    size_t bytes;
    int found;

    if ((size_t)(end - at) < sizeof message)
        return -EBADMSG;
    memcpy(&message, at, sizeof message);
    if (message.ifa_family != AF_INET || message.ifa_index != (uint32_t)dump->index || dump->found)
        return 0;
    found = find_attribute(at + sizeof message, end, IFA_LOCAL, &value, &bytes);
    if (found <= 0 || bytes != sizeof dump->address_be)
        return found < 0 ? found : 0;
    memcpy(&dump->address_be, value, bytes);
    dump->prefix_length = message.ifa_prefixlen;
    dump->found = 1;
    return 0;
}

static int read_route(const unsigned char *at, const unsigned char *end, struct pyrt_dump *dump)
{
    struct rtmsg message;
    const unsigned char *value;
    uint32_t destination_be;
    size_t bytes;
    int found;

    if ((size_t)(end - at) < sizeof message)
        return -EBADMSG;
    memcpy(&message, at, sizeof message);
    if (message.rtm_family != AF_INET || message.rtm_dst_len < WIDEST_PREFIX || message.rtm_dst_len > 32)
        return 0;
    found = find_attribute(at + sizeof message, end, RTA_DST, &value, &bytes);
    if (found <= 0 || bytes != sizeof destination_be)
        return found < 0 ? found : 0;
    memcpy(&destination_be, value, bytes);
    if (overlaps(destination_be, message.rtm_dst_len, dump->address_be, dump->prefix_length))
        dump->found = 1;
    return 0;
}

int pyrt_parse_dump(const void *data, size_t length, struct pyrt_dump *dump)
{
    const unsigned char *at = data;
    struct nlmsghdr header;

    while (length >= sizeof header && !dump->done) {
        int error = 0;

        memcpy(&header, at, sizeof header);
        if (header.nlmsg_len < sizeof header || header.nlmsg_len > length)
            return -EBADMSG;
        if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) {
            if (header.nlmsg_len >= sizeof header + sizeof dump->error)
                memcpy(&dump->error, at + sizeof header, sizeof dump->error);
            dump->done = 1;
        } else if (header.nlmsg_type == dump->kind && dump->kind == RTM_NEWADDR) {
            error = read_address(at + sizeof header, at + header.nlmsg_len, dump);
        } else if (header.nlmsg_type == dump->kind) {
            error = read_route(at + sizeof header, at + header.nlmsg_len, dump);
        }
        if (error)
            return error;
        if (ALIGN4(header.nlmsg_len) >= length)
            return 0;
        at += ALIGN4(header.nlmsg_len);
        length -= ALIGN4(header.nlmsg_len);
    }
    return dump->done || !length ? 0 : -EBADMSG;
}

/* --- asking ----------------------------------------------------------------------------------------------------- */

static ssize_t receive(int fd, void *buffer, size_t size)
{
    for (;;) {
        ssize_t length = recv(fd, buffer, size, MSG_TRUNC);

        if (length >= 0)
            return (size_t)length > size ? -EMSGSIZE : length;
        if (errno != EINTR)
            return -errno;
    }
}

static ssize_t ask(int fd, const struct pyrt_nl *request)
{
    struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

    if (request->overflow)
        return -EMSGSIZE;
    return sendto(fd, request->data, request->length, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0 ? -errno : 0;
}

int pyrt_bridge_find(const char *name)
{
    unsigned char reply[8192];
    struct pyrt_nl request = { 0 };
    struct ifinfomsg none = { 0 };
    ssize_t length;
    int index, fd = pyrt_nl_open();

    if (fd < 0)
        return fd;
    index = pyrt_nl_index(fd, name);
    if (index > 0) {
        none.ifi_index = index;
        pyrt_nl_begin(&request, RTM_GETLINK, 0, &none, sizeof none);
        length = ask(fd, &request);
        if (length >= 0)
            length = receive(fd, reply, sizeof reply);
        if (length >= 0)
            length = pyrt_parse_is_bridge(reply, (size_t)length);
        index = length < 0 ? (int)length : length ? index : -EEXIST;
    }
    close(fd);
    return index;
}

static int dump_all(uint16_t type, const void *family_header, size_t bytes, struct pyrt_dump *dump)
{
    unsigned char reply[DUMP_BYTES];
    struct pyrt_nl request = { 0 };
    int fd = pyrt_nl_open();
    ssize_t result;

    if (fd < 0)
        return fd;
    pyrt_nl_begin(&request, type, NLM_F_DUMP, family_header, bytes);
    result = ask(fd, &request);
    while (result >= 0 && !dump->done) {
        result = receive(fd, reply, sizeof reply);
        if (result >= 0)
            result = pyrt_parse_dump(reply, (size_t)result, dump);
    }
    close(fd);
    return result < 0 ? (int)result : dump->error;
}

int pyrt_address_get(int index, uint32_t *address_be)
{
    struct pyrt_dump dump = { .kind = RTM_NEWADDR, .index = index };
    struct ifaddrmsg header = { .ifa_family = AF_INET };
    int error = dump_all(RTM_GETADDR, &header, sizeof header, &dump);

    if (error)
        return error;
    if (!dump.found)
        return -ENODATA;
    *address_be = dump.address_be;
    return dump.prefix_length;
}

int pyrt_route_conflict(uint32_t network_be, int prefix_length)
{
    struct pyrt_dump dump = { .kind = RTM_NEWROUTE, .address_be = network_be, .prefix_length = prefix_length };
    struct rtmsg header = { .rtm_family = AF_INET };
    int error = dump_all(RTM_GETROUTE, &header, sizeof header, &dump);

    return error ? error : dump.found;
}
