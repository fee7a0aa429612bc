//! To the subscriber: inner IP packets in, GRE packets out, in stages over a whole burst.
//!
//! Implements RFC 3078 §7 (keys of packets), RFC 1661 §2 (PPP frames), RFC 2637 §4 (GRE)
//! and RFC 1812 §4.2.2.7, §5.2.6 (what is too large is cut, or answered). Never sends plain data of
//! an encrypted tunnel, and never gives a packet back to the kernel.

mod ipv6;

use std::net::Ipv4Addr;

use protocol::gre;
use protocol::ppp::frame::{Framing, Header as PppHeader, Protocol};
use protocol::time::Instant;

use crate::api::{DropReason, Outer, TunnelId};
use crate::bridge;
use crate::frame::Frame;
use crate::inner::icmp::{self, Error};
use crate::inner::{ecn, fragment, mss};
use crate::ipv4::{self, View};
use crate::link;
use crate::mailbox::Handed;
use crate::mppe::{Payloads, SendBurst};
use crate::multilink::{self, Outgoing};
use crate::shape::{Offer, Release, Store};
use crate::stage::Stage;
use crate::table::{Direction, Half, Place, Protection, Tunnel};
use crate::worker::{BURST, Core, From, Sink};

/// All that can come before an inner packet: Ethernet with its tags, IPv4 20, GRE 16, PPP 4,
/// multilink 4 and the protocol in it 2, MPPE 2 and the inner protocol 2.
pub(crate) const HEADERS: usize = link::MAX_HEADER_LEN + 50;

/// The outer type of service of control frames and lone acknowledgements: no special one.
const CONTROL_TOS: u8 = 0;

/// Packets that leave queues in one turn of a worker…
const RELEASES: usize = 4 * BURST;
/// …and those of one tunnel before others have their turn.
const RELEASES_PER_TURN: usize = BURST / 2;

/// What waits between stages. Empty between bursts; kept for its capacity.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    /// The slots of the tunnels that the packets of a burst are for.
    slots: Vec<u32>,
    /// Packets whose tunnel is known, in the order in which they came.
    waiting: Vec<Inner>,
    /// All but the first piece of the packet that was cut last.
    pieces: Vec<Frame>,
    plain: Vec<Ready>,
    /// In the order of the burst below.
    encrypted: Vec<Ready>,
    mppe: SendBurst,
    /// Of tunnels with stateful MPPE.
    stateful: Vec<Ready>,
}

impl Stages {
    /// Puts a packet for a tunnel of this worker in, verified and its Time To Live settled.
    #[inline]
    pub(crate) fn push(&mut self, frame: Frame, slot: u32) {
        self.waiting.push(Inner { frame, slot });
    }
}

/// An IP packet for one of this worker's tunnels.
#[derive(Debug)]
struct Inner {
    frame: Frame,
    slot: u32,
}

/// A packet that fits its tunnel, from the IP header on.
struct Fit {
    frame: Frame,
    slot: u32,
    tos: u8,
}

/// A packet that its tunnel takes.
#[derive(Debug)]
struct Ready {
    /// Starts with the inner protocol number if it is to be encrypted, with the IP header if not.
    frame: Frame,
    slot: u32,
    /// What the frame is to PPP.
    protocol: Protocol,
    /// Octets of the inner packet.
    length: usize,
    /// The inner type of service, which is the outer one too: DSCP (RFC 2983 §3) and ECN
    /// (RFC 6040 §4.1, normal mode).
    tos: u8,
}

