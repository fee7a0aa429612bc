//! ICMP errors about inner packets that cannot go on, sent by the kernel like packets of its own.
//!
//! Implements RFC 792, RFC 1191 §4 (the next hop's MTU) and RFC 1812 §4.3.2 (what an error looks
//! like, who gets none, and how many). Never answers an error, nor anyone but a single host.

use std::net::Ipv4Addr;

use protocol::time::Instant;

use crate::api::DropReason;
use crate::frame::Frame;
use crate::ipv4::{self, View};
use crate::limit::Bucket;
use crate::worker::Core;

/// ICMP's protocol number.
const PROTOCOL: u8 = 1;
/// Octets of an ICMP error before the packet that it is about.
const HEADER_LEN: usize = 8;
/// The longest error, with its IP header (RFC 1812 §4.3.2.3).
const MAX_LEN: usize = 576;
/// Internetwork control (RFC 1812 §4.3.2.5).
const TOS: u8 = 0xC0;
/// Echo and its reply, timestamps, information and address masks: the types that are no errors.
/// About unknown ones there is no way to know.
const ECHO_REPLY: u8 = 0;
const ECHO: u8 = 8;
const TIMESTAMP: u8 = 13;
const MASK_REPLY: u8 = 18;

/// Why a packet cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Error {
    /// Nobody has the address (RFC 1812 §5.2.7.1).
    HostUnreachable,
    /// It is too large for the tunnel, and must not be cut (RFC 1191 §4).
    FragmentationNeeded {
        /// The tunnel's.
        mtu: u16,
    },
    /// Its time to live is over (RFC 1812 §5.3.1).
    TimeExceeded,
}

impl Error {
    /// Type, code, checksum to be filled in, and the word that depends on them.
    const fn header(self) -> [u8; HEADER_LEN] {
        match self {
            Self::HostUnreachable => [3, 1, 0, 0, 0, 0, 0, 0],
            Self::FragmentationNeeded { mtu } => {
                let [high, low] = mtu.to_be_bytes();
                [3, 4, 0, 0, 0, 0, high, low]
            }
            Self::TimeExceeded => [11, 0, 0, 0, 0, 0, 0, 0],
        }
    }
}

/// Errors that one tunnel's packets may cause: path MTU discovery needs one for each path, and a
/// few more when some are lost. Twenty at once, then ten a second.
pub(crate) type TunnelLimit = Bucket<20, 100_000>;

/// Errors that one worker sends (RFC 1812 §4.3.2.8): by kind, so that a scan of a pool's free
/// addresses does not silence path MTU discovery. A thousand a second of each.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    unreachable: Bucket<64, 1_000>,
    too_big: Bucket<64, 1_000>,
    expired: Bucket<64, 1_000>,
}

impl Limits {
    /// Whether IPv6 may tell of an address that nobody has.
    pub(crate) fn allows_unreachable(&mut self, now: Instant) -> bool {
        self.unreachable.allows(now)
    }

    /// Whether IPv6 may tell of a packet that is too big.
    pub(crate) fn allows_too_big(&mut self, now: Instant) -> bool {
        self.too_big.allows(now)
    }

    fn allow(&mut self, error: Error, now: Instant) -> bool {
        match error {
            Error::HostUnreachable => self.unreachable.allows(now),
            Error::FragmentationNeeded { .. } => self.too_big.allows(now),
            Error::TimeExceeded => self.expired.allows(now),
        }
    }
}

/// Drops a packet that is no tunnel's, and tells its source why. The kernel takes as the error's
/// source the address of the interface by which it leaves (RFC 1812 §4.3.2.4).
#[cold]
pub(crate) fn refuse(core: &mut Core, frame: Frame, view: View, reason: DropReason, error: Error) {
    core.sink.count(reason);
    if deserves_error(frame.data(), &view) {
        answer(core, frame, error, Ipv4Addr::UNSPECIFIED, view.source);
    } else {
        core.sink.pool.put(frame);
    }
}

/// Drops a packet for the tunnel in `slot`, and tells its source why, from our end of the tunnel.
pub(crate) fn refuse_of(
    core: &mut Core,
    frame: Frame,
    view: View,
    slot: u32,
    reason: DropReason,
    error: Error,
) {
    core.sink.count(reason);
    let now = core.now;
    let Some(tunnel) = core.table.tunnel(slot) else { return core.sink.pool.put(frame) };
    tunnel.shared.drops.add(reason);
    let local = tunnel.network.as_ref().map_or(Ipv4Addr::UNSPECIFIED, |network| network.local);
    if !deserves_error(frame.data(), &view) {
        core.sink.pool.put(frame);
    } else if tunnel.errors.allows(now) {
        answer(core, frame, error, local, view.source);
    } else {
        core.sink.meter.icmp_suppressed.add(1);
        core.sink.pool.put(frame);
    }
}

/// Sends the error, in the frame of the packet that it is about, which has been counted.
fn answer(core: &mut Core, mut frame: Frame, error: Error, from: Ipv4Addr, to: Ipv4Addr) {
    if core.icmp.allow(error, core.now) && turn_into_error(&mut frame, error, from, to) {
        core.sink.meter.originated.add(1);
        core.sink.meter.icmp_errors.add(1);
        core.exits.own(&mut core.sink, frame);
    } else {
        core.sink.meter.icmp_suppressed.add(1);
        core.sink.pool.put(frame);
    }
}

