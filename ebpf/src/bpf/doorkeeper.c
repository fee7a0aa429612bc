// Refuses TCP connections of locked addresses before they exist: the filter of a listening socket.
// The kernel runs it for each segment that reaches the listener, so a SYN that it drops gets no
// SYN-ACK and takes no memory. Sockets of accepted connections inherit the filter, and therefore
// all but a connection's first SYN passes: a lock ends nothing that is there.
//
// A segment's data begins with the TCP header here, and the IP header lies before it: both are read
// by the helper that copies, which checks the bounds, at constant offsets.

#include "constants.h"
#include "structs.h"

#define SECTION(name) __attribute__((section(name), used))
#define UINT(name, value) int(*name)[value]
#define TYPE(name, type) type *name

static void *(*const map_lookup)(void *map, const void *key) = (void *)HELPER_MAP_LOOKUP_ELEM;
static long (*const load_bytes)(const void *segment, __u32 offset, void *to, __u32 length) =
    (void *)HELPER_SKB_LOAD_BYTES;
static long (*const load_bytes_relative)(const void *segment, __u32 offset, void *to, __u32 length,
                                         __u32 start) = (void *)HELPER_SKB_LOAD_BYTES_RELATIVE;

// Locked peer addresses, network order. Who fills it decides who makes room when it is full. The
// value says nothing.
struct {
    UINT(type, MAP_HASH);
    UINT(max_entries, LOCKED);
    UINT(map_flags, MAP_NO_PREALLOC);
    TYPE(key, __u32);
    TYPE(value, __u32);
} locked SECTION(".maps");

// SYNs that were dropped.
struct {
    UINT(type, MAP_PERCPU_ARRAY);
    UINT(max_entries, 1);
    TYPE(key, __u32);
    TYPE(value, __u64);
} dropped SECTION(".maps");

SECTION("socket")
int doorkeeper(const void *segment)
{
    __u8 flags;
    if (load_bytes(segment, OFFSET(struct tcp, flags), &flags, sizeof(flags)))
        return SEGMENT_PASS;
    if ((flags & (TCP_SYN | TCP_ACK)) != TCP_SYN)
        return SEGMENT_PASS;

    __u32 source;
    if (load_bytes_relative(segment, OFFSET(struct ipv4, source), &source, sizeof(source),
                            FROM_NETWORK_HEADER))
        return SEGMENT_PASS;
    if (!map_lookup(&locked, &source))
        return SEGMENT_PASS;

    __u32 index = 0;
    __u64 *count = map_lookup(&dropped, &index);
    if (count)
        *count += 1;
    return SEGMENT_DROP;
}

// No helper that the program calls asks for the GPL.
const char doorkeeper_license[] SECTION("license") = "MIT";
