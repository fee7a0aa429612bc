//! From the subscriber: GRE packets in, inner IP packets out, in stages over a whole burst.
//!
//! Implements RFC 2637 §4 (GRE), RFC 1661 §2 (PPP frames), RFC 3078 §8 (which MPPE packets are
//! taken) and RFC 1812 §5.2.2, §5.3.7 (what a router verifies). Never lets a packet move a key, a
//! window or an acknowledgement that was not accepted, nor plain data of an encrypted tunnel pass.

mod inspect;
mod ipv6;

use std::sync::Arc;

use protocol::gre::{self, Verdict};
use protocol::mppe::Header as MppeHeader;
use protocol::ppp::frame::{self as ppp, Protocol};

use crate::api::{DropReason, Event};
use crate::bridge;
use crate::forward;
use crate::frame::Frame;
use crate::inner::{ecn, mss};
use crate::ipv4::{self, View};
use crate::mailbox::Handed;
use crate::mppe::state::SKIPPED_KEYS;
use crate::mppe::{Payloads, ReceiveBurst, Refused, stateful};
use crate::multilink::{self, Fragment, Whole};
use crate::stage::Stage;
use crate::table::{Call, Half, Place, Protection, Table, Tunnel};
use crate::worker::{BURST, Core, From};
use inspect::{inspect, inspect_plaintext, look};

/// What waits between stages. Empty between bursts; kept for its capacity.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    plain: Vec<Data>,
    /// In the order of the burst below.
    encrypted: Vec<Encrypted>,
    mppe: ReceiveBurst,
    /// Of tunnels with stateful MPPE.
    stateful: Vec<(Data, MppeHeader)>,
}

/// A GRE packet of one of this worker's tunnels: its payload.
struct Admitted {
    frame: Frame,
    slot: u32,
    header: gre::Header,
    /// The outer type of service.
    tos: u8,
}

/// A data frame of one of this worker's tunnels, from the inner packet on.
#[derive(Debug)]
struct Data {
    frame: Frame,
    slot: u32,
    sequence: u32,
    /// The outer type of service.
    tos: u8,
}

/// The same, still encrypted or just decrypted: from the inner protocol number on.
#[derive(Debug)]
struct Encrypted {
    data: Data,
    /// Whether the plaintext is a packet of the tunnel's, once there is one.
    verdict: Result<(), DropReason>,
}

