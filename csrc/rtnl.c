/* SPDX-License-Identifier: Apache-2.0 */
/* Route netlink messages; see rtnl.h. */
#include "rtnl.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define ALIGN4(n) (((n) + 3u) & ~(size_t)3u)

/* --- building --------------------------------------------------------------------------------------------------- */

void pyrt_nl_append(struct pyrt_nl *request, const void *bytes, size_t count)
{
    size_t padded = ALIGN4(count);

    if (request->overflow || padded > sizeof request->data - request->length) {
        request->overflow = 1;
        return;
    }
    memset(request->data + request->length, 0, padded);
    if (count)
        memcpy(request->data + request->length, bytes, count);
    request->length += padded;
}

/* Only the message being built grows, so its length is right after every append. */
static void close_message(struct pyrt_nl *request)
{
    uint32_t length = (uint32_t)(request->length - request->message);

    if (!request->overflow)
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

size_t pyrt_nl_nest(struct pyrt_nl *request, uint16_t type)
{
    size_t nest = request->length;

    pyrt_nl_put(request, type | NLA_F_NESTED, NULL, 0);
    return nest;
}

void pyrt_nl_nest_end(struct pyrt_nl *request, size_t nest)
{
    uint16_t length = (uint16_t)(request->length - nest);

    if (!request->overflow)
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

int pyrt_nl_parse_acks(const void *data, size_t length, int *error)
{
    const unsigned char *at = data;
    int acks = 0;

    while (length >= sizeof(struct nlmsghdr)) {
        struct nlmsghdr header;
        int32_t code;

        memcpy(&header, at, sizeof header);
        if (header.nlmsg_len < sizeof header || header.nlmsg_len > length)
            return -EBADMSG;
        if (header.nlmsg_type == NLMSG_ERROR) {
            if (header.nlmsg_len < sizeof header + sizeof code)
                return -EBADMSG;
            memcpy(&code, at + sizeof header, sizeof code);
            if (code > 0 || code < -4095)
                return -EBADMSG;
            if (!*error)
                *error = code;
            acks++;
        }
        if (ALIGN4(header.nlmsg_len) >= length)
            return acks;
        at += ALIGN4(header.nlmsg_len);
        length -= ALIGN4(header.nlmsg_len);
    }
    return length ? -EBADMSG : acks;
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

int pyrt_nl_transact(int fd, const struct pyrt_nl *request)
{
    struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
    unsigned char reply[4096]; /* an error quotes the whole request */
    uint32_t answered = 0;
    int error = 0;

    if (request->overflow)
        return -EMSGSIZE;
    while (sendto(fd, request->data, request->length, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
        if (errno != EINTR)
            return -errno;
    while (answered < request->count) {
        ssize_t length = recv(fd, reply, sizeof reply, MSG_TRUNC);
        int acks;

        if (length < 0 && errno == EINTR)
            continue;
        if (length < 0)
            return -errno;
        if (length > (ssize_t)sizeof reply)
            return -EBADMSG;
        acks = pyrt_nl_parse_acks(reply, (size_t)length, &error);
        if (acks < 0)
            return acks;
        answered += (uint32_t)acks;
    }
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
