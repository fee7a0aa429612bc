// Steers packets of PPTP to the AF_XDP socket of the queue that they came in by: GRE of known
// tunnels (RFC 2637 §4.1) on access ports, packets to subscribers on core ports. Never changes a
// packet, and never keeps from the kernel what is not surely ours. Dropped is PPTP's GRE to an
// address that we serve, with a Call ID that the sender does not have, and what comes by an access
// port for a subscriber: the kernel would forward it, and a stranger's packet would be in a tunnel.
//
// All reads are at constant offsets, so that the verifier accepts the program of a daemon that has
// CAP_BPF without CAP_PERFMON: the program judges an IP packet behind no tag, one and two, each at
// a place of its own. A packet whose headers are elsewhere (more tags, IP options) goes to the
// kernel, and so do fragments, which the kernel reassembles.

#include "maps.h"

#define INLINE static inline __attribute__((always_inline))
#define NETWORK_16(value) __builtin_bswap16(value)
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the object is built for little-endian machines (-target bpfel)"
#endif

static void *(*const map_lookup)(void *map, const void *key) = (void *)HELPER_MAP_LOOKUP_ELEM;
static long (*const redirect_map)(void *map, __u64 key, __u64 otherwise) =
    (void *)HELPER_REDIRECT_MAP;

INLINE int counted(int verdict, __u32 reason)
{
    __u64 *counter = map_lookup(&counters, &reason);
    if (counter)
        *counter += 1;
    return verdict;
}

// To the socket of the queue that the packet came in by; to the kernel if there is none, where the
// raw socket or the TUN brings it to a worker by the slow way.
INLINE int steer(const struct xdp_md *context, const struct port *port, __u32 redirected,
                 __u32 without_socket)
{
    __u32 queue = context->rx_queue_index;
    if (queue >= port->queues)
        return counted(XDP_PASS, without_socket);

    int verdict = redirect_map(&sockets, port->first_socket + queue, XDP_PASS);
    return counted(verdict, verdict == XDP_REDIRECT ? redirected : without_socket);
}

INLINE int unknown_tunnel(__u16 own_call_id)
{
    __u32 call_id = NETWORK_16(own_call_id);
    __u32 word = call_id / 64;
    __u64 *bits = map_lookup(&call_ids, &word);
    if (bits && (*bits >> (call_id % 64) & 1))
        return counted(XDP_DROP, REASON_DROP_OTHER_PEER);
    return counted(XDP_DROP, REASON_DROP_UNKNOWN_TUNNEL);
}

// A GRE packet to an address that we serve.
INLINE int steer_gre(const struct xdp_md *context, const struct port *port, const struct ipv4 *ip)
{
    const void *end = (const void *)(long)context->data_end;
    const struct gre *gre = (const void *)(ip + 1);

    // What the frame does not hold or the IP header does not claim (Ethernet pads short packets)
    // names no tunnel. The kernel discards it and counts it as malformed.
    if ((const void *)(gre + 1) > end ||
        NETWORK_16(ip->total_length) < sizeof(struct ipv4) + sizeof(struct gre))
        return counted(XDP_PASS, REASON_PASS_GRE_SHORT);

    // Plain GRE tunnels of the kernel may end at the same address.
    if ((gre->flags_and_version & GRE_VERSION_MASK) != GRE_VERSION_PPTP ||
        !(gre->flags & GRE_KEY_PRESENT) || gre->protocol != NETWORK_16(GRE_PPP))
        return counted(XDP_PASS, REASON_PASS_GRE_NOT_PPTP);

    struct tunnel_key key = {.peer = ip->source, .own_call_id = gre->call_id, .zero = 0};
    if (!map_lookup(&tunnels, &key))
        return unknown_tunnel(gre->call_id);

    return steer(context, port, REASON_REDIRECT_TUNNEL, REASON_PASS_GRE_NO_SOCKET);
}

// What is done with packets to an address (PREFIX_*); 0 if it is nobody's.
INLINE __u32 action(__u32 address)
{
    struct prefix_key key = {.length = 32, .address = address};
    const __u32 *found = map_lookup(&prefixes, &key);
    return found ? *found : 0;
}

INLINE __u32 action_ipv6(const __u32 address[4])
{
    struct prefix_ipv6_key key = {
        .length = 128,
        .address = {address[0], address[1], address[2], address[3]},
    };
    const __u32 *found = map_lookup(&prefixes_ipv6, &key);
    return found ? *found : 0;
}

INLINE int steer_to_subscriber(const struct xdp_md *context, const struct port *port, __u32 what,
                               __u32 redirected)
{
    if (!what)
        return counted(XDP_PASS, REASON_PASS_NO_PREFIX);
    if (what != PREFIX_STEER)
        return counted(XDP_PASS, REASON_PASS_EXEMPT_PREFIX);

    return steer(context, port, redirected, REASON_PASS_SUBSCRIBER_NO_SOCKET);
}

