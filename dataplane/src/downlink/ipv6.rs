//! IPv6 to the subscriber: its tunnel, its rules, its MTU.
//!
//! Implements RFC 8200 §3 and §5 (what is too large is answered, never cut) and RFC 4291 §2.5.6
//! (what is of a link stays there: the kernel's own words on its interfaces go into no tunnel).

use super::admit::drop_at;
use super::{Fit, Stages, protect, shape};
use crate::api::DropReason;
use crate::frame::Frame;
use crate::inner::{icmpv6, mss};
use crate::ipv6::{self, View};
use crate::mailbox::Handed;
use crate::table::Place;
use crate::worker::{Core, From};

/// Finds the tunnel of a packet that starts with an IPv6 header.
pub(super) fn admit(core: &mut Core, frame: Frame, from: From) {
    let Some((mut frame, view)) = forwarded(core, frame) else { return };
    let Some((to, length)) = core.table.destination_ipv6(view.destination) else {
        if from == From::Worker {
            return core.sink.drop(frame, DropReason::HandoverStale);
        }
        return icmpv6::unreachable(core, frame, &view);
    };
    if from == From::Port {
        let is_elsewhere = core.exits.has_longer(view.destination, length);
        // The kernel answers with Time Exceeded (RFC 4443 §3.3).
        if to.through_kernel || is_elsewhere || view.hop_limit <= 1 {
            return core.exits.kernel(&mut core.sink, frame);
        }
        // The kernel's own check of sources never saw it.
        if !ipv6::is_forwarded(view.source) || view.source == view.destination {
            return drop_at(core, frame, to.place, DropReason::SourceMartian);
        }
        ipv6::decrement_hop_limit(frame.data_mut());
    }
    match to.place {
        Place::Here(slot) => core.downlink.push(frame, slot),
        Place::Worker(owner) => core.hand_over(owner, Handed::Downlink(frame), from),
    }
}

/// Puts a packet into the tunnel in `slot`: the kernel sent it by the tunnel's own device.
pub(super) fn enter(core: &mut Core, frame: Frame, slot: u32) {
    if let Some((frame, _)) = forwarded(core, frame) {
        core.downlink.push(frame, slot);
    }
}

/// The header of a packet that goes beyond its link.
fn forwarded(core: &mut Core, mut frame: Frame) -> Option<(Frame, View)> {
    let reason = match View::parse(frame.data()) {
        Some(view) if ipv6::is_forwarded(view.destination) => {
            frame.truncate(view.total_len);
            return Some((frame, view));
        }
        // The kernel says such things on every interface.
        Some(_) => DropReason::NotIpv4,
        None => DropReason::CoreMalformed,
    };
    core.sink.drop(frame, reason);
    None
}

/// Makes the packet one that the tunnel takes, or sends it back.
pub(super) fn prepare(core: &mut Core, mut frame: Frame, slot: u32, stages: &mut Stages) {
    let Core { table, sink, waiting, now, .. } = core;
    let view = View::parse(frame.data());
    let (Some(view), Some(tunnel)) = (view, table.tunnel(slot)) else {
        return sink.drop(frame, DropReason::NoTunnel);
    };
    let Some(network) = tunnel.network.as_ref().filter(|_| tunnel.ipv6.is_some()) else {
        return sink.drop_of(frame, DropReason::NetworkClosed, &tunnel.shared);
    };
    // What the router says to its host no rule is about.
    if ipv6::is_forwarded(view.source)
        && let Some(policy) = &tunnel.policy
        && let Err(reason) = policy.judge_downlink_ipv6(frame.data(), &view)
    {
        return sink.drop_of(frame, reason, &tunnel.shared);
    }
    let mtu = network.mtu;
    if network.clamp_mss && mss::clamp_ipv6(frame.data_mut(), &view, mtu) {
        sink.meter.mss_clamped.add(1);
    }
    if frame.len() > usize::from(mtu) {
        return icmpv6::too_big(core, frame, &view, slot, mtu);
    }
    let fit = Fit { frame, slot, tos: view.traffic_class };
    match tunnel.policy {
        None => protect(sink, tunnel, fit, stages),
        Some(_) => shape(sink, tunnel, fit, waiting, *now, stages),
    }
}
