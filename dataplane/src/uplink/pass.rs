//! What an accepted packet meets: the tunnel's books, rules and rate, and then the way on.
//!
//! Implements RFC 1661 §2 (padding ends here) and RFC 6040 §4.2 by `inner::ecn`. Never sees a packet
//! that was not inspected.

use std::sync::Arc;

use super::{Data, ipv6};
use crate::api::{DropReason, Event};
use crate::bridge;
use crate::forward;
use crate::frame::Frame;
use crate::inner::{ecn, mss};
use crate::ipv4::{self, View};
use crate::link::Ethertype;
use crate::table::{Table, Way};
use crate::worker::Core;

/// Finds the tunnel that an inspected packet's destination lies behind, if any, and has the processor
/// fetch what is known of the way.
#[inline]
pub(super) fn look_ahead(core: &mut Core, data: &mut Data) {
    if let Some(destination) = ipv4::destination(data.frame.data()) {
        data.to = core.table.expect_destination(destination);
        if data.to == Table::NOWHERE {
            core.exits.expect_remembered(destination);
        }
    }
}

/// A packet that was inspected is accepted, counted and goes on its way, unless the tunnel's rules or
/// rate end it.
#[inline]
pub(super) fn pass(core: &mut Core, data: Data) {
    let Core { table, sink, acks, exits, now, .. } = core;
    let Data { mut frame, slot, sequence, tos, to } = data;
    let Some(tunnel) = table.tunnel(slot) else {
        return sink.drop(frame, DropReason::TunnelUnknown);
    };
    tunnel.accepted(sequence, *now);
    acks.note(tunnel, *now);
    let Some(total_len) = ipv4::total_len(frame.data()) else {
        return pass_other(core, Data { frame, slot, sequence, tos, to });
    };
    // What follows is padding of PPP (RFC 1661 §2).
    frame.truncate(total_len);
    if !ecn::is_unmarked(tos) && ecn::decapsulate(frame.data_mut(), tos).is_err() {
        return sink.drop_of(frame, DropReason::Congestion, &tunnel.shared);
    }
    tunnel.shared.rx_packets.add(1);
    tunnel.shared.rx_bytes.add(total_len as u64);
    tunnel.shared.rx_active.set(*now);
    // Nearly all packets go into the core network by a way that is known, and nobody asks more.
    let is_held = tunnel.policy.is_some()
        || tunnel.way != Way::Fast
        || tunnel.network.as_ref().is_none_or(|network| network.clamp_mss)
            && mss::may_announce(frame.data());
    if !is_held
        && to == Table::NOWHERE
        && let Some(hop) = ipv4::next_hop(frame.data())
        && let Some(exit) = exits.remembered(hop, total_len)
    {
        ipv4::decrement_ttl(frame.data_mut());
        return exits.by(sink, frame, &exit, Ethertype::IPV4);
    }
    judge(core, frame, slot, to);
}

/// What the tunnel's rules and rate say of an accepted packet, and the way that it takes otherwise.
#[inline(never)]
fn judge(core: &mut Core, mut frame: Frame, slot: u32, to: u32) {
    let Core { table, sink, now, .. } = core;
    let Some(tunnel) = table.tunnel(slot) else {
        return sink.drop(frame, DropReason::TunnelUnknown);
    };
    let Some(inner) = View::read(frame.data()) else {
        return sink.drop_of(frame, DropReason::InnerMalformed, &tunnel.shared);
    };
    if let Some(policy) = &mut tunnel.policy
        && let Err(reason) = policy.judge_uplink(frame.data(), inner, *now)
    {
        return sink.drop_of(frame, reason, &tunnel.shared);
    }
    if let Some(network) = tunnel.network.as_ref().filter(|network| network.clamp_mss)
        && mss::clamp(frame.data_mut(), &inner, network.mtu)
    {
        sink.meter.mss_clamped.add(1);
    }
    let way = tunnel.way;
    forward::from_subscriber(core, frame, inner, slot, way, to);
}

/// An accepted packet that is none of IPv4.
#[inline(never)]
fn pass_other(core: &mut Core, data: Data) {
    if bridge::is_bridged(data.frame.data()) {
        bridge::deliver(core, data.frame, data.slot);
    } else {
        ipv6::pass(core, data);
    }
}

/// Gives a packet that the peer's router is asked something by to the control plane.
pub(crate) fn to_router(core: &mut Core, frame: Frame, slot: u32) {
    let now = core.now;
    let Some(tunnel) = core.table.tunnel(slot) else {
        return core.sink.drop(frame, DropReason::TunnelUnknown);
    };
    if !tunnel.to_router.allows(now) {
        return core.sink.drop_of(frame, DropReason::ControlRateLimited, &tunnel.shared);
    }
    let (id, shared) = (tunnel.id, Arc::clone(&tunnel.shared));
    if core.tell(Event::Packet { tunnel: id, packet: frame.data().into() }) {
        core.sink.consume(frame);
    } else {
        core.sink.drop_of(frame, DropReason::EventsFull, &shared);
    }
}
