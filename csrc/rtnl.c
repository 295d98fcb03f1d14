/* SPDX-License-Identifier: Apache-2.0 */
/* Route netlink messages; see rtnl.h. */
#include "rtnl.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define ALIGN4(n) (((n) + 3u) & ~(size_t)3u)

/* --- building --------------------------------------------------------------------------------------------------- */

void pyrt_nl_append(struct pyrt_nl *request, const void *bytes, size_t count)
{
    size_t padded = ALIGN4(count);

    if (!request->error && padded > sizeof request->data - request->length)
        request->error = -EMSGSIZE;
    if (request->error)
        return;
    memset(request->data + request->length, 0, padded);
    if (count)
        memcpy(request->data + request->length, bytes, count);
    request->length += padded;
}

/* Only the message being built grows, so its length is right after every append. */
static void close_message(struct pyrt_nl *request)
{
    uint32_t length = (uint32_t)(request->length - request->message);

    if (!request->error)
        memcpy(request->data + request->message, &length, sizeof length);
}

void pyrt_nl_begin(struct pyrt_nl *request, uint16_t type, uint16_t flags, const void *family_header, size_t bytes)
{
    struct nlmsghdr header = {
        .nlmsg_type = type,
        .nlmsg_flags = NLM_F_REQUEST | flags,
        .nlmsg_seq = ++request->count,
    };

    request->message = request->length;
    pyrt_nl_append(request, &header, sizeof header);
    pyrt_nl_append(request, family_header, bytes);
    close_message(request);
}

void pyrt_nl_put(struct pyrt_nl *request, uint16_t type, const void *value, size_t bytes)
{
    struct nlattr attribute = { .nla_len = (uint16_t)(sizeof attribute + bytes), .nla_type = type };

    pyrt_nl_append(request, &attribute, sizeof attribute);
    pyrt_nl_append(request, value, bytes);
    close_message(request);
}

void pyrt_nl_put_u32(struct pyrt_nl *request, uint16_t type, uint32_t value)
{
    pyrt_nl_put(request, type, &value, sizeof value);
}

void pyrt_nl_put_name(struct pyrt_nl *request, uint16_t type, const char *name)
{
    pyrt_nl_put(request, type, name, strlen(name) + 1);
}

void pyrt_nl_put_link_name(struct pyrt_nl *request, const char *name)
{
    int error = pyrt_nl_check_name(name);

    if (!error)
        pyrt_nl_put_name(request, IFLA_IFNAME, name);
    else if (!request->error)
        request->error = error;
}

void pyrt_nl_begin_link(struct pyrt_nl *request, uint16_t type, uint16_t flags, unsigned link_flags,
                        const char *name)
{
    struct ifinfomsg header = { .ifi_flags = link_flags, .ifi_change = link_flags };

    pyrt_nl_begin(request, type, NLM_F_ACK | flags, &header, sizeof header);
    pyrt_nl_put_link_name(request, name);
}

void pyrt_nl_put_port(struct pyrt_nl *request, const char *name, int bridge_index)
{
    pyrt_nl_begin_link(request, RTM_NEWLINK, 0, IFF_UP, name);
    pyrt_nl_put_u32(request, IFLA_MASTER, (uint32_t)bridge_index);
}

size_t pyrt_nl_nest(struct pyrt_nl *request, uint16_t type)
{
    size_t nest = request->length;

    pyrt_nl_put(request, type | NLA_F_NESTED, NULL, 0);
    return nest;
}

void pyrt_nl_nest_end(struct pyrt_nl *request, size_t nest)
{
    uint16_t length = (uint16_t)(request->length - nest);

    if (!request->error)
        memcpy(request->data + nest, &length, sizeof length);
    close_message(request);
}

