//! What a packet becomes that its tunnel takes: rules, segment sizes, the tunnel's MTU and rate.
//!
//! Implements RFC 1812 §4.2.2.7, §5.2.6 (what is too large is cut, or answered) and RFC 3078 §3.1
//! (what is encrypted). Uses up no sequence number and no key.

use protocol::ppp::frame::Protocol;
use protocol::time::Instant;

use super::{Fit, HEADERS, Inner, Ready, Stages, ipv6};
use crate::api::DropReason;
use crate::bridge;
use crate::frame::Frame;
use crate::inner::icmp::{self, Error};
use crate::inner::{fragment, mss};
use crate::ipv4::{self, View};
use crate::shape::{Offer, Store};
use crate::table::{Half, Protection, Tunnel};
use crate::worker::{Core, Sink};

/// Makes the packet one that the tunnel takes, or several, or sends it back.
#[inline]
pub(super) fn prepare(core: &mut Core, packet: Inner, stages: &mut Stages) {
    let Inner { mut frame, slot } = packet;
    // Read again rather than kept: its line of memory is at hand, and a copy would be as long.
    let view = match View::read(frame.data()) {
        Some(view) if ipv4::is_ipv4(frame.data()) => view,
        _ => return prepare_other(core, Inner { frame, slot }, stages),
    };
    let Core { table, sink, waiting, now, .. } = core;
    let Some(tunnel) = table.tunnel(slot) else {
        sink.drop(frame, DropReason::NoTunnel);
        return;
    };
    let Some(network) = &tunnel.network else {
        sink.drop_of(frame, DropReason::NetworkClosed, &tunnel.shared);
        return;
    };
    if let Some(policy) = &tunnel.policy
        && let Err(reason) = policy.judge_downlink(frame.data(), view)
    {
        sink.drop_of(frame, reason, &tunnel.shared);
        return;
    }
    if network.clamp_mss && mss::clamp(frame.data_mut(), &view, network.mtu) {
        sink.meter.mss_clamped.add(1);
    }
    let (mtu, tos) = (network.mtu, view.tos);
    if frame.len() > usize::from(mtu) {
        return cut(core, Inner { frame, slot }, view, mtu, stages);
    }
    let fit = Fit { frame, slot, tos };
    match tunnel.policy {
        None => enqueue(sink, tunnel, fit, Protocol::IPV4, stages),
        Some(_) => shape(sink, tunnel, fit, waiting, *now, stages),
    }
}

/// The same for what is no packet of IPv4.
#[inline(never)]
fn prepare_other(core: &mut Core, packet: Inner, stages: &mut Stages) {
    let Inner { frame, slot } = packet;
    if !bridge::is_bridged(frame.data()) {
        return ipv6::prepare(core, frame, slot, stages);
    }
    let Core { table, sink, waiting, now, .. } = core;
    let Some(tunnel) = table.tunnel(slot) else {
        return sink.drop(frame, DropReason::NoTunnel);
    };
    // Of best effort: what it carries is the bridge's business.
    let fit = Fit { frame, slot, tos: 0 };
    shape(sink, tunnel, fit, waiting, *now, stages);
}

/// Makes several packets of one that its tunnel does not take whole, or answers it.
#[inline(never)]
fn cut(core: &mut Core, packet: Inner, view: View, mtu: u16, stages: &mut Stages) {
    let Inner { mut frame, slot } = packet;
    if view.dont_fragment {
        let error = Error::FragmentationNeeded { mtu };
        return icmp::refuse_of(core, frame, view, slot, DropReason::TooBig, error);
    }
    let Core { table, sink, waiting, now, .. } = core;
    let Some(tunnel) = table.tunnel(slot) else {
        return sink.drop(frame, DropReason::NoTunnel);
    };
    let mut pieces = std::mem::take(&mut stages.pieces);
    match fragment::split(&mut frame, &view, mtu, &mut sink.pool, &mut pieces) {
        Ok(()) => {
            sink.meter.fragmented.add(1);
            sink.meter.originated.add(pieces.len() as u64);
            for frame in std::iter::once(frame).chain(pieces.drain(..)) {
                let fit = Fit { frame, slot, tos: view.tos };
                shape(sink, tunnel, fit, waiting, *now, stages);
            }
        }
        Err(fragment::Refused::Shape) => sink.drop_of(frame, DropReason::TooBig, &tunnel.shared),
        Err(fragment::Refused::NoFrame) => sink.drop_of(frame, DropReason::NoFrame, &tunnel.shared),
    }
    stages.pieces = pieces;
}

