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

#define DUMP_BYTES 32768 /* what the kernel fills at once */
#define WIDEST_PREFIX 7  /* wider routes are the default route in disguise */

int pyrt_bridge_create(const char *name, int mtu)
{
    struct pyrt_nl request = { 0 };
    uint8_t off = 0;
    size_t info, data;

    pyrt_nl_begin_link(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, name);
    if (mtu)
        pyrt_nl_put_u32(&request, IFLA_MTU, (uint32_t)mtu);
    info = pyrt_nl_nest(&request, IFLA_LINKINFO);
    pyrt_nl_put(&request, IFLA_INFO_KIND, "bridge", 6);
    data = pyrt_nl_nest(&request, IFLA_INFO_DATA);
    pyrt_nl_put_u32(&request, IFLA_BR_STP_STATE, 0);
    pyrt_nl_put(&request, IFLA_BR_MCAST_SNOOPING, &off, sizeof off);
    pyrt_nl_nest_end(&request, data);
    pyrt_nl_nest_end(&request, info);
    return pyrt_nl_execute(&request);
}

int pyrt_link_set_master(const char *name, int bridge_index)
{
    struct pyrt_nl request = { 0 };

    pyrt_nl_put_port(&request, name, bridge_index);
    return pyrt_nl_execute(&request);
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
    uint16_t type;
    size_t bytes;
    int found, code = 0;

    if (pyrt_nl_next_message(&at, at + length, &type, &value, &bytes) <= 0)
        return -EBADMSG;
    if (type == NLMSG_ERROR)
        return pyrt_nl_parse_acks(data, length, &code) == 1 && code ? code : -EBADMSG;
    if (type != RTM_NEWLINK || bytes < sizeof(struct ifinfomsg))
        return -EBADMSG;
    found = find_attribute(value + sizeof(struct ifinfomsg), value + bytes, IFLA_LINKINFO, &value, &bytes);
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
    const unsigned char *at = data, *end = at + length, *body;
    uint16_t type;
    size_t bytes;
    int more = 0;

    while (!dump->done && (more = pyrt_nl_next_message(&at, end, &type, &body, &bytes)) > 0) {
        int error = 0;

        if (type == NLMSG_DONE || type == NLMSG_ERROR) {
            if (bytes >= sizeof dump->error)
                memcpy(&dump->error, body, sizeof dump->error);
            dump->done = 1;
        } else if (type == dump->kind) {
            error = type == RTM_NEWADDR ? read_address(body, body + bytes, dump) : read_route(body, body + bytes, dump);
        }
        if (error)
            return error;
    }
    return more < 0 ? more : 0;
}

/* --- asking ----------------------------------------------------------------------------------------------------- */

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
        length = pyrt_nl_send(fd, &request);
        if (length >= 0)
            length = pyrt_nl_receive(fd, reply, sizeof reply);
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
    result = pyrt_nl_send(fd, &request);
    while (result >= 0 && !dump->done) {
        result = pyrt_nl_receive(fd, reply, sizeof reply);
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