impl Payloads for [Ready] {
    fn payload(&mut self, packet: usize) -> &mut [u8] {
        self.get_mut(packet).map_or(&mut [], |ready| ready.frame.data_mut())
    }
}

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
            // Its rules apply to this tunnel. The XDP program passes such packets as soon as it
            // knows.
            if to.through_kernel {
                core.exits.kernel(&mut core.sink, frame);
                continue;
            }
            if inner.ttl <= 1 {
                icmp::refuse(core, frame, inner, DropReason::TtlExceeded, Error::TimeExceeded);
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
fn view(frame: &mut Frame) -> Result<View, DropReason> {
    let Some(inner) = View::parse(frame.data()) else {
        let is_ipv6 = crate::ipv6::is_ipv6(frame.data());
        return Err(if is_ipv6 { DropReason::NotIpv4 } else { DropReason::CoreMalformed });
    };
    frame.truncate(inner.total_len);
    Ok(inner)
}

/// Takes the packets that wait through all stages, and those whose tunnel's rate has a turn for
/// them. `true` if there was such a turn.
pub(crate) fn run(core: &mut Core) -> bool {
    let is_due = core.waiting.deadline().is_some_and(|at| at <= core.now);
    if core.downlink.waiting.is_empty() && !is_due {
        return false;
    }
    core.watch.begin();
    let mut stages = std::mem::take(&mut core.downlink);
    stages.waiting.iter().for_each(|packet| packet.frame.prefetch_headroom());
    stages.slots.extend(stages.waiting.iter().map(|packet| packet.slot));
    core.table.expect_tunnels(&stages.slots, Direction::Downlink);
    stages.slots.clear();
    stages.mppe.clear();
    let mut waiting = std::mem::take(&mut stages.waiting);
    for packet in waiting.drain(..) {
        prepare(core, packet, &mut stages);
    }
    stages.waiting = waiting;
    if is_due {
        release(core, &mut stages);
    }
    core.sink.meter.queued.set(core.waiting.len() as u64);
    core.watch.end(Stage::Prepare);
    for packet in stages.plain.drain(..) {
        send(core, packet);
    }
    for packet in stages.stateful.drain(..) {
        encrypt_stateful(core, packet);
    }
    if !stages.encrypted.is_empty() {
        core.watch.end(Stage::Envelope);
        stages.mppe.plan();
        core.cipher.derive_keys(&mut stages.mppe);
        core.watch.end(Stage::Keys);
        core.cipher.apply(&stages.mppe, stages.encrypted.as_mut_slice());
        core.watch.end(Stage::Keystream);
        for (index, mut packet) in stages.encrypted.drain(..).enumerate() {
            let header = stages.mppe.header(index);
            if header.is_some_and(|header| packet.frame.push_front_array(&header.to_octets())) {
                send(core, packet);
            } else {
                core.sink.drop(packet.frame, DropReason::NetworkClosed);
            }
        }
        stages.mppe.commit(&mut core.table);
    }
    core.watch.end(Stage::Envelope);
    core.downlink = stages;
    is_due
}

/// Lets out what waits in the queues whose turn has come, in bounded work: what is left is due
/// still, behind those that have waited longer.
fn release(core: &mut Core, stages: &mut Stages) {
    let Core { table, sink, waiting, now, .. } = core;
    let mut left = RELEASES;
    while left > 0
        && let Some((at, id)) = waiting.next_due(*now)
    {
        let Some(tunnel) = table.tunnel_by_id(id) else { continue };
        if !tunnel.queue().is_some_and(|queue| queue.begin(at)) {
            continue;
        }
        let turn = left.min(RELEASES_PER_TURN);
        for _ in 0..turn {
            let Some(release) = tunnel.queue().and_then(|queue| queue.release(waiting, *now))
            else {
                break;
            };
            left -= 1;
            match release {
                Release::Send { packet, marked } => {
                    sink.meter.ecn_marked.add(u64::from(marked));
                    let fit = Fit { frame: packet.frame, slot: id.slot, tos: packet.tos };
                    protect(sink, tunnel, fit, stages);
                }
                Release::Drop(frame) => {
                    sink.drop_of(frame, DropReason::QueueDelay, &tunnel.shared);
                }
            }
        }
        if let Some(queue) = tunnel.queue() {
            queue.schedule(waiting, id, *now);
        }
        tunnel.tidy();
    }
}

/// Makes the packet one that the tunnel takes, or several, or sends it back.
#[inline]
fn prepare(core: &mut Core, packet: Inner, stages: &mut Stages) {
    let Inner { mut frame, slot } = packet;
    if frame.data().first().is_none_or(|octet| octet >> 4 != 4) {
        return prepare_other(core, Inner { frame, slot }, stages);
    }
    let Core { table, sink, waiting, now, .. } = core;
    // Read again rather than kept: its line of memory is at hand, and a copy would be as long.
    let Some(view) = View::read(frame.data()) else {
        return sink.drop(frame, DropReason::CoreMalformed);
    };
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
        None => protect(sink, tunnel, fit, stages),
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
fn shape(
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
#[inline]
fn protect(sink: &mut Sink, tunnel: &mut Tunnel, fit: Fit, stages: &mut Stages) {
    let Fit { mut frame, slot, tos } = fit;
    if matches!(tunnel.protection, Protection::Unset) {
        return sink.drop_of(frame, DropReason::NetworkClosed, &tunnel.shared);
    }
    if frame.headroom() < HEADERS {
        return sink.drop_of(frame, DropReason::NoHeadroom, &tunnel.shared);
    }
    let protocol = take_protocol(&mut frame);
    let length = match protocol {
        Protocol::BRIDGED => bridge::payload(bridge::MARK_LEN + frame.len()),
        _ => frame.len(),
    };
    if matches!(tunnel.protection, Protection::None) {
        return stages.plain.push(Ready { frame, slot, protocol, length, tos });
    }
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
    match &tunnel.protection {
        Protection::Stateful(mppe) if matches!(mppe.send, Half::Stateful(_)) => {
            stages.stateful.push(ready);
        }
        _ => {
            stages.mppe.push(slot, tunnel.protection.send_state(), octets);
            stages.encrypted.push(ready);
        }
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

/// Encrypts a packet of a tunnel with stateful MPPE (RFC 3078 §7.2).
fn encrypt_stateful(core: &mut Core, mut packet: Ready) {
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

#[inline]
fn send(core: &mut Core, packet: Ready) {
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
    core.exits.peer(&mut core.sink, frame, tunnel.outer.peer, &mut tunnel.exit);
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
        frame.fill(payload)
            && push_ppp(&mut frame, protocol, tunnel.framing)
            && envelope(&mut frame, tunnel, CONTROL_TOS, core.now)
    });
    if sent {
        core.exits.peer(&mut core.sink, frame, tunnel.outer.peer, &mut tunnel.exit);
    } else {
        // Not a PPP frame, or larger than a packet can be.
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
    if push_outer(&mut frame, header, tunnel.outer, CONTROL_TOS) {
        core.exits.peer(&mut core.sink, frame, tunnel.outer.peer, &mut tunnel.exit);
    } else {
        core.sink.drop_of(frame, DropReason::NoHeadroom, &tunnel.shared);
    }
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
fn push_outer(frame: &mut Frame, header: gre::Header, outer: Outer, tos: u8) -> bool {
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
fn push_ppp(frame: &mut Frame, protocol: Protocol, framing: Framing) -> bool {
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
