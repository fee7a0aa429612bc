// Maps, in the form from which a loader reads type, sizes and flags out of the type information.
//
// The program is loaded once and attached to every port, so all maps are shared by nature, with no
// pinning. Sockets are therefore in one map too: each port owns a run of entries, one per RX queue
// (struct port). A map of maps would cost one more lookup for each packet and make a size for
// all inner maps necessary; a program per port would need the maps pinned in a file system. The
// kernel refuses to deliver to a socket of another port or queue, so that a wrong entry cannot
// leak packets between ports.

#pragma once

#include "constants.h"
#include "structs.h"

#define SECTION(name) __attribute__((section(name), used))
#define UINT(name, value) int(*name)[value]
#define TYPE(name, type) type *name

// Ports by interface index and VLAN tags.
struct {
    UINT(type, MAP_HASH);
    UINT(max_entries, PORTS);
    TYPE(key, struct port_key);
    TYPE(value, struct port);
} ports SECTION(".maps");

// AF_XDP sockets, a run of entries per port, one entry per RX queue.
struct {
    UINT(type, MAP_XSKMAP);
    UINT(max_entries, SOCKETS);
    TYPE(key, __u32);
    TYPE(value, __u32);
} sockets SECTION(".maps");

// Local addresses where PPTP is served. The value says nothing.
struct {
    UINT(type, MAP_HASH);
    UINT(max_entries, LISTENERS);
    TYPE(key, __u32);
    TYPE(value, __u32);
} listeners SECTION(".maps");

// Live tunnels. Not preallocated: a box sized for its busiest day pays for the tunnels it has.
// The value says nothing.
struct {
    UINT(type, MAP_HASH);
    UINT(max_entries, TUNNELS);
    UINT(map_flags, MAP_NO_PREALLOC);
    TYPE(key, struct tunnel_key);
    TYPE(value, __u32);
} tunnels SECTION(".maps");

// One bit per Call ID that any tunnel has, Call ID in host order. It is read for packets that are
// dropped anyway, to tell a stray packet from one that guesses at a live tunnel.
struct {
    UINT(type, MAP_ARRAY);
    UINT(max_entries, CALL_ID_WORDS);
    TYPE(key, __u32);
    TYPE(value, __u64);
} call_ids SECTION(".maps");

// Prefixes of subscribers, and addresses of ours inside them (PREFIX_*).
struct {
    UINT(type, MAP_LPM_TRIE);
    UINT(max_entries, PREFIXES);
    UINT(map_flags, MAP_NO_PREALLOC);
    TYPE(key, struct prefix_key);
    TYPE(value, __u32);
} prefixes SECTION(".maps");

// The same of IPv6.
struct {
    UINT(type, MAP_LPM_TRIE);
    UINT(max_entries, PREFIXES);
    UINT(map_flags, MAP_NO_PREALLOC);
    TYPE(key, struct prefix_ipv6_key);
    TYPE(value, __u32);
} prefixes_ipv6 SECTION(".maps");

// Packets per reason.
struct {
    UINT(type, MAP_PERCPU_ARRAY);
    UINT(max_entries, REASONS);
    TYPE(key, __u32);
    TYPE(value, __u64);
} counters SECTION(".maps");
