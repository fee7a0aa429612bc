//! What is put before a packet on its way to the peer: MPPE's header, PPP's, GRE's and the outer one.
//!
//! Implements RFC 3078 §3.1, RFC 1661 §2, RFC 2637 §4.1 and RFC 791 §2.3. Never asks whether a packet
//! may be sent.

use protocol::gre;
use protocol::mppe::Header as MppeHeader;
use protocol::ppp::frame::{Framing, Header as PppHeader, Protocol};
use protocol::time::Instant;

use super::{HEADERS, Ready};
use crate::api::{DropReason, Outer};
use crate::frame::Frame;
use crate::inner::ecn;
use crate::ipv4;
use crate::link;
use crate::multilink::{self, Outgoing};
use crate::table::Tunnel;
use crate::worker::Core;

/// Octets of PPP's header, whole, and MPPE's.
const INSIDE: usize = 6;
/// What comes before an encrypted packet, from the outer IP header on, at most.
const WRAPPING: usize = ipv4::HEADER_LEN + gre::MAX_HEADER_LEN + INSIDE;

/// Encrypts a packet of a tunnel with stateful MPPE (RFC 3078 §7.2).
pub(super) fn encrypt_stateful(core: &mut Core, mut packet: Ready) {
    let header = core
        .table
        .tunnel(packet.slot)
        .and_then(|tunnel| tunnel.protection.sender())
        .map(|sender| sender.encrypt(packet.frame.data_mut()).to_octets());
    if header.is_some_and(|octets| packet.frame.push_front_array(&octets)) {
        send(core, packet);
    } else {
        core.sink.drop(packet.frame, DropReason::NetworkClosed);
    }
}

/// Sends what MPPE made of a packet.
#[inline]
pub(super) fn send_encrypted(core: &mut Core, packet: Ready, header: MppeHeader) {
    let Ready { mut frame, slot, protocol, length, tos } = packet;
    let Core { table, sink, exits, now, .. } = core;
    let Some(tunnel) = table.tunnel(slot) else {
        return sink.drop(frame, DropReason::NoTunnel);
    };
    let is_common = tunnel.multilink.is_none() && tunnel.framing == Framing::default();
    let way = exits.known(&tunnel.exit, frame.len() + WRAPPING).filter(|_| is_common);
    if let Some(exit) = way
        && wrap(&mut frame, tunnel, &exit.ends, header, tos, *now)
    {
        tunnel.shared.tx_packets.add(1);
        tunnel.shared.tx_bytes.add(length as u64);
        tunnel.shared.tx_active.set(*now);
        return exits.put(sink, frame, Some(exit.port.into()));
    }
    if frame.push_front_array(&header.to_octets()) {
        send(core, Ready { frame, slot, protocol, length, tos });
    } else {
        sink.drop_of(frame, DropReason::NoHeadroom, &tunnel.shared);
    }
}

/// All headers of nearly all packets at once: MPPE, PPP whole, GRE, IPv4, Ethernet without tags. As
/// [`send`] puts them, one after the other. `false`, and nothing has moved, if there is no room.
#[inline]
fn wrap(
    frame: &mut Frame,
    tunnel: &mut Tunnel,
    ends: &link::Ends,
    header: MppeHeader,
    tos: u8,
    now: Instant,
) -> bool {
    if frame.headroom() < HEADERS {
        return false;
    }
    let Ok(payload_len) = u16::try_from(frame.len() + INSIDE) else { return false };
    let Outer { local, peer, peer_call_id, .. } = tunnel.outer;
    let sequence = tunnel.take_sequence(now);
    let acknowledgment = tunnel.acknowledger.take();
    let gre = gre::Header {
        call_id: peer_call_id,
        payload_len,
        sequence: Some(sequence),
        acknowledgment,
    };
    let mut octets = [0; gre::MAX_HEADER_LEN];
    gre.emit(&mut octets);
    let [gre @ .., a, b, c, d] = octets;
    let [first, second] = header.to_octets();
    let inside = match acknowledgment {
        Some(_) => frame.push_front_array(&[a, b, c, d, 0xFF, 0x03, 0x00, 0xFD, first, second]),
        None => frame.push_front_array(&[0xFF, 0x03, 0x00, 0xFD, first, second]),
    };
    let [_, _, high, low] = sequence.to_be_bytes();
    let identification = u16::from_be_bytes([high, low]);
    // A frame holds it, so that the sum is short of 2^16.
    let payload = payload_len.wrapping_add(if acknowledgment.is_some() { 16 } else { 12 });
    let tos = ecn::encapsulate(tos);
    let ip = ipv4::header(payload, tos, identification, gre::IP_PROTOCOL, local, peer);
    let mut outside = [0; link::HEADER_LEN + ipv4::HEADER_LEN + 12];
    let (ethernet, rest) = outside.split_at_mut(link::HEADER_LEN);
    ethernet.copy_from_slice(&ends.header(link::Ethertype::IPV4));
    rest[..ip.len()].copy_from_slice(&ip);
    rest[ip.len()..].copy_from_slice(&gre);
    inside && frame.push_front_array(&outside)
}