void pyrt_nl_hardware_address(uint32_t address_be, unsigned char out[6])
{
    out[0] = 0x02;
    out[1] = 0x70;
    memcpy(out + 2, &address_be, sizeof address_be);
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

int pyrt_nl_next_message(const unsigned char **cursor, const unsigned char *end, uint16_t *type,
                         const unsigned char **body, size_t *bytes)
{
    size_t left = (size_t)(end - *cursor);
    struct nlmsghdr header;

    if (!left)
        return 0;
    if (left < sizeof header)
        return -EBADMSG;
    memcpy(&header, *cursor, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > left)
        return -EBADMSG;
    *type = header.nlmsg_type;
    *body = *cursor + sizeof header;
    *bytes = header.nlmsg_len - sizeof header;
    *cursor += ALIGN4(header.nlmsg_len) < left ? ALIGN4(header.nlmsg_len) : left;
    return 1;
}

int pyrt_nl_parse_acks(const void *data, size_t length, int *error)
{
    const unsigned char *at = data, *end = at + length, *body;
    uint16_t type;
    size_t bytes;
    int more, acks = 0;

    while ((more = pyrt_nl_next_message(&at, end, &type, &body, &bytes)) > 0) {
        int32_t code;

        if (type != NLMSG_ERROR)
            continue;
        if (bytes < sizeof code)
            return -EBADMSG;
        memcpy(&code, body, sizeof code);
        if (code > 0 || code < -4095)
            return -EBADMSG;
        if (!*error)
            *error = code;
        acks++;
    }
    return more < 0 ? more : acks;
}

int pyrt_nl_next_attribute(const unsigned char **cursor, const unsigned char *end, uint16_t *type,
                           const unsigned char **value, size_t *bytes)
{
    size_t left = (size_t)(end - *cursor);
    struct nlattr attribute;

    if (!left)
        return 0;
    if (left < sizeof attribute)
        return -EBADMSG;
    memcpy(&attribute, *cursor, sizeof attribute);
    if (attribute.nla_len < sizeof attribute || attribute.nla_len > left)
        return -EBADMSG;
    *type = attribute.nla_type & NLA_TYPE_MASK;
    *value = *cursor + sizeof attribute;
    *bytes = attribute.nla_len - sizeof attribute;
    *cursor += ALIGN4(attribute.nla_len) < left ? ALIGN4(attribute.nla_len) : left;
    return 1;
}

/* --- talking ---------------------------------------------------------------------------------------------------- */

int pyrt_nl_open(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    return fd < 0 ? -errno : fd;
}

int pyrt_nl_send(int fd, const struct pyrt_nl *request)
{
    struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

    if (request->error)
        return request->error;
    while (sendto(fd, request->data, request->length, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

ssize_t pyrt_nl_receive(int fd, void *buffer, size_t size)
{
    ssize_t length;

    do
        length = recv(fd, buffer, size, MSG_TRUNC);
    while (length < 0 && errno == EINTR);
    if (length < 0)
        return -errno;
    return (size_t)length > size ? -EMSGSIZE : length;
}

int pyrt_nl_transact(int fd, const struct pyrt_nl *request)
{
    unsigned char reply[4096]; /* an error quotes the whole request */
    uint32_t answered = 0;
    int error = 0, result = pyrt_nl_send(fd, request);

    while (result >= 0 && answered < request->count) {
        ssize_t length = pyrt_nl_receive(fd, reply, sizeof reply);

        result = length < 0 ? (int)length : pyrt_nl_parse_acks(reply, (size_t)length, &error);
        if (result > 0)
            answered += (uint32_t)result;
    }
    return result < 0 ? result : error;
}

int pyrt_nl_execute(const struct pyrt_nl *request)
{
    int fd = request->error ? request->error : pyrt_nl_open(), error;

    if (fd < 0)
        return fd;
    error = pyrt_nl_transact(fd, request);
    close(fd);
    return error;
}

int pyrt_nl_check_name(const char *name)
{
    if (!name || !*name)
        return -EINVAL;
    return strnlen(name, IFNAMSIZ) < IFNAMSIZ ? 0 : -ENAMETOOLONG;
}

/* SIOCGIFINDEX takes no rtnl lock, unlike RTM_GETLINK, and any socket will do. */
int pyrt_nl_index(int fd, const char *name)
{
    struct ifreq request = { 0 };
    int error = pyrt_nl_check_name(name);

    if (error)
        return error;
    memcpy(request.ifr_name, name, strlen(name));
    return ioctl(fd, SIOCGIFINDEX, &request) < 0 ? -errno : request.ifr_ifindex;
}
