/* SPDX-License-Identifier: Apache-2.0 */
/* One container's network over route netlink; see netlink.h. */
#define _GNU_SOURCE
#include "netlink.h"

#include "rtnl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/veth.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LO_INDEX 1 /* in every network namespace */

static void put_veth_end(struct pyrt_nl *request, int mtu)
{
    if (mtu)
        pyrt_nl_put_u32(request, IFLA_MTU, (uint32_t)mtu);
    /* The default is a queue for every possible processor, on both ends; veth takes no queue lock anyway. */
    pyrt_nl_put_u32(request, IFLA_NUM_TX_QUEUES, 1);
    pyrt_nl_put_u32(request, IFLA_NUM_RX_QUEUES, 1);
}

/*
 * The container's end is the link being made, the host's end its peer: only the former can be up from the start. The
 * end that is up first gets its carrier when the other follows, but the kernel puts that into effect in a work queue,
 * and a packet sent before it ran is lost: a connection made at once would stall for a second. This way round the late
 * end is the container's, where pyrt_configure_interface() sees to it.
 */
static void put_veth(struct pyrt_nl *request, const char *host_name, int peer_netns_fd, const char *peer_name, int mtu)
{
    struct ifinfomsg none = { 0 };
    size_t info, data, host;

    pyrt_nl_begin_link(request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, IFF_UP, peer_name);
    put_veth_end(request, mtu);
    pyrt_nl_put_u32(request, IFLA_NET_NS_FD, (uint32_t)peer_netns_fd);
    info = pyrt_nl_nest(request, IFLA_LINKINFO);
    pyrt_nl_put(request, IFLA_INFO_KIND, "veth", 4);
    data = pyrt_nl_nest(request, IFLA_INFO_DATA);
    host = pyrt_nl_nest(request, VETH_INFO_PEER);
    pyrt_nl_append(request, &none, sizeof none);
    pyrt_nl_put_link_name(request, host_name);
    put_veth_end(request, mtu);
    pyrt_nl_nest_end(request, host);
    pyrt_nl_nest_end(request, data);
    pyrt_nl_nest_end(request, info);
}

/*
 * A container that reaches itself through its own published port comes back out of the port it came in by. With
 * br_netfilter loaded (Docker loads it) such a packet is bridged rather than routed and needs the port's hairpin mode;
 * the kernel takes that setting only once the link is a port.
 */
static void put_hairpin(struct pyrt_nl *request, const char *host_name)
{
    uint8_t on = 1;
    size_t info, data;

    pyrt_nl_begin_link(request, RTM_NEWLINK, 0, 0, host_name);
    info = pyrt_nl_nest(request, IFLA_LINKINFO);
    pyrt_nl_put(request, IFLA_INFO_SLAVE_KIND, "bridge", 6);
    data = pyrt_nl_nest(request, IFLA_INFO_SLAVE_DATA);
    pyrt_nl_put(request, IFLA_BRPORT_MODE, &on, sizeof on);
    pyrt_nl_nest_end(request, data);
    pyrt_nl_nest_end(request, info);
}

/*
 * The host's end is a port and nothing else. An IPv6 address of its own, which the kernel would make as it comes up, would
 * be of no use there, and costs the more to make and to take back the more ports there are: all of them have the same
 * routes. A kernel without IPv6 refuses this.
 */
static void put_no_address(struct pyrt_nl *request, const char *host_name)
{
    uint8_t none = IN6_ADDR_GEN_MODE_NONE;
    size_t families, ipv6;

    pyrt_nl_begin_link(request, RTM_NEWLINK, 0, 0, host_name);
    families = pyrt_nl_nest(request, IFLA_AF_SPEC);
    ipv6 = pyrt_nl_nest(request, AF_INET6);
    pyrt_nl_put(request, IFLA_INET6_ADDR_GEN_MODE, &none, sizeof none);
    pyrt_nl_nest_end(request, ipv6);
    pyrt_nl_nest_end(request, families);
}

int pyrt_veth_create(const char *host_name, int bridge_index, int peer_netns_fd, const char *peer_name, int mtu)
{
    struct pyrt_nl request = { 0 };
    int fd, error;

    put_veth(&request, host_name, peer_netns_fd, peer_name, mtu);
    fd = request.error ? request.error : pyrt_nl_open();
    if (fd < 0)
        return fd;
    error = pyrt_nl_transact(fd, &request);
    if (!error) {
        /* Not in the same datagram: if the name was taken, these would change somebody else's interface. */
        memset(&request, 0, sizeof request);
        put_no_address(&request, host_name);
        pyrt_nl_transact(fd, &request);
        memset(&request, 0, sizeof request);
        pyrt_nl_put_port(&request, host_name, bridge_index);
        put_hairpin(&request, host_name);
        error = pyrt_nl_transact(fd, &request);
        if (error)
            pyrt_link_delete(host_name);
    }
    close(fd);
    return error;
}

