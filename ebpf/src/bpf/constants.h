// Numbers of the wire, of the kernel's interface and of our own maps. What Rust knows too stands
// in layout.rs and reason.rs; a test compares the two.

#pragma once

// Ethernet (IEEE 802.3): types in network order as the program reads them.
#define ETHERNET_IPV4 0x0800
#define ETHERNET_IPV6 0x86DD
#define ETHERNET_VLAN 0x8100
#define ETHERNET_SERVICE_VLAN 0x88A8
#define ETHERNET_GROUP 0x01
#define VLAN_ID 0x0FFF

// A tag as keys of ports have it: its kind and its VLAN ID, host order. Zero is no tag.
#define TAG_CUSTOMER 0x1000
#define TAG_SERVICE 0x2000

// IPv4 (RFC 791 §3.1): version 4 with a header of 5 words, so without options.
#define IPV4_WITHOUT_OPTIONS 0x45
#define IPV4_MORE_FRAGMENTS_OR_OFFSET 0x3FFF
#define IPV4_GRE 47

// IPv6 (RFC 8200 §3): the version in the first octet.
#define IPV6_VERSION 0x60
#define IPV6_VERSION_MASK 0xF0

// PPTP's GRE (RFC 2637 §4.1).
#define GRE_KEY_PRESENT 0x20
#define GRE_VERSION_MASK 0x07
#define GRE_VERSION_PPTP 1
#define GRE_PPP 0x880B

// TCP (RFC 9293 §3.1): flags.
#define TCP_SYN 0x02
#define TCP_ACK 0x10

// XDP's verdicts and the helpers that the program calls, by the kernel's numbers (uapi/linux/bpf.h).
#define XDP_ABORTED 0
#define XDP_DROP 1
#define XDP_PASS 2
#define XDP_REDIRECT 4
#define HELPER_MAP_LOOKUP_ELEM 1
#define HELPER_REDIRECT 23
#define HELPER_REDIRECT_MAP 51
#define HELPER_XDP_STORE_BYTES 190

#define HELPER_SKB_LOAD_BYTES 26
#define HELPER_SKB_LOAD_BYTES_RELATIVE 68
#define FROM_NETWORK_HEADER 1

// A socket filter's verdicts: how many octets the socket gets.
#define SEGMENT_DROP 0
#define SEGMENT_PASS 0x7FFFFFFF

#define MAP_HASH 1
#define MAP_ARRAY 2
#define MAP_PERCPU_ARRAY 6
#define MAP_LPM_TRIE 11
#define MAP_XSKMAP 17
#define MAP_NO_PREALLOC 1

// Default sizes; the loader sets others.
#define PORTS 256
#define SOCKETS 4096
#define LISTENERS 1024
#define PREFIXES 65536
#define TUNNELS 65536
#define LOCKED 65536
#define GENERATED 1024

// The shortest and the longest packet that a bench makes: an Ethernet header and something, and a whole
// frame with an MTU of 1500.
#define SHORTEST 15
#define GENERATED_LENGTH 1514

// Call IDs are 16 bits wide; one bit says whether any tunnel has it.
#define CALL_ID_WORDS 1024

// Roles of a port, bits.
#define ROLE_ACCESS 1
#define ROLE_CORE 2

// What is done with packets to a prefix.
#define PREFIX_STEER 1
#define PREFIX_KERNEL 2
#define PREFIX_OWN 3

// Why a packet got its verdict: index of its counter.
enum reason {
    REASON_PASS_UNKNOWN_PORT = 0,
    REASON_PASS_SHORT = 1,
    REASON_PASS_VLAN = 2,
    REASON_PASS_NOT_IP = 3,
    REASON_PASS_GROUP_ADDRESS = 4,
    REASON_PASS_IP_OPTIONS = 5,
    REASON_PASS_FRAGMENT = 6,
    REASON_PASS_GRE_SHORT = 7,
    REASON_PASS_GRE_NOT_PPTP = 8,
    REASON_PASS_GRE_NO_SOCKET = 9,
    REASON_PASS_NO_CORE_ROLE = 10,
    REASON_PASS_NO_PREFIX = 11,
    REASON_PASS_EXEMPT_PREFIX = 12,
    REASON_PASS_SUBSCRIBER_NO_SOCKET = 13,
    REASON_DROP_UNKNOWN_TUNNEL = 14,
    REASON_DROP_OTHER_PEER = 15,
    REASON_DROP_ACCESS_TO_SUBSCRIBER = 16,
    REASON_REDIRECT_TUNNEL = 17,
    REASON_REDIRECT_SUBSCRIBER = 18,
    REASON_REDIRECT_SUBSCRIBER_IPV6 = 19,
    REASONS = 20,
};
