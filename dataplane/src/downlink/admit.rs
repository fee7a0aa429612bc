//! Which tunnel leads to a packet's destination, and whether the packet may go there.
//!
//! Implements RFC 1812 §5.2.2 (what a router verifies), §5.3.1 (Time To Live) and §5.3.7 (martian
//! sources). Never gives a packet
//! of the kernel back to it.

use std::net::Ipv4Addr;

use super::ipv6;
use crate::api::DropReason;
use crate::forward::is_elsewhere;
use crate::frame::Frame;
use crate::inner::icmp::{self, Error};
use crate::ipv4::{self, View};
use crate::mailbox::Handed;
use crate::stage::Stage;
use crate::table::Place;
use crate::worker::{Core, From};

/// Finds the tunnels of packets that start with the inner IP header.
pub(crate) fn admit(core: &mut Core, frames: &mut Vec<Frame>, from: From) {
    if frames.is_empty() {
        return;
    }
    core.watch.begin();
    let mut slots = std::mem::take(&mut core.downlink.slots);
    slots.extend(frames.iter().map(|frame| {
        let destination = ipv4::destination(frame.data()).unwrap_or(Ipv4Addr::UNSPECIFIED);
        core.table.expect_destination(destination)
    }));
    for (mut frame, slot) in frames.drain(..).zip(slots.drain(..)) {
        let inner = match view(&mut frame) {
            Ok(inner) => inner,
            Err(DropReason::NotIpv4) => {
                ipv6::admit(core, frame, from);
                continue;
            }
            Err(reason) => {
                core.sink.drop(frame, reason);
                continue;
            }
        };
        let Some(to) = core.table.destination_in(slot) else {
            if from == From::Worker {
                core.sink.drop(frame, DropReason::HandoverStale);
            } else {
                icmp::refuse(core, frame, inner, DropReason::NoTunnel, Error::HostUnreachable);
            }
            continue;
        };
        if from == From::Port {
            // Its rules apply to this tunnel, or it has a longer route. The XDP program passes packets
            // of such tunnels as soon as it knows.
            if to.through_kernel || is_elsewhere(core, inner.destination) {
                core.exits.kernel(&mut core.sink, frame);
                continue;
            }
            // The kernel's own check of sources never saw it.
            if !ipv4::is_host(inner.source) || inner.source == inner.destination {
                drop_at(core, frame, to.place, DropReason::SourceMartian);
                continue;
            }
            if inner.ttl <= 1 {
                let reason = DropReason::TtlExceeded;
                charge(core, to.place, reason);
                icmp::refuse(core, frame, inner, reason, Error::TimeExceeded);
                continue;
            }
            ipv4::decrement_ttl(frame.data_mut());
        }
        match to.place {
            Place::Here(slot) => core.downlink.push(frame, slot),
            Place::Worker(owner) => core.hand_over(owner, Handed::Downlink(frame), from),
        }
    }
    core.downlink.slots = slots;
    core.watch.end(Stage::Destination);
}

/// Drops a packet for a tunnel.
#[cold]
pub(super) fn drop_at(core: &mut Core, frame: Frame, place: Place, reason: DropReason) {
    charge(core, place, reason);
    core.sink.drop(frame, reason);
}

/// Counts a drop as the tunnel's, which only its owner can.
#[cold]
fn charge(core: &mut Core, place: Place, reason: DropReason) {
    if let Place::Here(slot) = place
        && let Some(tunnel) = core.table.tunnel(slot)
    {
        tunnel.shared.drops.add(reason);
    }
}

/// Puts packets into the tunnel in `slot`: the kernel sent them by the tunnel's own device.
pub(crate) fn enter(core: &mut Core, frames: &mut Vec<Frame>, slot: u32) {
    for mut frame in frames.drain(..) {
        match view(&mut frame) {
            Ok(_) => core.downlink.push(frame, slot),
            Err(DropReason::NotIpv4) => ipv6::enter(core, frame, slot),
            Err(reason) => core.sink.drop(frame, reason),
        }
    }
}

/// The header of a packet that starts with one, without the padding of short Ethernet frames. A
/// packet of IPv6 has another one.
#[expect(clippy::inline_always, reason = "fields are to stay in registers, not to be copied")]
#[inline(always)]
pub(super) fn view(frame: &mut Frame) -> Result<View, DropReason> {
    let Some(inner) = View::parse(frame.data()) else {
        let is_ipv6 = crate::ipv6::is_ipv6(frame.data());
        return Err(if is_ipv6 { DropReason::NotIpv4 } else { DropReason::CoreMalformed });
    };
    frame.truncate(inner.total_len);
    Ok(inner)
}
