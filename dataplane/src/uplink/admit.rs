//! Whose a GRE packet is, and what its PPP frame is to the tunnel.
//!
//! Implements RFC 2637 §4.1 (GRE) and RFC 1661 §2 (PPP frames). Moves no window, no key and no
//! acknowledgement of data: that takes a packet that was inspected.

use std::sync::Arc;

use protocol::gre::{self, Verdict};
use protocol::mppe::Header as MppeHeader;
use protocol::ppp::frame::{self as ppp, Protocol};

use super::plain::inspect_plain;
use super::{Data, Encrypted, Stages, echo, ipv6};
use crate::api::{DropReason, Event};
use crate::frame::Frame;
use crate::ipv4::View;
use crate::mailbox::Handed;
use crate::multilink::{self, Fragment, Whole};
use crate::table::{Call, Half, Place, Protection, Table, Tunnel};
use crate::worker::{Core, From};

/// A GRE packet of one of this worker's tunnels: its payload.
struct Admitted {
    frame: Frame,
    slot: u32,
    header: gre::Header,
    /// The outer type of service.
    tos: u8,
}

/// What a PPP frame is to its tunnel.
enum Kind {
    /// The control plane's.
    Control,
    /// A plain IPv4 packet, and the tunnel has no encryption.
    Plain,
    /// The same of IPv6.
    PlainIpv6,
    /// An MPPE datagram, and the tunnel has keys.
    Encrypted,
    /// The same, and they are stateful MPPE's.
    Stateful,
    /// A fragment of any of these, and the tunnel has multilink.
    Fragment,
}

/// Takes the outer headers off and finds the tunnel. Leaves GRE's payload in the frame.
#[inline]
pub(super) fn admit(core: &mut Core, mut frame: Frame, from: From, stages: &mut Stages) {
    let (ip, header) = match outer(frame.data()) {
        Ok(headers) => headers,
        Err(reason) => return core.sink.drop(frame, reason),
    };
    // Never by Call ID alone: two peers may share an address, and anyone may guess a number.
    match core.table.call(ip.source, ip.destination, header.call_id) {
        Call::Known(Place::Here(slot)) => {
            let fits = frame.pull_front(ip.header_len + header.header_len());
            debug_assert!(fits, "both headers were parsed out of this frame");
            // The key's length, for Ethernet pads short frames (RFC 2637 §4.1).
            frame.truncate(usize::from(header.payload_len));
            classify(core, Admitted { frame, slot, header, tos: ip.tos }, stages);
        }
        Call::Known(Place::Worker(owner)) => core.hand_over(owner, Handed::Uplink(frame), from),
        Call::OtherPeer => core.sink.drop(frame, DropReason::PeerForeign),
        Call::Unknown => core.sink.drop(frame, DropReason::TunnelUnknown),
    }
}

/// Whether a packet that came by a port of both roles is GRE to us, of a tunnel that lives or of none;
/// GRE to a subscriber is a packet like any other.
pub(crate) fn is_for(table: &Table, packet: &[u8]) -> bool {
    let ip = View::parse(packet).filter(|ip| ip.protocol == gre::IP_PROTOCOL);
    ip.is_some_and(|ip| table.is_local(ip.destination))
}

/// Whose a packet is that starts with the outer IP header. `None`: it is none of PPTP.
pub(crate) fn call(table: &Table, packet: &[u8]) -> Option<Call> {
    let (ip, gre) = outer(packet).ok()?;
    Some(table.call(ip.source, ip.destination, gre.call_id))
}

#[expect(clippy::inline_always, reason = "fields are to stay in registers, not to be copied")]
#[inline(always)]
fn outer(packet: &[u8]) -> Result<(View, gre::Header), DropReason> {
    let ip = View::parse(packet)
        .filter(|ip| ip.protocol == gre::IP_PROTOCOL && !ip.is_fragment())
        .ok_or(DropReason::OuterMalformed)?;
    let payload = packet.get(ip.header_len..ip.total_len).unwrap_or_default();
    match gre::Header::parse(payload) {
        Ok((header, _)) => Ok((ip, header)),
        Err(gre::Error::NotOurs { .. }) => Err(DropReason::GreForeign),
        Err(gre::Error::Malformed(_)) => Err(DropReason::GreMalformed),
    }
}