impl Payloads for [Encrypted] {
    fn payload(&mut self, packet: usize) -> &mut [u8] {
        self.get_mut(packet).map_or(&mut [], |packet| packet.data.frame.data_mut())
    }
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

/// Takes packets that start with the outer IP header through all stages. What is for another
/// subscriber waits for the downlink afterwards.
pub(crate) fn run(core: &mut Core, frames: &mut Vec<Frame>, from: From) {
    if frames.is_empty() {
        return;
    }
    core.watch.begin();
    let mut stages = std::mem::take(&mut core.uplink);
    for frames in frames.chunks(BURST) {
        expect(core, frames);
    }
    stages.mppe.clear();
    for frame in frames.drain(..) {
        admit(core, frame, from, &mut stages);
    }
    core.watch.end(Stage::Admit);
    for data in stages.plain.drain(..) {
        inspect_plain(core, data, |packet, tunnel| {
            if tunnel.bridge.is_some() && bridge::is_bridged(packet) {
                let believable = bridge::is_believable(packet);
                return believable.then_some(()).ok_or(DropReason::InnerMalformed);
            }
            inspect(packet, tunnel.network.as_ref())
        });
    }
    for (data, header) in stages.stateful.drain(..) {
        decrypt_stateful(core, data, header);
    }
    core.watch.end(Stage::Forward);
    decrypt(core, &mut stages);
    core.uplink = stages;
}

/// Has the processor fetch what a burst will need. Takes any octets for Call IDs: a wrong one costs
/// a fetch in vain.
fn expect(core: &Core, frames: &[Frame]) {
    /// Where the Call ID stands behind an IP header without options.
    const CALL_ID: usize = ipv4::HEADER_LEN + 6;
    core.table.expect_calls(frames.iter().map(|frame| {
        let octets = frame.data().get(CALL_ID..).and_then(<[u8]>::first_chunk);
        u16::from_be_bytes(octets.copied().unwrap_or_default())
    }));
}

/// Takes the outer headers off and finds the tunnel. Leaves GRE's payload in the frame.
#[inline]
fn admit(core: &mut Core, mut frame: Frame, from: From, stages: &mut Stages) {
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

/// Whether a packet that came by a port of both roles is a subscriber's GRE of a tunnel of ours;
/// GRE to a subscriber is a packet like any other.
pub(crate) fn is_for(table: &Table, packet: &[u8]) -> bool {
    matches!(call(table, packet), Some(Call::Known(_)))
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
        let data = Data { frame, slot, sequence, tos };
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
    let data = Data { frame, slot, sequence, tos };
    if matches!(kind, Kind::Stateful) {
        stages.stateful.push((data, header));
    } else {
        stages.mppe.push(slot, sequence, header, data.frame.len());
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
    let bytes = [&protocol.number().to_be_bytes(), payload].concat();
    let (id, shared) = (tunnel.id, Arc::clone(&tunnel.shared));
    if core.tell(Event::Control { tunnel: id, frame: bytes.into() }) {
        core.sink.consume(frame);
    } else {
        core.sink.drop_of(frame, DropReason::EventsFull, &shared);
    }
}

/// A plain packet of a tunnel without encryption.
fn inspect_plain(
    core: &mut Core,
    data: Data,
    inspect: impl FnOnce(&[u8], &Tunnel) -> Result<(), DropReason>,
) {
    let Some(tunnel) = core.table.tunnel(data.slot) else {
        core.sink.drop(data.frame, DropReason::TunnelUnknown);
        return;
    };
    // Again, for the same number may be in the burst twice.
    if matches!(tunnel.window.check(data.sequence), Verdict::Duplicate | Verdict::TooOld) {
        tunnel.shared.duplicates.add(1);
        core.sink.drop_of(data.frame, DropReason::SequenceReplayed, &tunnel.shared);
        return;
    }
    match inspect(data.frame.data(), tunnel) {
        Ok(()) => pass(core, data),
        Err(reason) => core.sink.drop_of(data.frame, reason, &tunnel.shared),
    }
}

/// Stateful MPPE. A packet that cannot be read has the control plane ask the peer to start again.
fn decrypt_stateful(core: &mut Core, data: Data, header: MppeHeader) {
    let Data { mut frame, slot, sequence, tos } = data;
    let now = core.now;
    let Some(tunnel) = core.table.tunnel(slot) else {
        return core.sink.drop(frame, DropReason::TunnelUnknown);
    };
    let Protection::Stateful(mppe) = &mut tunnel.protection else {
        return core.sink.drop_of(frame, DropReason::NetworkClosed, &tunnel.shared);
    };
    let Half::Stateful(receiver) = &mut mppe.receive else {
        return core.sink.drop_of(frame, DropReason::NetworkClosed, &tunnel.shared);
    };
    let missing = match tunnel.window.check(sequence) {
        Verdict::New { gap } => tunnel.window.highest().map(|_| gap),
        // The keystream has run past it.
        Verdict::Late { .. } => {
            return core.sink.drop_of(frame, DropReason::MppeOutOfStep, &tunnel.shared);
        }
        Verdict::Duplicate | Verdict::TooOld => {
            tunnel.shared.duplicates.add(1);
            return core.sink.drop_of(frame, DropReason::SequenceReplayed, &tunnel.shared);
        }
    };
    let (network, ipv6) = (tunnel.network.as_ref(), tunnel.ipv6.as_deref());
    let bridged = tunnel.bridge.is_some();
    // A good header with a source that the peer has from elsewhere is the peer's too.
    let believes = |plaintext: &[u8]| {
        matches!(look(plaintext, network, ipv6, bridged), Ok(_) | Err(DropReason::SourceForeign))
    };
    let result = receiver.decrypt(header, missing, now, frame.data_mut(), believes);
    if let Err(refused) = result {
        let reason = match refused {
            stateful::Refused::NotEncrypted => DropReason::MppeMalformed,
            stateful::Refused::OutOfStep => DropReason::MppeOutOfStep,
            stateful::Refused::OverBudget => DropReason::MppeBudget,
            stateful::Refused::Plaintext => DropReason::MppeRefused,
        };
        let ask = mppe.asks.allows(now).then_some(tunnel.id);
        core.sink.drop_of(frame, reason, &tunnel.shared);
        if let Some(tunnel) = ask {
            // One that finds the ring full is made up for by the next packet.
            core.tell(Event::OutOfStep { tunnel });
        }
        return;
    }
    match inspect_plaintext(&mut frame, network, ipv6, bridged) {
        Ok(()) => pass(core, Data { frame, slot, sequence, tos }),
        Err(reason) => leaked(core, Data { frame, slot, sequence, tos }, reason),
    }
}

/// MPPE over the burst: keys, keystream, then a look at each plaintext before anything moves.
fn decrypt(core: &mut Core, stages: &mut Stages) {
    let Stages { encrypted, mppe, .. } = stages;
    if encrypted.is_empty() {
        return;
    }
    mppe.plan(core.now, &mut core.table);
    core.cipher.derive_keys(mppe);
    core.watch.end(Stage::Keys);
    core.cipher.apply(mppe, encrypted.as_mut_slice());
    core.watch.end(Stage::Keystream);
    for (index, packet) in encrypted.iter_mut().enumerate() {
        let Some(tunnel) = core.table.tunnel(packet.data.slot) else { continue };
        if mppe.status(index).is_ok() {
            let (network, ipv6) = (tunnel.network.as_ref(), tunnel.ipv6.as_deref());
            packet.verdict =
                inspect_plaintext(&mut packet.data.frame, network, ipv6, tunnel.bridge.is_some());
            if is_credible(packet, tunnel) {
                mppe.accept(index);
            }
            if let Some(destination) = ipv4::destination(packet.data.frame.data()) {
                core.table.expect_destination(destination);
                core.exits.expect_remembered(destination);
            }
        }
    }
    mppe.commit(&mut core.table);
    core.watch.end(Stage::Inspect);
    for encrypted in encrypted.chunks(BURST) {
        let accepted = encrypted.iter().filter(|packet| packet.verdict.is_ok());
        core.exits
            .expect(accepted.filter_map(|packet| ipv4::destination(packet.data.frame.data())));
    }
    for (index, Encrypted { data, verdict }) in encrypted.drain(..).enumerate() {
        match (mppe.status(index), verdict) {
            (Ok(()), Ok(())) => pass(core, data),
            (Ok(()), Err(reason)) => leaked(core, data, reason),
            (Err(refused), verdict) => refuse(core, data, refused, verdict),
        }
    }
    core.watch.end(Stage::Forward);
}

/// A packet that is the peer's, but may not pass: it counts as one that came.
#[cold]
fn leaked(core: &mut Core, data: Data, reason: DropReason) {
    let Some(tunnel) = core.table.tunnel(data.slot) else {
        return core.sink.drop(data.frame, DropReason::TunnelUnknown);
    };
    tunnel.accepted(data.sequence, core.now);
    core.acks.note(tunnel, core.now);
    core.sink.drop_of(data.frame, reason, &tunnel.shared);
}

/// A packet that MPPE has no key for, or whose plaintext is not the peer's.
#[cold]
fn refuse(core: &mut Core, data: Data, refused: Refused, verdict: Result<(), DropReason>) {
    let Some(tunnel) = core.table.tunnel(data.slot) else {
        return core.sink.drop(data.frame, DropReason::TunnelUnknown);
    };
    if matches!(refused, Refused::Replay | Refused::Late) {
        tunnel.shared.duplicates.add(1);
    }
    let reason = verdict.err().filter(|_| refused == Refused::Plaintext);
    let reason = reason.unwrap_or_else(|| drop_reason(refused));
    core.sink.drop_of(data.frame, reason, &tunnel.shared);
}

/// Whether the packet comes from the peer, so that keys, window and acknowledgement may move. A
/// good IPv4 header with the tunnel's source address says so. So does one with a source that the
/// peer has from elsewhere, but only as close to the last packet as skipped keys are kept: were it
/// a forgery that hit by chance, the true packets would still find theirs.
fn is_credible(packet: &Encrypted, tunnel: &Tunnel) -> bool {
    match packet.verdict {
        Ok(()) => true,
        Err(DropReason::SourceForeign) => match tunnel.window.check(packet.data.sequence) {
            Verdict::New { gap } => (gap as usize) < SKIPPED_KEYS,
            Verdict::Late { .. } => true,
            Verdict::Duplicate | Verdict::TooOld => false,
        },
        Err(_) => false,
    }
}

const fn drop_reason(refused: Refused) -> DropReason {
    match refused {
        Refused::NoKeys => DropReason::NetworkClosed,
        Refused::NotEncrypted | Refused::NotFlushed | Refused::Inconsistent => {
            DropReason::MppeMalformed
        }
        Refused::Late | Refused::Replay => DropReason::SequenceReplayed,
        Refused::WalkPending | Refused::OverBudget => DropReason::MppeBudget,
        Refused::Plaintext => DropReason::MppeRefused,
    }
}

/// A packet that was inspected is accepted, counted and goes on its way, unless the tunnel's rules or
/// rate end it.
#[inline]
fn pass(core: &mut Core, data: Data) {
    let Core { table, sink, acks, now, .. } = core;
    let Data { mut frame, slot, sequence, tos } = data;
    let Some(tunnel) = table.tunnel(slot) else {
        return sink.drop(frame, DropReason::TunnelUnknown);
    };
    tunnel.accepted(sequence, *now);
    acks.note(tunnel, *now);
    if frame.data().first().is_none_or(|octet| octet >> 4 != 4) {
        return pass_other(core, Data { frame, slot, sequence, tos });
    }
    // Read again rather than kept: its line of memory is at hand, and a copy would be as long.
    let Some(mut inner) = View::read(frame.data()) else {
        return sink.drop(frame, DropReason::InnerMalformed);
    };
    // What follows is padding of PPP (RFC 1661 §2).
    frame.truncate(inner.total_len);
    inner.tos = match ecn::decapsulate(frame.data_mut(), tos) {
        Ok(tos) => tos,
        Err(ecn::Congested) => {
            return sink.drop_of(frame, DropReason::Congestion, &tunnel.shared);
        }
    };
    tunnel.shared.rx_packets.add(1);
    tunnel.shared.rx_bytes.add(inner.total_len as u64);
    tunnel.shared.rx_active.set(*now);
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
    forward::from_subscriber(core, frame, inner, slot, way);
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