/// Sends a packet on if its tunnel's rate allows it now, else has it wait.
pub(super) fn shape(
    sink: &mut Sink,
    tunnel: &mut Tunnel,
    fit: Fit,
    waiting: &mut Store,
    now: Instant,
    stages: &mut Stages,
) {
    let Fit { frame, slot, tos } = fit;
    let id = tunnel.id;
    let offer = match tunnel.queue() {
        Some(queue) => queue.offer(frame, tos, waiting, id, now),
        None => Offer::Pass(frame),
    };
    match offer {
        Offer::Pass(frame) => protect(sink, tunnel, Fit { frame, slot, tos }, stages),
        Offer::Waits => {}
        Offer::Full(frame) => sink.drop_of(frame, DropReason::QueueFull, &tunnel.shared),
    }
}

/// Puts a packet on the way through the stages that it needs.
#[inline(never)]
pub(super) fn protect(sink: &mut Sink, tunnel: &mut Tunnel, fit: Fit, stages: &mut Stages) {
    let Fit { mut frame, slot, tos } = fit;
    let protocol = take_protocol(&mut frame);
    enqueue(sink, tunnel, Fit { frame, slot, tos }, protocol, stages);
}

/// The same for one that starts with what PPP calls its information, of this protocol.
#[inline]
fn enqueue(
    sink: &mut Sink,
    tunnel: &mut Tunnel,
    fit: Fit,
    protocol: Protocol,
    stages: &mut Stages,
) {
    let Fit { mut frame, slot, tos } = fit;
    if frame.headroom() < HEADERS {
        return sink.drop_of(frame, DropReason::NoHeadroom, &tunnel.shared);
    }
    let length = match protocol {
        Protocol::BRIDGED => bridge::payload(bridge::MARK_LEN + frame.len()),
        _ => frame.len(),
    };
    let is_stateful = match &tunnel.protection {
        Protection::Mppe(_) => false,
        Protection::Stateful(mppe) => matches!(mppe.send, Half::Stateful(_)),
        Protection::None => {
            return stages.plain.push(Ready { frame, slot, protocol, length, tos });
        }
        Protection::Unset => {
            return sink.drop_of(frame, DropReason::NetworkClosed, &tunnel.shared);
        }
    };
    // The inner protocol field is inside of what is encrypted (RFC 3078 §3.1).
    let [high, low] = protocol.number().to_be_bytes();
    let fits = if tunnel.framing.compress_protocol {
        frame.push_front_array(&[low])
    } else {
        frame.push_front_array(&[high, low])
    };
    debug_assert!(fits, "there is room for all headers");
    let octets = frame.len();
    let ready = Ready { frame, slot, protocol: Protocol::COMPRESSED, length, tos };
    if is_stateful {
        stages.stateful.push(ready);
    } else {
        stages.mppe.push(slot, tunnel.protection.send_state(), octets);
        stages.encrypted.push(ready);
    }
}

/// PPP's number for a packet that starts with its IP header, or with the mark of bridged ones,
/// which is taken off.
#[inline]
fn take_protocol(frame: &mut Frame) -> Protocol {
    if bridge::is_bridged(frame.data()) && frame.pull_front(bridge::MARK_LEN) {
        Protocol::BRIDGED
    } else if crate::ipv6::is_ipv6(frame.data()) {
        Protocol::IPV6
    } else {
        Protocol::IPV4
    }
}
