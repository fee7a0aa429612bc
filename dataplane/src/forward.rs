//! Where an inner packet goes: to another subscriber, out by a core port, or to the kernel.
//!
//! Implements RFC 1812 §5.2.1 and §5.3.1 (Time To Live), and RFC 8200 §3 (hop limit). What the fast path cannot do (local
//! delivery, unresolved neighbours, ICMP errors to subscribers) is the kernel's, through the TUN.

use std::net::Ipv4Addr;

use crate::api::DropReason;
use crate::frame::Frame;
use crate::ipv4::{self, View};
use crate::ipv6;
use crate::link::Ethertype;
use crate::mailbox::Handed;
use crate::table::{Place, Way};
use crate::uplink;
use crate::worker::{Core, Exit, From};

/// Forwards an accepted packet that came by the tunnel of this worker in the slot `from`. What
/// [`Table::expect_destination`](crate::table::Table::expect_destination) said of its destination is
/// `to`.
pub(crate) fn from_subscriber(
    core: &mut Core,
    mut frame: Frame,
    inner: View,
    from: u32,
    way: Way,
    to: u32,
) {
    if way != Way::Fast || !ipv4::is_host(inner.destination) {
        return otherwise(core, frame, inner, from, way);
    }
    // The kernel answers with Time Exceeded (RFC 792), and knows which options are obeyed.
    if inner.ttl <= 1 || inner.has_options() {
        return by_slow_path(core, frame, from);
    }
    if core.exits.is_ruled(inner.source, inner.destination) {
        return core.exits.kernel(&mut core.sink, frame);
    }
    let tunnel = core.table.destination_in(to);
    let to = match tunnel.filter(|_| !is_elsewhere(core, inner.destination)) {
        Some(to) if to.through_kernel => return core.exits.kernel(&mut core.sink, frame),
        // Nothing goes back by the tunnel that it came from: where everything lies behind a
        // tunnel, so do our own addresses, and they are the kernel's.
        Some(to) if to.place == Place::Here(from) => return by_slow_path(core, frame, from),
        Some(to) => To::Tunnel(to.place),
        None => match core.exits.core(inner.destination, inner.total_len) {
            Some(exit) => To::Core(exit),
            // Ours to deliver, or to answer.
            None if core.exits.is_kernels(inner.destination.into()) => {
                return by_slow_path(core, frame, from);
            }
            // Not ours to route.
            None => return core.exits.kernel(&mut core.sink, frame),
        },
    };
    ipv4::decrement_ttl(frame.data_mut());
    match to {
        To::Tunnel(Place::Here(slot)) => core.downlink.push(frame, slot),
        To::Tunnel(Place::Worker(owner)) => {
            core.hand_over(owner, Handed::Downlink(frame), From::Port);
        }
        To::Core(exit) => core.exits.by(&mut core.sink, frame, &exit, Ethertype::IPV4),
    }
}

/// Whether the kernel has a longer route to an address than a tunnel has that leads to a network
/// around it (RFC 1812 §5.2.4.3). A single address is the longest there is.
#[inline]
pub(crate) fn is_elsewhere(core: &Core, destination: Ipv4Addr) -> bool {
    let network = core.table.network(destination);
    network.is_some_and(|length| core.exits.has_longer(destination, length))
}

/// Gives a packet to the kernel that a subscriber can make at will, as fast as it may: it costs a
/// system call, which is many times what others cost, and the worker is shared.
#[inline(never)]
fn by_slow_path(core: &mut Core, frame: Frame, from: u32) {
    let Core { table, sink, exits, now, .. } = core;
    let Some(tunnel) = table.tunnel(from) else {
        return sink.drop(frame, DropReason::TunnelUnknown);
    };
    if tunnel.slow_path.allows(*now) {
        exits.kernel(sink, frame);
    } else {
        sink.drop_of(frame, DropReason::SlowPathLimited, &tunnel.shared);
    }
}

/// Forwards a packet that is not for a host, or that others forward.
#[inline(never)]
fn otherwise(core: &mut Core, frame: Frame, inner: View, from: u32, way: Way) {
    if inner.destination.is_broadcast() && is_dhcp(frame.data(), inner) {
        return uplink::to_router(core, frame, from);
    }
    match way {
        Way::Fast => core.sink.drop(frame, DropReason::DestinationForbidden),
        // All that follows is the kernel's business, multicast of routing protocols too.
        Way::Kernel => core.exits.kernel(&mut core.sink, frame),
        Way::Device(device) => core.devices.put(&mut core.sink, frame, device),
        Way::Nowhere => core.sink.drop(frame, DropReason::NoPort),
    }
}

/// Whether a packet is for a DHCP server (RFC 2131 §4.1): a host asks its router what IPCP could not
/// say.
fn is_dhcp(packet: &[u8], inner: View) -> bool {
    const UDP: u8 = 17;
    const PORT: [u8; 2] = 67_u16.to_be_bytes();
    inner.protocol == UDP
        && !inner.is_fragment()
        && packet.get(inner.header_len + 2..).and_then(<[u8]>::first_chunk) == Some(&PORT)
}

/// Forwards a packet of IPv6 that goes beyond its link.
pub(crate) fn from_subscriber_ipv6(
    core: &mut Core,
    mut frame: Frame,
    inner: ipv6::View,
    from: u32,
    way: Way,
) {
    if !ipv6::is_forwarded(inner.destination) {
        return core.sink.drop(frame, DropReason::DestinationForbidden);
    }
    match way {
        Way::Fast => {}
        Way::Kernel => return core.exits.kernel(&mut core.sink, frame),
        Way::Device(device) => return core.devices.put(&mut core.sink, frame, device),
        Way::Nowhere => return core.sink.drop(frame, DropReason::NoPort),
    }
    // The kernel answers with Time Exceeded (RFC 4443 §3.3).
    if inner.hop_limit <= 1 {
        return by_slow_path(core, frame, from);
    }
    let Core { table, exits, .. } = core;
    if exits.is_ruled(inner.source, inner.destination) {
        return exits.kernel(&mut core.sink, frame);
    }
    let tunnel = table.destination_ipv6(inner.destination);
    let tunnel = tunnel.filter(|&(_, length)| !exits.has_longer(inner.destination, length));
    let to = match tunnel.map(|(to, _)| to) {
        Some(to) if to.through_kernel => return core.exits.kernel(&mut core.sink, frame),
        // Nothing goes back by the tunnel that it came from (RFC 4443 §3.1): an address of a
        // delegated prefix that nobody has would go to and fro until its hop limit ends.
        Some(to) if to.place == Place::Here(from) => {
            return core.sink.drop(frame, DropReason::DestinationForbidden);
        }
        Some(to) => To::Tunnel(to.place),
        None => match core.exits.core_ipv6(inner.destination, inner.total_len) {
            Some(exit) => To::Core(exit),
            // Ours to deliver, or to answer.
            None if core.exits.is_kernels(inner.destination.into()) => {
                return by_slow_path(core, frame, from);
            }
            // Too big (RFC 4443 §3.2), or not ours to route.
            None => return core.exits.kernel(&mut core.sink, frame),
        },
    };
    ipv6::decrement_hop_limit(frame.data_mut());
    match to {
        To::Tunnel(Place::Here(slot)) => core.downlink.push(frame, slot),
        To::Tunnel(Place::Worker(owner)) => {
            core.hand_over(owner, Handed::Downlink(frame), From::Port);
        }
        To::Core(exit) => core.exits.by(&mut core.sink, frame, &exit, Ethertype::IPV6),
    }
}

/// Where the fast path can bring a packet.
enum To {
    Tunnel(Place),
    Core(Exit),
}
