//! To the subscriber: inner IP packets in, GRE packets out, in stages over a whole burst.
//!
//! Implements RFC 3078 §7.1 (a key for each packet), RFC 1661 §2 (PPP frames), RFC 2637 §4 (GRE).
//! Never sends plain data of an encrypted tunnel, and never gives a packet of the kernel back to it.

use protocol::gre;
use protocol::mppe::Header as MppeHeader;
use protocol::ppp::frame::{Header as PppHeader, Protocol};

use crate::api::{DropReason, Outer, TunnelId};
use crate::frame::Frame;
use crate::inner::mss;
use crate::ipv4::{self, View};
use crate::mailbox::Handed;
use crate::mppe::{Payloads, SendBurst};
use crate::table::{Place, Protection, Tunnel};
use crate::worker::{Core, From};

/// All that can come before an inner packet: Ethernet 14, IPv4 20, GRE 16, PPP 4, MPPE 2 and the
/// inner protocol 2.
pub(crate) const HEADERS: usize = 58;

/// What waits between stages. Empty between bursts; kept for its capacity.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    /// Packets whose tunnel is known, in the order in which they came.
    waiting: Vec<Inner>,
    plain: Vec<Ready>,
    /// In the order of the burst below.
    encrypted: Vec<Ready>,
    mppe: SendBurst,
}

impl Stages {
    /// Puts a packet for a tunnel of this worker in, its Time To Live settled.
    pub(crate) fn push(&mut self, frame: Frame, slot: u32, view: View, from_kernel: bool) {
        self.waiting.push(Inner { frame, slot, view, from_kernel });
    }
}

/// An IP packet for one of this worker's tunnels.
#[derive(Debug)]
struct Inner {
    frame: Frame,
    slot: u32,
    /// As it came, save for the Time To Live.
    view: View,
    /// It must not go back there.
    from_kernel: bool,
}

/// A packet that its tunnel takes.
#[derive(Debug)]
struct Ready {
    /// Starts with the inner protocol number if it is to be encrypted, with the IP header if not.
    frame: Frame,
    slot: u32,
    /// Octets of the inner packet.
    length: usize,
}

impl Payloads for [Ready] {
    fn payload(&mut self, packet: usize) -> &mut [u8] {
        self.get_mut(packet).map_or(&mut [], |ready| ready.frame.data_mut())
    }
}

/// Finds the tunnels of packets that start with the inner IP header.
pub(crate) fn admit(core: &mut Core, frames: &mut Vec<Frame>, from: From) {
    for mut frame in frames.drain(..) {
        let Some(inner) = View::parse(frame.data()) else {
            core.sink.drop(frame, DropReason::CoreMalformed);
            continue;
        };
        // Ethernet pads short frames.
        frame.truncate(inner.total_len);
        let Some(place) = core.table.destination(inner.destination) else {
            let stale = from.is_worker();
            let reason = if stale { DropReason::HandoverStale } else { DropReason::NoTunnel };
            core.sink.drop(frame, reason);
            continue;
        };
        if from == From::Port {
            if inner.ttl <= 1 {
                // The kernel answers with Time Exceeded (RFC 792).
                core.exits.kernel(&mut core.sink, frame);
                continue;
            }
            ipv4::decrement_ttl(frame.data_mut());
        }
        match place {
            Place::Here(slot) => core.downlink.push(frame, slot, inner, from.is_kernel()),
            Place::Worker(owner) => {
                let from_kernel = from.is_kernel();
                core.hand_over(owner, Handed::Downlink { frame, from_kernel }, from);
            }
        }
    }
}

/// Takes the packets that wait through all stages.
pub(crate) fn run(core: &mut Core) {
    if core.downlink.waiting.is_empty() {
        return;
    }
    let mut stages = std::mem::take(&mut core.downlink);
    stages.mppe.clear();
    for packet in stages.waiting.drain(..) {
        prepare(core, packet, &mut stages.plain, &mut stages.encrypted, &mut stages.mppe);
    }
    for packet in stages.plain.drain(..) {
        send(core, packet, Protocol::IPV4);
    }
    if !stages.encrypted.is_empty() {
        stages.mppe.plan(&mut core.table);
        core.engine.derive_keys(&mut stages.mppe);
        core.engine.apply(&stages.mppe, stages.encrypted.as_mut_slice());
        for (index, mut packet) in stages.encrypted.drain(..).enumerate() {
            let header = stages.mppe.header(index).map(MppeHeader::to_octets);
            match (header, packet.frame.push_front(MppeHeader::LEN)) {
                (Some(octets), Some(room)) => {
                    room.copy_from_slice(&octets);
                    send(core, packet, Protocol::COMPRESSED);
                }
                _ => core.sink.drop(packet.frame, DropReason::NetworkClosed),
            }
        }
        stages.mppe.commit(&mut core.table);
    }
    core.downlink = stages;
}