#[inline]
pub(super) fn send(core: &mut Core, packet: Ready) {
    let Ready { mut frame, slot, protocol, length, tos } = packet;
    let Some(tunnel) = core.table.tunnel(slot) else {
        core.sink.drop(frame, DropReason::NoTunnel);
        return;
    };
    if let Some(state) = &tunnel.multilink
        && frame.len() > state.largest()
    {
        return multilink::send(core, Outgoing { frame, slot, protocol, length, tos });
    }
    if !push_ppp(&mut frame, protocol, tunnel.framing)
        || !envelope(&mut frame, tunnel, tos, core.now)
    {
        core.sink.drop_of(frame, DropReason::NoHeadroom, &tunnel.shared);
        return;
    }
    tunnel.shared.tx_packets.add(1);
    tunnel.shared.tx_bytes.add(length as u64);
    tunnel.shared.tx_active.set(core.now);
    core.exits.peer(&mut core.sink, frame, tunnel.outer, &mut tunnel.exit);
}

/// GRE and outer IP around a PPP frame: the tunnel's next sequence number, and the acknowledgement
/// that is owed (RFC 2637 §4.1).
#[inline]
pub(crate) fn envelope(frame: &mut Frame, tunnel: &mut Tunnel, tos: u8, now: Instant) -> bool {
    let Ok(payload_len) = u16::try_from(frame.len()) else { return false };
    let header = gre::Header {
        call_id: tunnel.outer.peer_call_id,
        payload_len,
        sequence: Some(tunnel.take_sequence(now)),
        acknowledgment: tunnel.acknowledger.take(),
    };
    push_outer(frame, header, tunnel.outer, ecn::encapsulate(tos))
}

#[inline]
pub(super) fn push_outer(frame: &mut Frame, header: gre::Header, outer: Outer, tos: u8) -> bool {
    let mut octets = [0; gre::MAX_HEADER_LEN];
    let len = header.emit(&mut octets);
    // There is one number or two, so that lengths are known here: no call copies the octets.
    let fits = match octets {
        octets if len == octets.len() => frame.push_front_array(&octets),
        [octets @ .., _, _, _, _] => frame.push_front_array::<12>(&octets),
    };
    let (true, Ok(payload)) = (fits, u16::try_from(frame.len())) else { return false };
    // Routers on the way may fragment; numbers that differ within a tunnel let the peer put the
    // pieces together (RFC 791 §2.3). The low half of a sequence number does.
    let [_, _, high, low] = header.sequence.unwrap_or_default().to_be_bytes();
    let identification = u16::from_be_bytes([high, low]);
    let ip = ipv4::header(payload, tos, identification, gre::IP_PROTOCOL, outer.local, outer.peer);
    frame.push_front_array(&ip)
}

/// PPP's header. That of a peer that wants it whole, as most do, has a length that is known here.
#[inline]
pub(super) fn push_ppp(frame: &mut Frame, protocol: Protocol, framing: Framing) -> bool {
    let header = PppHeader::new(protocol, framing);
    match header.as_bytes().as_array() {
        Some(octets) => frame.push_front_array::<4>(octets),
        None => push(frame, header.as_bytes()),
    }
}

fn push(frame: &mut Frame, bytes: &[u8]) -> bool {
    let room = frame.push_front(bytes.len());
    room.map(|room| room.copy_from_slice(bytes)).is_some()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use protocol::mppe::CoherencyCount;

    use super::*;
    use crate::api::TunnelId;
    use crate::counters::TunnelShared;
    use crate::frame::{Pool, Region};

    #[test]
    fn all_headers_at_once_are_those_that_come_one_after_the_other() {
        let mut pool = Pool::new(Region::new(64).unwrap(), 64);
        let outer = Outer {
            local: Ipv4Addr::new(192, 0, 2, 1),
            peer: Ipv4Addr::new(198, 51, 100, 77),
            own_call_id: 7,
            peer_call_id: 0xABCD,
            peer_window: 64,
        };
        let id = TunnelId { slot: 0, generation: 0 };
        let tunnel = || Tunnel::new(id, outer, Arc::new(TunnelShared::default()));
        let (mut one, mut other) = (tunnel(), tunnel());
        let ends = link::Ends::new([2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 1]);
        let now = Instant::from_micros(5);
        for (number, owes, tos, len) in [(0, false, 0, 66), (1, true, 0xBB, 1458), (2, false, 3, 1)]
        {
            if owes {
                one.acknowledger.accepted(900, now);
                other.acknowledger.accepted(900, now);
            }
            let header = MppeHeader::stateless(CoherencyCount::of_packet(number + 4000));
            let mut filled = || {
                let mut frame = pool.take().unwrap();
                assert!(frame.fill(&vec![0x5A; len]));
                frame
            };
            let (mut whole, mut pieces) = (filled(), filled());
            assert!(wrap(&mut whole, &mut one, &ends, header, tos, now));
            assert!(
                pieces.push_front_array(&header.to_octets())
                    && push_ppp(&mut pieces, Protocol::COMPRESSED, Framing::default())
                    && envelope(&mut pieces, &mut other, tos, now)
                    && link::add(&mut pieces, &ends, link::Ethertype::IPV4)
            );
            assert_eq!(whole.data(), pieces.data());
            assert_eq!(whole.len(), link::HEADER_LEN + WRAPPING + len - if owes { 0 } else { 4 });
        }
    }
}
