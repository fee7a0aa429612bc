// Headers as they lie in a packet and the keys and values of the maps. No structure has padding:
// the verifier refuses a key with bytes that were never written, and Rust (layout.rs) asserts the
// same sizes and offsets.

#pragma once

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
_Static_assert(sizeof(__u16) == 2 && sizeof(__u32) == 4 && sizeof(__u64) == 8, "integer sizes");

#define OFFSET(type, member) __builtin_offsetof(type, member)

// What the kernel gives to the program (uapi/linux/bpf.h).
struct xdp_md {
    __u32 data;
    __u32 data_end;
    __u32 data_meta;
    __u32 ingress_ifindex;
    __u32 rx_queue_index;
    __u32 egress_ifindex;
};

struct ethernet {
    __u8 destination[6];
    __u8 source[6];
    __u16 type;
};
_Static_assert(sizeof(struct ethernet) == 14, "Ethernet header");

// A VLAN tag behind the type that announces it (IEEE 802.1Q): priority and VLAN ID, then the type of
// what follows.
struct vlan {
    __u16 control;
    __u16 type;
};
_Static_assert(sizeof(struct vlan) == 4, "VLAN tag");

// IPv4 header without options (RFC 791 §3.1).
struct ipv4 {
    __u8 version_and_length;
    __u8 type_of_service;
    __u16 total_length;
    __u16 identification;
    __u16 fragment;
    __u8 time_to_live;
    __u8 protocol;
    __u16 checksum;
    __u32 source;
    __u32 destination;
};
_Static_assert(sizeof(struct ipv4) == 20, "IPv4 header");
_Static_assert(OFFSET(struct ipv4, destination) == 16, "IPv4 destination");

// IPv6 header (RFC 8200 §3).
struct ipv6 {
    __u8 version_and_class;
    __u8 class_and_flow[3];
    __u16 payload_length;
    __u8 next_header;
    __u8 hop_limit;
    __u32 source[4];
    __u32 destination[4];
};
_Static_assert(sizeof(struct ipv6) == 40, "IPv6 header");
_Static_assert(OFFSET(struct ipv6, destination) == 24, "IPv6 destination");

// First part of a TCP header (RFC 9293 §3.1).
struct tcp {
    __u16 source_port;
    __u16 destination_port;
    __u32 sequence;
    __u32 acknowledgment;
    __u8 data_offset;
    __u8 flags;
};
_Static_assert(OFFSET(struct tcp, flags) == 13, "TCP flags");

// First part of PPTP's GRE header, always there (RFC 2637 §4.1).
struct gre {
    __u8 flags;
    __u8 flags_and_version;
    __u16 protocol;
    __u16 payload_length;
    __u16 call_id;
};
_Static_assert(sizeof(struct gre) == 8, "GRE header");

// A tunnel as its packets name it: who sends, and the Call ID that we gave out. Network order.
struct tunnel_key {
    __u32 peer;
    __u16 own_call_id;
    __u16 zero;
};
_Static_assert(sizeof(struct tunnel_key) == 8, "tunnel key");
_Static_assert(OFFSET(struct tunnel_key, own_call_id) == 4, "tunnel key: Call ID");

// An IPv4 prefix as the trie of prefixes wants it: bits that count, then the address in network
// order.
struct prefix_key {
    __u32 length;
    __u32 address;
};
_Static_assert(sizeof(struct prefix_key) == 8, "prefix key");

// The same of IPv6.
struct prefix_ipv6_key {
    __u32 length;
    __u32 address[4];
};
_Static_assert(sizeof(struct prefix_ipv6_key) == 20, "prefix key of IPv6");

// A port as its frames name it: the interface that they came by and their tags (TAG_*), outermost
// first. An interface has one for each VLAN that has a role, and they share its sockets.
struct port_key {
    __u32 interface;
    __u16 outer;
    __u16 inner;
};
_Static_assert(sizeof(struct port_key) == 8, "port key");
_Static_assert(OFFSET(struct port_key, inner) == 6, "port key: inner tag");

// A port: what it is for (ROLE_*), and which part of the socket map belongs to its queues.
struct port {
    __u32 roles;
    __u32 first_socket;
    __u32 queues;
};
_Static_assert(sizeof(struct port) == 12, "port");
_Static_assert(OFFSET(struct port, queues) == 8, "port: queues");

// A packet that a bench prepared.
struct generated {
    __u8 octets[GENERATED_LENGTH];
};

// What happens to prepared packets: `next` and those after it up to `count`, then from the first on, all
// of `length` octets, leave by the interface `ifindex`, or get `verdict` where that is 0.
struct generation {
    __u32 next;
    __u32 count;
    __u32 length;
    __u32 verdict;
    __u32 ifindex;
};
_Static_assert(sizeof(struct generation) == 20, "generation");
_Static_assert(OFFSET(struct generation, ifindex) == 16, "generation: interface");
