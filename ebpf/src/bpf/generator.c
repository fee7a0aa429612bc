// Makes packets inside the kernel, for benches: the kernel's test run gives it empty frames, it copies
// prepared ones into them, in turn, and says where they go. It is attached to nothing.

#include "constants.h"
#include "structs.h"

#define SECTION(name) __attribute__((section(name), used))
#define UINT(name, value) int(*name)[value]
#define TYPE(name, type) type *name

static void *(*const map_lookup)(void *map, const void *key) = (void *)HELPER_MAP_LOOKUP_ELEM;
static long (*const redirect)(__u32 ifindex, __u64 flags) = (void *)HELPER_REDIRECT;
static long (*const store_bytes)(struct xdp_md *context, __u32 offset, void *from, __u32 length) =
    (void *)HELPER_XDP_STORE_BYTES;

// The packets.
struct {
    UINT(type, MAP_ARRAY);
    UINT(max_entries, GENERATED);
    TYPE(key, __u32);
    TYPE(value, struct generated);
} generated SECTION(".maps");

// What is done with them. One thread runs the program.
struct {
    UINT(type, MAP_ARRAY);
    UINT(max_entries, 1);
    TYPE(key, __u32);
    TYPE(value, struct generation);
} generation SECTION(".maps");

SECTION("xdp")
int generator(struct xdp_md *context)
{
    __u32 only = 0;
    struct generation *plan = map_lookup(&generation, &only);
    if (!plan)
        return XDP_ABORTED;

    __u32 number = plan->next;
    plan->next = number + 1 < plan->count ? number + 1 : 0;
    struct generated *packet = map_lookup(&generated, &number);
    __u32 length = plan->length;
    if (!packet || length < SHORTEST)
        return XDP_ABORTED;
    // Older verifiers do not follow both bounds through one comparison, which clang would make of them.
    asm volatile("" : "+r"(length));
    if (length > sizeof(*packet))
        return XDP_ABORTED;
    if (store_bytes(context, 0, packet, length))
        return XDP_ABORTED;

    if (plan->ifindex)
        return redirect(plan->ifindex, 0);
    return plan->verdict;
}

const char generator_license[] SECTION("license") = "MIT";