/// Whether a packet's source may be told of its fate (RFC 1812 §4.3.2.7).
fn deserves_error(packet: &[u8], view: &View) -> bool {
    let is_error = view.protocol == PROTOCOL
        && !matches!(
            packet.get(view.header_len),
            Some(&(ECHO_REPLY | ECHO | TIMESTAMP..=MASK_REPLY))
        );
    !is_error
        && view.fragment_offset == 0
        && ipv4::is_host(view.source)
        && ipv4::is_host(view.destination)
}

/// Puts both headers before as much of the packet as an error quotes. The packet is quoted as far
/// as it was changed on its way, which RFC 1812 §4.3.2.3 leaves to us.
fn turn_into_error(frame: &mut Frame, error: Error, from: Ipv4Addr, to: Ipv4Addr) -> bool {
    const HEADERS: usize = ipv4::HEADER_LEN + HEADER_LEN;
    frame.truncate(MAX_LEN - HEADERS);
    let Some(room) = frame.push_front(HEADER_LEN) else { return false };
    room.copy_from_slice(&error.header());
    let checksum = !ipv4::sum(frame.data());
    if let Some(field) = frame.data_mut().get_mut(2..4) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
    let Ok(len) = u16::try_from(frame.len()) else { return false };
    let Some(room) = frame.push_front(ipv4::HEADER_LEN) else { return false };
    // The kernel gives it an identification (raw(7)).
    room.copy_from_slice(&ipv4::header(len, TOS, 0, PROTOCOL, from, to));
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{Pool, Region};

    const SOURCE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
    const DESTINATION: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
    const LOCAL: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let len = u16::try_from(payload.len()).unwrap();
        let header = ipv4::header(len, 0, 7, protocol, SOURCE, DESTINATION);
        [&header[..], payload].concat()
    }

    fn error_about(packet: &[u8], error: Error) -> Vec<u8> {
        let mut frame = Pool::new(Region::new(64).unwrap(), 64).take().unwrap();
        assert!(frame.fill(packet));
        assert!(turn_into_error(&mut frame, error, LOCAL, SOURCE));
        frame.data().to_vec()
    }

    /// RFC 792, RFC 1191 §4.
    #[test]
    fn errors_have_their_type_code_and_mtu() {
        for (error, expected) in [
            (Error::HostUnreachable, [3, 1, 0, 0, 0, 0]),
            (Error::FragmentationNeeded { mtu: 1400 }, [3, 4, 0, 0, 0x05, 0x78]),
            (Error::TimeExceeded, [11, 0, 0, 0, 0, 0]),
        ] {
            let out = error_about(&packet(17, &[1; 8]), error);
            assert_eq!([&out[20..22], &out[24..28]].concat(), expected);
            assert_eq!(out[28..], packet(17, &[1; 8]));
        }
    }

    /// RFC 1812 §4.3.2.7, one clause after the other.
    #[test]
    fn who_must_not_be_answered_is_not() {
        let deserves = |packet: &[u8], change: fn(&mut View)| {
            let mut view = View::parse(packet).unwrap();
            change(&mut view);
            deserves_error(packet, &view)
        };
        let plain = packet(17, &[0; 8]);
        assert!(deserves(&plain, |_| ()));
        assert!(deserves(&plain, |view| view.more_fragments = true), "a first fragment");
        assert!(!deserves(&plain, |view| view.fragment_offset = 1));
        for kind in 0..=255 {
            let query = matches!(kind, 0 | 8 | 13..=18);
            assert_eq!(deserves(&packet(1, &[kind, 0]), |_| ()), query, "{kind}");
        }
        assert!(!deserves(&packet(1, &[]), |_| ()));
        for address in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"] {
            let address: Ipv4Addr = address.parse().unwrap();
            let mut view = View::parse(&plain).unwrap();
            view.source = address;
            assert!(!deserves_error(&plain, &view), "from {address}");
            let mut view = View::parse(&plain).unwrap();
            view.destination = address;
            assert!(!deserves_error(&plain, &view), "to {address}");
        }
    }

    proptest! {
        /// RFC 1812 §4.3.2.3: as much of the packet as fits 576 octets.
        #[test]
        fn the_error_quotes_what_fits_and_both_checksums_are_right(
            payload in prop::collection::vec(any::<u8>(), 0..1500),
        ) {
            let about = packet(17, &payload);
            let out = error_about(&about, Error::TimeExceeded);
            let view = View::parse(&out).unwrap();
            prop_assert_eq!((view.total_len, view.protocol), (out.len(), PROTOCOL));
            prop_assert_eq!((view.source, view.destination), (LOCAL, SOURCE));
            prop_assert_eq!(ipv4::sum(&out[20..]), 0xFFFF);
            let quoted = about.len().min(548);
            prop_assert_eq!(&out[28..], &about[..quoted]);
        }
    }
}