int pyrt_link_up_lo(void)
{
    struct ifinfomsg up = { .ifi_index = LO_INDEX, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
    struct pyrt_nl request = { 0 };

    pyrt_nl_begin(&request, RTM_NEWLINK, NLM_F_ACK, &up, sizeof up);
    return pyrt_nl_execute(&request);
}

static void put_interface(struct pyrt_nl *request, int index, uint32_t address_be, int prefix_length,
                          uint32_t gateway_be)
{
    struct ifinfomsg up = { .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
    struct ifaddrmsg address = {
        .ifa_family = AF_INET,
        .ifa_prefixlen = (uint8_t)prefix_length,
        .ifa_index = (uint32_t)index,
    };
    struct rtmsg route = {
        .rtm_family = AF_INET,
        .rtm_table = RT_TABLE_MAIN,
        .rtm_protocol = RTPROT_BOOT,
        .rtm_type = RTN_UNICAST,
    };
    uint32_t mask_be = prefix_length ? __builtin_bswap32(~0u << (32 - prefix_length)) : 0;
    unsigned char hardware[6];

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    mask_be = __builtin_bswap32(mask_be);
#endif
    pyrt_nl_hardware_address(address_be, hardware);
    pyrt_nl_begin(request, RTM_NEWLINK, NLM_F_ACK, &up, sizeof up);
    pyrt_nl_put(request, IFLA_ADDRESS, hardware, sizeof hardware);
    pyrt_nl_begin(request, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &address, sizeof address);
    pyrt_nl_put_u32(request, IFA_LOCAL, address_be);
    pyrt_nl_put_u32(request, IFA_ADDRESS, address_be);
    if (prefix_length < 31)
        pyrt_nl_put_u32(request, IFA_BROADCAST, address_be | ~mask_be);
    if (!gateway_be)
        return;
    pyrt_nl_begin(request, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &route, sizeof route);
    pyrt_nl_put_u32(request, RTA_GATEWAY, gateway_be);
    pyrt_nl_put_u32(request, RTA_OIF, (uint32_t)index);
}

/*
 * Asking for the link state makes the kernel finish a carrier change that is still queued (from Linux 6.9 on; before,
 * the queue has had the time since the pair was made). The answer itself does not matter.
 */
static void settle(int fd, const char *name)
{
    struct ethtool_value link = { .cmd = ETHTOOL_GLINK };
    struct ifreq request = { .ifr_data = (void *)&link };

    memcpy(request.ifr_name, name, strlen(name));
    ioctl(fd, SIOCETHTOOL, &request);
}

int pyrt_configure_interface(const char *name, uint32_t address_be, int prefix_length, uint32_t gateway_be)
{
    struct pyrt_nl request = { 0 };
    int fd, index, error;

    if (prefix_length < 0 || prefix_length > 32)
        return -EINVAL;
    fd = pyrt_nl_open();
    if (fd < 0)
        return fd;
    error = index = pyrt_nl_index(fd, name);
    if (index > 0) {
        put_interface(&request, index, address_be, prefix_length, gateway_be);
        error = pyrt_nl_transact(fd, &request);
        if (!error)
            settle(fd, name);
    }
    close(fd);
    return error;
}

int pyrt_link_settle(const char *name)
{
    int error = pyrt_nl_check_name(name);
    int fd = error ? error : pyrt_nl_open();

    if (fd < 0)
        return fd;
    error = pyrt_nl_index(fd, name);
    if (error > 0)
        settle(fd, name);
    close(fd);
    return error < 0 ? error : 0;
}

int pyrt_disable_ipv6(int sysctl_dirfd, const char *name)
{
    static const char before[] = "net/ipv6/conf/", after[] = "/disable_ipv6";
    char path[sizeof before + sizeof after + IFNAMSIZ], value;
    int fd, error = pyrt_nl_check_name(name);

    if (error)
        return error;
    if (strchr(name, '/'))
        return -EINVAL;
    strcpy(path, before);
    strcat(path, name);
    strcat(path, after);
    fd = openat(sysctl_dirfd, path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    /* Writing what it is already takes twenty times as long. At another place than 0 a write would be ignored. */
    if (pread(fd, &value, 1, 0) != 1 || value != '1')
        error = pwrite(fd, "1", 1, 0) == 1 ? 0 : -errno;
    close(fd);
    return error;
}

int pyrt_link_delete(const char *name)
{
    struct pyrt_nl request = { 0 };

    pyrt_nl_begin_link(&request, RTM_DELLINK, 0, 0, name);
    return pyrt_nl_execute(&request);
}

int pyrt_link_index(const char *name)
{
    int fd = pyrt_nl_open(), index;

    if (fd < 0)
        return fd;
    index = pyrt_nl_index(fd, name);
    close(fd);
    return index;
}
