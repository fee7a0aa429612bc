//! Frames that are too large for the peer, or for the path to it, made fragments.
//!
//! Implements RFC 1990 §3. Cuts what is ready to be sent, encrypted where it has to be; what would
//! come to too many fragments is dropped.

use protocol::ppp::frame::{Header as PppHeader, Protocol};
use protocol::ppp::multilink::header::{Header, MAX_LEN};

use crate::api::DropReason;
use crate::downlink;
use crate::frame::{Frame, Pool};
use crate::table::Tunnel;
use crate::worker::{Core, Sink};

/// Fragments that one packet may come to.
const MAX_FRAGMENTS: usize = 16;

/// What is to be sent.
pub(crate) struct Outgoing {
    /// The information field.
    pub(crate) frame: Frame,
    pub(crate) slot: u32,
    pub(crate) protocol: Protocol,
    /// Octets of the inner packet.
    pub(crate) length: usize,
    /// The inner type of service.
    pub(crate) tos: u8,
}

/// Sends a packet, or what MPPE made of it, in fragments.
pub(crate) fn send(core: &mut Core, packet: Outgoing) {
    let Outgoing { frame, slot, protocol, length, tos } = packet;
    let Core { table, sink, exits, fragments, now, .. } = core;
    let Some(tunnel) = table.tunnel(slot) else {
        return sink.drop(frame, DropReason::NoTunnel);
    };
    let others = &mut fragments.cut;
    let Some(first) = cut(sink, tunnel, frame, protocol, others) else { return };
    for mut fragment in std::iter::once(first).chain(others.drain(..)) {
        if downlink::envelope(&mut fragment, tunnel, tos, *now) {
            exits.peer(sink, fragment, tunnel.outer, &mut tunnel.exit);
        } else {
            sink.drop_of(fragment, DropReason::NoHeadroom, &tunnel.shared);
        }
    }
    tunnel.shared.tx_packets.add(1);
    tunnel.shared.tx_bytes.add(length as u64);
    tunnel.shared.tx_active.set(*now);
}

/// Cuts a frame's information field of this protocol down to the first fragment, and appends the
/// others to `others`. All start with their PPP header then. A frame that cannot be cut is dropped.
fn cut(
    sink: &mut Sink,
    tunnel: &mut Tunnel,
    mut frame: Frame,
    protocol: Protocol,
    others: &mut Vec<Frame>,
) -> Option<Frame> {
    let framing = tunnel.framing;
    let Some((sending, next)) = tunnel.multilink.as_mut().and_then(|state| state.send.as_mut())
    else {
        sink.drop_of(frame, DropReason::TooBig, &tunnel.shared);
        return None;
    };
    // Address and control are no part of what is cut (RFC 1990 §3).
    let [high, low] = protocol.number().to_be_bytes();
    let field: &[u8] = if framing.compress_protocol && high == 0 { &[low] } else { &[high, low] };
    let room = usize::from(sending.largest).saturating_sub(sending.format.header_len());
    let total = field.len() + frame.len();
    if room == 0 || total.div_ceil(room) > MAX_FRAGMENTS {
        sink.drop_of(frame, DropReason::TooBig, &tunnel.shared);
        return None;
    }
    let Some(front) = frame.push_front(field.len()) else {
        sink.drop_of(frame, DropReason::NoHeadroom, &tunnel.shared);
        return None;
    };
    front.copy_from_slice(field);

    let before = others.len();
    let pieces = frame.data().chunks(room).skip(1);
    for piece in pieces {
        let Some(other) = copy(&mut sink.pool, piece) else {
            others.drain(before..).for_each(|other| sink.pool.put(other));
            sink.drop_of(frame, DropReason::NoFrame, &tunnel.shared);
            return None;
        };
        others.push(other);
    }
    frame.truncate(room);
    sink.meter.originated.add((others.len() - before) as u64);
    sink.meter.multilink_sent.add(1);

    let last = others.len() - before;
    let ppp = PppHeader::new(Protocol::MULTILINK, framing);
    let all = std::iter::once(&mut frame).chain(others.get_mut(before..).unwrap_or_default());
    let mut headed = true;
    for (place, fragment) in all.enumerate() {
        let header = Header { begin: place == 0, end: place == last, number: *next };
        *next = sending.format.next(*next);
        let mut octets = [0; MAX_LEN];
        let len = header.emit(sending.format, &mut octets);
        headed &= push(fragment, octets.get(..len).unwrap_or_default());
        headed &= push(fragment, ppp.as_bytes());
    }
    if headed {
        return Some(frame);
    }
    for other in others.drain(before..) {
        sink.drop_of(other, DropReason::NoHeadroom, &tunnel.shared);
    }
    sink.drop_of(frame, DropReason::NoHeadroom, &tunnel.shared);
    None
}

fn copy(pool: &mut Pool, piece: &[u8]) -> Option<Frame> {
    let mut frame = pool.take()?;
    if frame.fill(piece) {
        return Some(frame);
    }
    pool.put(frame);
    None
}

fn push(frame: &mut Frame, bytes: &[u8]) -> bool {
    frame.push_front(bytes.len()).map(|room| room.copy_from_slice(bytes)).is_some()
}
