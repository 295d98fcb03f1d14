/* SPDX-License-Identifier: Apache-2.0 */
/* One netlink message that makes a veth with its peer already inside the container's namespace, and enslaves it. */
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "floor_start.h"

struct message {
    struct nlmsghdr header;
    struct ifinfomsg info;
    char attributes[512];
};

static struct rtattr *add(struct message *m, unsigned short type, const void *data, size_t size)
{
    struct rtattr *attribute = (struct rtattr *)((char *)m + NLMSG_ALIGN(m->header.nlmsg_len));
    attribute->rta_type = type;
    attribute->rta_len = (unsigned short)RTA_LENGTH(size);
    if (size)
        memcpy(RTA_DATA(attribute), data, size);
    m->header.nlmsg_len = (uint32_t)(NLMSG_ALIGN(m->header.nlmsg_len) + RTA_SPACE(size));
    return attribute;
}

static void end(struct message *m, struct rtattr *attribute)
{
    attribute->rta_len = (unsigned short)((char *)m + m->header.nlmsg_len - (char *)attribute);
}

int floor_veth(pid_t pid, const char *bridge)
{
    struct message m = {
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof m.info),
                   .nlmsg_type = RTM_NEWLINK,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL},
        .info = {.ifi_family = AF_UNSPEC, .ifi_flags = IFF_UP, .ifi_change = IFF_UP},
    };
    char name[IFNAMSIZ];
    uint32_t namespace_pid = (uint32_t)pid, master = if_nametoindex(bridge);
    snprintf(name, sizeof name, "ptf%d", pid);
    add(&m, IFLA_IFNAME, name, strlen(name) + 1);
    add(&m, IFLA_MASTER, &master, sizeof master);
    struct rtattr *link = add(&m, IFLA_LINKINFO, NULL, 0);
    add(&m, IFLA_INFO_KIND, "veth", 5);
    struct rtattr *data = add(&m, IFLA_INFO_DATA, NULL, 0);
    struct ifinfomsg peer_info = {.ifi_family = AF_UNSPEC}; /* not up yet: a veth opens only when both ends exist */
    struct rtattr *peer = add(&m, VETH_INFO_PEER, &peer_info, sizeof peer_info);
    add(&m, IFLA_IFNAME, "eth0", 5);
    add(&m, IFLA_NET_NS_PID, &namespace_pid, sizeof namespace_pid);
    end(&m, peer);
    end(&m, data);
    end(&m, link);

    char reply[1024];
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        return -1;
    ssize_t n = send(fd, &m, m.header.nlmsg_len, 0) < 0 ? -1 : recv(fd, reply, sizeof reply, 0);
    int saved = errno;
    close(fd);
    if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr))) {
        errno = saved;
        return -1;
    }
    errno = -((struct nlmsgerr *)NLMSG_DATA((struct nlmsghdr *)reply))->error;
    return errno ? -1 : 0;
}