// IPv6 is judged by its destination alone: a router looks at nothing behind the header, and puts no
// fragments together (RFC 8200 §4, §4.5).
INLINE int judge_ipv6(const struct xdp_md *context, const struct port *port, const void *behind)
{
    const void *end = (const void *)(long)context->data_end;
    const struct ethernet *ethernet = (const void *)(long)context->data;
    const struct ipv6 *ip = behind;

    if ((const void *)(ethernet + 1) > end || (const void *)(ip + 1) > end)
        return counted(XDP_PASS, REASON_PASS_SHORT);
    if (ethernet->destination[0] & ETHERNET_GROUP)
        return counted(XDP_PASS, REASON_PASS_GROUP_ADDRESS);
    if ((ip->version_and_class & IPV6_VERSION_MASK) != IPV6_VERSION)
        return counted(XDP_PASS, REASON_PASS_NOT_IP);

    __u32 what = action_ipv6(ip->destination);
    if (port->roles & ROLE_CORE)
        return steer_to_subscriber(context, port, what, REASON_REDIRECT_SUBSCRIBER_IPV6);
    if (what == PREFIX_STEER || what == PREFIX_KERNEL)
        return counted(XDP_DROP, REASON_DROP_ACCESS_TO_SUBSCRIBER);
    return counted(XDP_PASS, REASON_PASS_NO_CORE_ROLE);
}

// What is behind all tags: `type` says what, `without_port` why it passes where the port has no
// role for frames with these tags.
INLINE int judge(const struct xdp_md *context, const struct port_key *key, const void *behind,
                 __u16 type, __u32 without_port)
{
    const void *end = (const void *)(long)context->data_end;
    const struct ethernet *ethernet = (const void *)(long)context->data;
    const struct ipv4 *ip = behind;

    const struct port *port = map_lookup(&ports, key);
    if (!port)
        return counted(XDP_PASS, without_port);
    if (type == NETWORK_16(ETHERNET_IPV6))
        return judge_ipv6(context, port, behind);
    if (type != NETWORK_16(ETHERNET_IPV4))
        return counted(XDP_PASS, REASON_PASS_NOT_IP);
    // The verifier wants to see it again in each function that reads.
    if ((const void *)(ethernet + 1) > end || (const void *)(ip + 1) > end)
        return counted(XDP_PASS, REASON_PASS_SHORT);
    // A packet that was broadcast on the link is never forwarded (RFC 1812 §5.3.4).
    if (ethernet->destination[0] & ETHERNET_GROUP)
        return counted(XDP_PASS, REASON_PASS_GROUP_ADDRESS);

    // Packets of the core may come by a port with both roles, most of them no GRE.
    int from_core = port->roles & ROLE_CORE;
    int is_served = 0;
    if (!from_core || (ip->protocol == IPV4_GRE && (port->roles & ROLE_ACCESS))) {
        __u32 destination = ip->destination;
        is_served = !!map_lookup(&listeners, &destination);
    }
    // Fragments and packets with options too: the kernel would forward them.
    if (!from_core && !is_served) {
        __u32 what = action(ip->destination);
        if (what == PREFIX_STEER || what == PREFIX_KERNEL)
            return counted(XDP_DROP, REASON_DROP_ACCESS_TO_SUBSCRIBER);
    }

    if (ip->version_and_length != IPV4_WITHOUT_OPTIONS)
        return counted(XDP_PASS, REASON_PASS_IP_OPTIONS);
    if (ip->fragment & NETWORK_16(IPV4_MORE_FRAGMENTS_OR_OFFSET))
        return counted(XDP_PASS, REASON_PASS_FRAGMENT);

    // GRE to somebody else may be a subscriber's own: it is judged like any packet.
    if (is_served && ip->protocol == IPV4_GRE)
        return steer_gre(context, port, ip);
    if (!from_core)
        return counted(XDP_PASS, REASON_PASS_NO_CORE_ROLE);
    return steer_to_subscriber(context, port, action(ip->destination), REASON_REDIRECT_SUBSCRIBER);
}

// The tag that a type announces, as keys of ports have it; 0 if it announces none.
INLINE __u16 tag(__u16 type, __u16 control)
{
    __u16 id = NETWORK_16(control) & VLAN_ID;
    if (type == NETWORK_16(ETHERNET_VLAN))
        return TAG_CUSTOMER | id;
    if (type == NETWORK_16(ETHERNET_SERVICE_VLAN))
        return TAG_SERVICE | id;
    return 0;
}

SECTION("xdp")
int steering(struct xdp_md *context)
{
    const void *end = (const void *)(long)context->data_end;
    const struct ethernet *ethernet = (const void *)(long)context->data;
    const struct vlan *outer = (const void *)(ethernet + 1);
    const struct vlan *inner = outer + 1;
    struct port_key key = {.interface = context->ingress_ifindex, .outer = 0, .inner = 0};

    if ((const void *)(ethernet + 1) > end)
        return counted(XDP_PASS, REASON_PASS_SHORT);
    __u16 type = ethernet->type;
    if (!tag(type, 0))
        return judge(context, &key, outer, type, REASON_PASS_UNKNOWN_PORT);

    if ((const void *)(outer + 1) > end)
        return counted(XDP_PASS, REASON_PASS_SHORT);
    key.outer = tag(type, outer->control);
    type = outer->type;
    if (!tag(type, 0))
        return judge(context, &key, inner, type, REASON_PASS_VLAN);

    if ((const void *)(inner + 1) > end)
        return counted(XDP_PASS, REASON_PASS_SHORT);
    key.inner = tag(type, inner->control);
    return judge(context, &key, inner + 1, inner->type, REASON_PASS_VLAN);
}

// No helper that the program calls asks for the GPL.
const char steering_license[] SECTION("license") = "MIT";
