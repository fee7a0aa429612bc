//! ICMPv6 errors about inner packets that cannot go on.
//!
//! Implements RFC 4443 §2.2 (whose address they come from), §2.4 (what an error looks like, who gets
//! none, and how many), §3.1 (Destination Unreachable) and §3.2 (Packet Too Big). They go to the kernel
//! by the TUN, as IPv6 knows no martian sources, and it routes them.

use std::net::Ipv6Addr;

use crate::api::DropReason;
use crate::frame::Frame;
use crate::ipv6::{self, View};
use crate::worker::Core;

/// Octets of an error before the packet that it is about.
const HEADER_LEN: usize = 8;
/// The longest error, with its IP header: what every link carries (RFC 4443 §2.4 (c)).
const MAX_LEN: usize = 1280;
/// Messages from here on are no errors (RFC 4443 §2.1).
const FIRST_INFORMATION: u8 = 128;
const REDIRECT: u8 = 137;

/// Why a packet cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Error {
    /// Nobody has the address (RFC 4443 §3.1).
    AddressUnreachable,
    /// It is too large for the tunnel, whose MTU this is (RFC 4443 §3.2).
    TooBig(u16),
}

impl Error {
    /// Type, code, checksum to be filled in, and the word that depends on them.
    const fn header(self) -> [u8; HEADER_LEN] {
        match self {
            Self::AddressUnreachable => [1, 3, 0, 0, 0, 0, 0, 0],
            Self::TooBig(mtu) => {
                let [high, low] = mtu.to_be_bytes();
                [2, 0, 0, 0, 0, 0, high, low]
            }
        }
    }
}

/// Drops a packet for an address of ours that has no tunnel, and tells its source so.
#[cold]
pub(crate) fn unreachable(core: &mut Core, frame: Frame, view: &View) {
    core.sink.count(DropReason::NoTunnel);
    if !deserves_error(frame.data(), view) {
        return core.sink.pool.put(frame);
    }
    let is_allowed = core.icmp.allows_unreachable(core.now);
    let from = if is_allowed { (core.source_toward)(view.source) } else { None };
    answer(core, frame, Error::AddressUnreachable, from, view.source);
}

/// Drops a packet that is too large for the tunnel in `slot`, and tells its source the MTU, from our
/// end of the tunnel.
pub(crate) fn too_big(core: &mut Core, frame: Frame, view: &View, slot: u32, mtu: u16) {
    let reason = DropReason::TooBig;
    core.sink.count(reason);
    let now = core.now;
    let Some(tunnel) = core.table.tunnel(slot) else { return core.sink.pool.put(frame) };
    tunnel.shared.drops.add(reason);
    let local = tunnel.ipv6.as_ref().map(|ipv6| ipv6.local);
    let Some(local) = local.filter(|_| deserves_error(frame.data(), view)) else {
        return core.sink.pool.put(frame);
    };
    let is_allowed = tunnel.errors.allows(now) && core.icmp.allows_too_big(now);
    answer(core, frame, Error::TooBig(mtu), is_allowed.then_some(local), view.source);
}

/// Sends the error, in the frame of the packet that it is about, if there is somebody to send it.
fn answer(core: &mut Core, mut frame: Frame, error: Error, from: Option<Ipv6Addr>, to: Ipv6Addr) {
    if from.is_some_and(|from| turn_into_error(&mut frame, error, from, to)) {
        core.sink.meter.originated.add(1);
        core.sink.meter.icmp_errors.add(1);
        core.exits.kernel(&mut core.sink, frame);
    } else {
        core.sink.meter.icmp_suppressed.add(1);
        core.sink.pool.put(frame);
    }
}

/// Whether a packet's source may be told of its fate (RFC 4443 §2.4 (e)): a Packet Too Big is sent
/// for multicast too, but there is none here.
fn deserves_error(packet: &[u8], view: &View) -> bool {
    let is_error = match ipv6::upper(packet, view) {
        Some(upper) if upper.protocol == ipv6::ICMPV6 => !matches!(
            packet.get(upper.offset),
            Some(&kind) if !upper.is_later && kind >= FIRST_INFORMATION && kind != REDIRECT
        ),
        _ => false,
    };
    !is_error && ipv6::is_forwarded(view.source)
}

/// Puts both headers before as much of the packet as an error quotes.
fn turn_into_error(frame: &mut Frame, error: Error, from: Ipv6Addr, to: Ipv6Addr) -> bool {
    frame.truncate(MAX_LEN - ipv6::HEADER_LEN - HEADER_LEN);
    let Some(room) = frame.push_front(HEADER_LEN) else { return false };
    room.copy_from_slice(&error.header());
    let checksum = !ipv6::pseudo_sum(from, to, ipv6::ICMPV6, frame.data());
    if let Some(field) = frame.data_mut().get_mut(2..4) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
    let Ok(len) = u16::try_from(frame.len()) else { return false };
    let Some(room) = frame.push_front(ipv6::HEADER_LEN) else { return false };
    room.copy_from_slice(&ipv6::header(len, ipv6::ICMPV6, from, to));
    true
}
