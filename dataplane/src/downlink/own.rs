//! Frames that begin here: control frames, packets of ours into a tunnel, lone acknowledgements.
//!
//! Implements RFC 2637 §4.2.5 (acknowledgements that found no data to ride on). Each counts as made here
//! before anything can go wrong with it.

use protocol::gre;
use protocol::ppp::frame::Protocol;

use super::admit::view;
use super::envelope::{envelope, push_outer, push_ppp};
use crate::api::{DropReason, TunnelId};
use crate::frame::Frame;
use crate::worker::Core;

/// The outer type of service of control frames and lone acknowledgements: no special one.
const CONTROL_TOS: u8 = 0;

/// Sends a control frame in the clear. It starts with its two-octet protocol number.
pub(crate) fn send_control(core: &mut Core, id: TunnelId, bytes: &[u8]) {
    let Some(tunnel) = core.table.tunnel_by_id(id) else { return };
    let Some(mut frame) = core.sink.pool.take() else {
        core.sink.meter.originated.add(1);
        core.sink.count(DropReason::NoFrame);
        return;
    };
    core.sink.meter.originated.add(1);
    let parts = bytes
        .split_first_chunk()
        .and_then(|(number, payload)| Some((Protocol::new(u16::from_be_bytes(*number))?, payload)));
    let sent = parts.is_some_and(|(protocol, payload)| {
        frame.fill(payload)
            && push_ppp(&mut frame, protocol, tunnel.framing)
            && envelope(&mut frame, tunnel, CONTROL_TOS, core.now)
    });
    if sent {
        core.exits.peer(&mut core.sink, frame, tunnel.outer, &mut tunnel.exit);
    } else {
        // Not a PPP frame, or larger than a packet can be.
        core.sink.drop_of(frame, DropReason::PppMalformed, &tunnel.shared);
    }
}

/// Sends a control frame of a worker's own, in the frame of what it answers, which is counted as
/// consumed. The frame has what follows the protocol number.
pub(crate) fn reply_control(core: &mut Core, mut frame: Frame, slot: u32, protocol: Protocol) {
    core.sink.meter.consumed.add(1);
    core.sink.meter.originated.add(1);
    let Some(tunnel) = core.table.tunnel(slot) else {
        return core.sink.drop(frame, DropReason::TunnelUnknown);
    };
    if push_ppp(&mut frame, protocol, tunnel.framing)
        && envelope(&mut frame, tunnel, CONTROL_TOS, core.now)
    {
        core.exits.peer(&mut core.sink, frame, tunnel.outer, &mut tunnel.exit);
    } else {
        core.sink.drop_of(frame, DropReason::PppMalformed, &tunnel.shared);
    }
}

/// Sends an IP packet of ours to a tunnel's peer, protected as data is.
pub(crate) fn send_packet(core: &mut Core, id: TunnelId, packet: &[u8]) {
    if core.table.tunnel_by_id(id).is_none() {
        return;
    }
    core.sink.meter.originated.add(1);
    let Some(mut frame) = core.sink.pool.take() else {
        core.sink.count(DropReason::NoFrame);
        return;
    };
    if !frame.fill(packet) {
        return core.sink.drop(frame, DropReason::CoreMalformed);
    }
    match view(&mut frame) {
        Ok(_) | Err(DropReason::NotIpv4) => core.downlink.push(frame, id.slot),
        Err(reason) => core.sink.drop(frame, reason),
    }
}

/// Sends an acknowledgement alone, if one is owed (RFC 2637 §4.2.5).
pub(crate) fn send_acknowledgement(core: &mut Core, id: TunnelId) {
    let Core { table, sink, acks, exits, now, .. } = core;
    let Some(tunnel) = table.tunnel_by_id(id) else { return };
    let Some(mut frame) = sink.pool.take() else { return acks.put_off(tunnel, *now) };
    let Some(number) = tunnel.acknowledger.take() else { return sink.pool.put(frame) };
    sink.meter.originated.add(1);
    let header = gre::Header {
        call_id: tunnel.outer.peer_call_id,
        payload_len: 0,
        sequence: None,
        acknowledgment: Some(number),
    };
    if push_outer(&mut frame, header, tunnel.outer, CONTROL_TOS) {
        exits.peer(sink, frame, tunnel.outer, &mut tunnel.exit);
    } else {
        sink.drop_of(frame, DropReason::NoHeadroom, &tunnel.shared);
    }
}
