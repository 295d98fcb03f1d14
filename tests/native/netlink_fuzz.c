/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Feeds the netlink parsers answers that were damaged: every truncation of a good one, then bytes flipped at random with a
 * fixed seed. Each runs on an allocation of exactly its length, so that the address sanitizer sees every step beyond it.
 */
#include "bridge.h"
#include "rtnl.h"

#include <assert.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ROUNDS 20000

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void parse_all(const unsigned char *data, size_t length)
{
    unsigned char *exact = malloc(length ? length : 1);
    struct pyrt_dump addresses = { .kind = RTM_NEWADDR, .index = 3 };
    struct pyrt_dump routes = { .kind = RTM_NEWROUTE, .address_be = 0x0000a8c0, .prefix_length = 16 };
    int error = 0, result;

    assert(exact);
    memcpy(exact, data, length);
    result = pyrt_nl_parse_acks(exact, length, &error);
    assert(result >= -EBADMSG && error <= 0 && error >= -4095);
    result = pyrt_parse_is_bridge(exact, length);
    assert(result <= 1 && result >= -4095);
    result = pyrt_parse_dump(exact, length, &addresses);
    assert(result == 0 || result == -EBADMSG);
    result = pyrt_parse_dump(exact, length, &routes);
    assert(result == 0 || result == -EBADMSG);
    free(exact);
}

static void damage(const struct pyrt_nl *good)
{
    unsigned char copy[PYRT_NL_BYTES];
    uint32_t state = 1;

    for (size_t length = 0; length <= good->length; length++)
        parse_all(good->data, length);
    for (int round = 0; round < ROUNDS; round++) {
        memcpy(copy, good->data, good->length);
        for (uint32_t flips = 1 + next_random(&state) % 8; flips; flips--)
            copy[next_random(&state) % good->length] = (unsigned char)next_random(&state);
        parse_all(copy, good->length);
    }
}

/* The kernel's messages have the form of our own requests, so these are built with the same functions. */
static struct pyrt_nl link_answer(const char *kind)
{
    struct ifinfomsg header = { .ifi_index = 3 };
    struct pyrt_nl answer = { 0 };
    size_t info;

    pyrt_nl_begin(&answer, RTM_NEWLINK, 0, &header, sizeof header);
    pyrt_nl_put_name(&answer, IFLA_IFNAME, "pyrt0");
    info = pyrt_nl_nest(&answer, IFLA_LINKINFO);
    pyrt_nl_put_name(&answer, IFLA_INFO_KIND, kind);
    pyrt_nl_nest_end(&answer, info);
    return answer;
}

static struct pyrt_nl dump_answer(void)
{
    struct ifaddrmsg address = { .ifa_family = AF_INET, .ifa_prefixlen = 22, .ifa_index = 3 };
    struct rtmsg route = { .rtm_family = AF_INET, .rtm_dst_len = 24 };
    struct pyrt_nl answer = { 0 };
    int32_t code = 0;

    pyrt_nl_begin(&answer, RTM_NEWADDR, 0, &address, sizeof address);
    pyrt_nl_put_u32(&answer, IFA_LOCAL, 0x01001eac);
    pyrt_nl_begin(&answer, RTM_NEWROUTE, 0, &route, sizeof route);
    pyrt_nl_put_u32(&answer, RTA_DST, 0x0001a8c0);
    pyrt_nl_begin(&answer, NLMSG_DONE, 0, &code, sizeof code);
    return answer;
}

static struct pyrt_nl error_answer(int32_t code)
{
    struct pyrt_nl answer = { 0 };

    pyrt_nl_begin(&answer, NLMSG_ERROR, 0, &code, sizeof code);
    return answer;
}

static void check_good_ones(void)
{
    struct pyrt_nl bridge = link_answer("bridge"), veth = link_answer("veth"), dump = dump_answer();
    struct pyrt_nl refused = error_answer(-EPERM), fine = error_answer(0);
    struct pyrt_dump found = { .kind = RTM_NEWADDR, .index = 3 };
    struct pyrt_dump overlap = { .kind = RTM_NEWROUTE, .address_be = 0x0000a8c0, .prefix_length = 16 };
    struct pyrt_dump apart = { .kind = RTM_NEWROUTE, .address_be = 0x0000a8c0, .prefix_length = 24 };
    int error = 0;

    assert(pyrt_parse_is_bridge(bridge.data, bridge.length) == 1);
    assert(pyrt_parse_is_bridge(veth.data, veth.length) == 0);
    assert(pyrt_parse_is_bridge(refused.data, refused.length) == -EPERM);
    assert(pyrt_nl_parse_acks(fine.data, fine.length, &error) == 1 && error == 0);
    assert(pyrt_nl_parse_acks(refused.data, refused.length, &error) == 1 && error == -EPERM);
    assert(pyrt_nl_parse_acks(fine.data, fine.length, &error) == 1 && error == -EPERM);
    assert(pyrt_parse_dump(dump.data, dump.length, &found) == 0);
    assert(found.done && found.found && found.prefix_length == 22 && found.address_be == 0x01001eac);
    assert(pyrt_parse_dump(dump.data, dump.length, &overlap) == 0 && overlap.found);
    assert(pyrt_parse_dump(dump.data, dump.length, &apart) == 0 && !apart.found && apart.done);
}

/* A request that does not fit is refused whole, and nothing is written beyond the buffer. */
static void check_overflow(void)
{
    struct pyrt_nl request = { 0 };
    struct ifinfomsg header = { 0 };
    size_t nest;

    pyrt_nl_begin(&request, RTM_NEWLINK, 0, &header, sizeof header);
    for (int i = 0; i < PYRT_NL_BYTES; i++) {
        nest = pyrt_nl_nest(&request, IFLA_LINKINFO);
        pyrt_nl_put_u32(&request, IFLA_MTU, 1500);
        pyrt_nl_nest_end(&request, nest);
    }
    assert(request.length <= sizeof request.data);
    assert(pyrt_nl_transact(-1, &request) == -EMSGSIZE);
}

/* So is one about an interface that cannot be, with the first thing that was wrong; no socket is opened for it. */
static void check_names(void)
{
    static const char *const names[] = { NULL, "", "sixteen-letters!" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct pyrt_nl request = { 0 };

        pyrt_nl_put_port(&request, names[i], 3);
        pyrt_nl_put_link_name(&request, "");
        assert(pyrt_nl_execute(&request) == (i == 2 ? -ENAMETOOLONG : -EINVAL));
    }
}

int main(void)
{
    struct pyrt_nl answers[] = { link_answer("bridge"), dump_answer(), error_answer(-EPERM) };

    check_good_ones();
    check_overflow();
    check_names();
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        damage(&answers[i]);
    puts("ok");
    return 0;
}