/// Whether the tunnel takes the packet, and by which way through the stages.
fn prepare(
    core: &mut Core,
    packet: Inner,
    plain: &mut Vec<Ready>,
    encrypted: &mut Vec<Ready>,
    mppe: &mut SendBurst,
) {
    let Inner { mut frame, slot, view, from_kernel } = packet;
    let Some(tunnel) = core.table.tunnel(slot) else {
        core.sink.drop(frame, DropReason::NoTunnel);
        return;
    };
    let length = frame.len();
    if let Some(network) = tunnel.network.as_ref().filter(|network| network.clamp_mss)
        && mss::clamp(frame.data_mut(), &view, network.mtu)
    {
        core.sink.meter.mss_clamped.add(1);
    }
    let reason = match (&tunnel.network, &tunnel.protection) {
        (None, _) | (_, Protection::Unset) => DropReason::NetworkClosed,
        (Some(network), _) if length > usize::from(network.mtu) => {
            if !from_kernel {
                // It knows the TUN's MTU: it fragments, or answers Fragmentation Needed
                // (RFC 1812 §4.3.3.3), and what it sends comes back to us.
                return core.exits.kernel(&mut core.sink, frame);
            }
            DropReason::TooBig
        }
        _ if frame.headroom() < HEADERS => DropReason::NoHeadroom,
        (Some(_), Protection::None) => {
            plain.push(Ready { frame, slot, length });
            return;
        }
        (Some(_), Protection::Mppe(_)) => {
            // The inner protocol field is inside of what is encrypted (RFC 3078 §3.1).
            let [high, low] = Protocol::IPV4.number().to_be_bytes();
            let field: &[u8] = if tunnel.framing.compress_protocol { &[low] } else { &[high, low] };
            if let Some(room) = frame.push_front(field.len()) {
                room.copy_from_slice(field);
            }
            mppe.push(slot, frame.len());
            encrypted.push(Ready { frame, slot, length });
            return;
        }
    };
    core.sink.drop_of(frame, reason, &tunnel.shared);
}

fn send(core: &mut Core, packet: Ready, protocol: Protocol) {
    let Ready { mut frame, slot, length } = packet;
    let Some(tunnel) = core.table.tunnel(slot) else {
        core.sink.drop(frame, DropReason::NoTunnel);
        return;
    };
    let header = PppHeader::new(protocol, tunnel.framing);
    if !push(&mut frame, header.as_bytes()) || !envelope(&mut frame, tunnel) {
        core.sink.drop_of(frame, DropReason::NoHeadroom, &tunnel.shared);
        return;
    }
    tunnel.shared.tx_packets.add(1);
    tunnel.shared.tx_bytes.add(length as u64);
    tunnel.shared.tx_active.set(core.now);
    core.exits.peer(&mut core.sink, frame, tunnel.outer.peer);
}

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
        let header = PppHeader::new(protocol, tunnel.framing);
        frame.fill(payload) && push(&mut frame, header.as_bytes()) && envelope(&mut frame, tunnel)
    });
    if sent {
        core.exits.peer(&mut core.sink, frame, tunnel.outer.peer);
    } else {
        // Not a PPP frame, or larger than a packet can be.
        core.sink.drop_of(frame, DropReason::PppMalformed, &tunnel.shared);
    }
}

/// Sends an acknowledgement alone, if one is owed (RFC 2637 §4.2.5).
pub(crate) fn send_acknowledgement(core: &mut Core, id: TunnelId) {
    let Some(tunnel) = core.table.tunnel_by_id(id) else { return };
    let Some(number) = tunnel.acknowledger.take() else { return };
    core.sink.meter.originated.add(1);
    let Some(mut frame) = core.sink.pool.take() else {
        core.sink.count(DropReason::NoFrame);
        return;
    };
    let header = gre::Header {
        call_id: tunnel.outer.peer_call_id,
        payload_len: 0,
        sequence: None,
        acknowledgment: Some(number),
    };
    if push_outer(&mut frame, header, tunnel.outer) {
        core.exits.peer(&mut core.sink, frame, tunnel.outer.peer);
    } else {
        core.sink.drop_of(frame, DropReason::NoHeadroom, &tunnel.shared);
    }
}

/// GRE and outer IP around a PPP frame: the tunnel's next sequence number, and the acknowledgement
/// that is owed (RFC 2637 §4.1).
fn envelope(frame: &mut Frame, tunnel: &mut Tunnel) -> bool {
    let Ok(payload_len) = u16::try_from(frame.len()) else { return false };
    let header = gre::Header {
        call_id: tunnel.outer.peer_call_id,
        payload_len,
        sequence: Some(tunnel.take_sequence()),
        acknowledgment: tunnel.acknowledger.take(),
    };
    push_outer(frame, header, tunnel.outer)
}

fn push_outer(frame: &mut Frame, header: gre::Header, outer: Outer) -> bool {
    let mut octets = [0; gre::MAX_HEADER_LEN];
    let len = header.emit(&mut octets);
    if !push(frame, octets.get(..len).unwrap_or_default()) {
        return false;
    }
    let Ok(payload) = u16::try_from(frame.len()) else { return false };
    // Routers on the way may fragment; numbers that differ within a tunnel let the peer put the
    // pieces together (RFC 791 §2.3). The low half of a sequence number does.
    let [_, _, high, low] = header.sequence.unwrap_or_default().to_be_bytes();
    let identification = u16::from_be_bytes([high, low]);
    let ip = ipv4::header(payload, 0, identification, gre::IP_PROTOCOL, outer.local, outer.peer);
    push(frame, &ip)
}

fn push(frame: &mut Frame, bytes: &[u8]) -> bool {
    let room = frame.push_front(bytes.len());
    room.map(|room| room.copy_from_slice(bytes)).is_some()
}