/// Control frames leave here; data frames go on if the tunnel takes such frames now.
#[expect(clippy::inline_always, reason = "a header is to stay in registers, not to be copied")]
#[inline(always)]
fn classify(
    core: &mut Core,
    Admitted { mut frame, slot, header, tos }: Admitted,
    stages: &mut Stages,
) {
    let now = core.now;
    let Some(tunnel) = core.table.tunnel(slot) else {
        core.sink.drop(frame, DropReason::TunnelUnknown);
        return;
    };
    tunnel.shared.heard.set(now);
    if let Some(number) = header.acknowledgment {
        tunnel.acknowledged(number, now);
    }
    let Some(sequence) = header.sequence else {
        // An acknowledgement alone.
        core.sink.consume(frame);
        return;
    };
    let Ok((protocol, payload)) = ppp::parse(frame.data()) else {
        core.sink.drop_of(frame, DropReason::PppMalformed, &tunnel.shared);
        return;
    };
    let start = frame.len() - payload.len();
    let kind = match kind(tunnel, protocol) {
        Ok(Kind::Control) => return control(core, frame, slot, sequence),
        Ok(Kind::Fragment) => {
            let fits = frame.pull_front(start);
            debug_assert!(fits, "the header was parsed out of this frame");
            return join(core, Fragment { frame, slot, sequence, tos }, stages);
        }
        Ok(kind) => kind,
        Err(reason) => return core.sink.drop_of(frame, reason, &tunnel.shared),
    };
    if matches!(tunnel.window.check(sequence), Verdict::Duplicate | Verdict::TooOld) {
        tunnel.shared.duplicates.add(1);
        core.sink.drop_of(frame, DropReason::SequenceReplayed, &tunnel.shared);
        return;
    }
    if matches!(kind, Kind::Plain | Kind::PlainIpv6) {
        // The low octet of a bridged packet's protocol stays as its mark.
        let fits = frame.pull_front(start - usize::from(protocol == Protocol::BRIDGED));
        debug_assert!(fits, "the header was parsed out of this frame");
        let data = Data { frame, slot, sequence, tos, to: Table::NOWHERE };
        match kind {
            Kind::PlainIpv6 => inspect_plain(core, data, |packet, tunnel| {
                ipv6::inspect(packet, tunnel.ipv6.as_deref())
            }),
            _ => stages.plain.push(data),
        }
        return;
    }
    let header = payload.first_chunk().copied().map(MppeHeader::from_octets);
    let Some(header) = header.filter(|_| frame.pull_front(start + MppeHeader::LEN)) else {
        return core.sink.drop_of(frame, DropReason::MppeMalformed, &tunnel.shared);
    };
    let data = Data { frame, slot, sequence, tos, to: Table::NOWHERE };
    if matches!(kind, Kind::Stateful) {
        stages.stateful.push((data, header));
    } else {
        let state = tunnel.protection.receive_state();
        stages.mppe.push(slot, state, sequence, header, data.frame.len());
        stages.encrypted.push(Encrypted { data, verdict: Err(DropReason::MppeRefused) });
    }
}

/// Puts a fragment to the others of its packet, which goes on if it is whole.
#[cold]
fn join(core: &mut Core, fragment: Fragment, stages: &mut Stages) {
    let slot = fragment.slot;
    if let Some(Whole { frame, sequence, tos }) = multilink::receive(core, fragment) {
        let header = gre::Header {
            call_id: 0,
            payload_len: 0,
            sequence: Some(sequence),
            acknowledgment: None,
        };
        // Once more at most: no fragment is inside of one.
        classify(core, Admitted { frame, slot, header, tos }, stages);
    }
}

#[inline]
fn kind(tunnel: &Tunnel, protocol: Protocol) -> Result<Kind, DropReason> {
    let open = tunnel.network.is_some();
    match (&tunnel.protection, protocol) {
        (_, protocol) if !protocol.is_data() => Ok(Kind::Control),
        (Protection::Mppe(_), Protocol::COMPRESSED) if open => Ok(Kind::Encrypted),
        (Protection::Stateful(mppe), Protocol::COMPRESSED) if open => Ok(match mppe.receive {
            Half::Stateless(_) => Kind::Encrypted,
            Half::Stateful(_) => Kind::Stateful,
        }),
        (Protection::None, Protocol::IPV4) if open => Ok(Kind::Plain),
        (Protection::None, Protocol::BRIDGED) if open && tunnel.bridge.is_some() => Ok(Kind::Plain),
        (_, Protocol::MULTILINK)
            if tunnel.multilink.as_ref().is_some_and(|state| state.receives()) =>
        {
            Ok(Kind::Fragment)
        }
        (Protection::None, Protocol::IPV6) if open && tunnel.ipv6.is_some() => Ok(Kind::PlainIpv6),
        (Protection::Mppe(_) | Protection::Stateful(_), Protocol::COMPRESSED)
        | (Protection::None, Protocol::IPV4)
        | (Protection::Unset, _) => Err(DropReason::NetworkClosed),
        (Protection::Mppe(_) | Protection::Stateful(_), _) => Err(DropReason::PlaintextRefused),
        (Protection::None, Protocol::COMPRESSED) => Err(DropReason::EncryptionUnexpected),
        // LCP has to reject a network protocol that nobody opened (RFC 1661 §5.7).
        (Protection::None, _) => Ok(Kind::Control),
    }
}

/// Gives a control frame to the control plane. The replay window has no say: echoes and CCP must
/// get through in any order, and their machines know how to take a repetition.
#[cold]
fn control(core: &mut Core, frame: Frame, slot: u32, sequence: u32) {
    let Some(tunnel) = core.table.tunnel(slot) else {
        core.sink.drop(frame, DropReason::TunnelUnknown);
        return;
    };
    tunnel.clear_frame(sequence, core.now);
    core.acks.note(tunnel, core.now);
    if !tunnel.control.allows(core.now) {
        core.sink.drop_of(frame, DropReason::ControlRateLimited, &tunnel.shared);
        return;
    }
    let Ok((protocol, payload)) = ppp::parse(frame.data()) else {
        core.sink.drop_of(frame, DropReason::PppMalformed, &tunnel.shared);
        return;
    };
    match echo::read(tunnel, protocol, payload) {
        Some(echo::Echo::Request(length)) => {
            let start = frame.len() - payload.len();
            return echo::answer(core, frame, slot, start..start + length);
        }
        // It was heard, which is all that it is for.
        Some(echo::Echo::Reply) => return core.sink.consume(frame),
        None => {}
    }
    let bytes = [&protocol.number().to_be_bytes(), payload].concat();
    let (id, shared) = (tunnel.id, Arc::clone(&tunnel.shared));
    if core.tell(Event::Control { tunnel: id, frame: bytes.into() }) {
        core.sink.consume(frame);
    } else {
        core.sink.drop_of(frame, DropReason::EventsFull, &shared);
    }
}
