//! The form that nearly all data packets have, read and judged at once: IPv4 without options, GRE with
//! a sequence number, PPP's header whole, MPPE.
//!
//! Implements RFC 791 §3.1, RFC 2637 §4.1, RFC 1661 §2 and RFC 3078 §3.1. Refuses nothing: what has
//! another form, or is wrong, goes by [`admit`](super::admit), which says why.

use std::net::Ipv4Addr;

use protocol::gre;
use protocol::mppe::Header as MppeHeader;

use crate::ipv4;

/// IPv4 20, GRE 16, PPP 4, MPPE 2. No packet with an inner one is shorter.
const HEADERS: usize = 42;
/// GRE's first word with the key and a sequence number, and the bit of an acknowledgement.
const GRE: u32 = 0x3001_0000 | gre::PROTOCOL_TYPE as u32;
const ACKNOWLEDGMENT: u32 = 0x0080_0000;
/// Address, control and the protocol of encrypted packets.
const PPP: u32 = 0xFF03_00FD;
/// Octets of PPP's header and MPPE's.
const INNER: usize = 6;

/// What such a packet says.
pub(super) struct Common {
    pub(super) peer: Ipv4Addr,
    pub(super) local: Ipv4Addr,
    pub(super) call_id: u16,
    pub(super) sequence: u32,
    pub(super) acknowledgment: Option<u32>,
    pub(super) header: MppeHeader,
    /// The outer type of service.
    pub(super) tos: u8,
    /// Where in the packet the encrypted octets begin, and how many there are.
    pub(super) start: usize,
    pub(super) len: usize,
}

impl Common {
    /// Reads a packet that starts with the outer IP header, if it has this form.
    #[expect(clippy::inline_always, reason = "fields are to stay in registers, not to be copied")]
    #[inline(always)]
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let head: &[u8; HEADERS] = packet.first_chunk()?;
        let word = |at: usize| {
            let octets = [head[at], head[at + 1], head[at + 2], head[at + 3]];
            u32::from_be_bytes(octets)
        };
        let (first, fragment, gre) = (word(0), word(4), word(20));
        let has_form = first >> 24 == 0x45
            && fragment & u32::from(ipv4::MORE_FRAGMENTS | ipv4::FRAGMENT_OFFSET) == 0
            && head[9] == gre::IP_PROTOCOL
            && gre & !ACKNOWLEDGMENT == GRE
            && ipv4::is_right(head.first_chunk()?);
        if !has_form {
            return None;
        }
        // Four octets if there is an acknowledgement.
        let more = (gre & ACKNOWLEDGMENT) as usize / (ACKNOWLEDGMENT / 4) as usize;
        let ppp = 32 + more;
        let lengths = word(24);
        let (total, payload) = ((first & 0xFFFF) as usize, (lengths >> 16) as usize);
        let fits = total <= packet.len() && INNER <= payload && ppp + payload <= total;
        if !fits || word(ppp) != PPP {
            return None;
        }
        Some(Self {
            peer: Ipv4Addr::from_bits(word(12)),
            local: Ipv4Addr::from_bits(word(16)),
            call_id: (lengths & 0xFFFF) as u16,
            sequence: word(28),
            acknowledgment: (more != 0).then(|| word(32)),
            header: MppeHeader::from_octets([head[ppp + 4], head[ppp + 5]]),
            tos: head[1],
            start: ppp + INNER,
            len: payload - INNER,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::ppp::frame;

    use super::*;
    use crate::ipv4::View;

    /// The same, read one header at a time.
    fn read(packet: &[u8]) -> Option<(View, gre::Header, MppeHeader, &[u8])> {
        let ip = View::parse(packet)?;
        let (gre, payload) = gre::Header::parse(packet.get(ip.header_len..ip.total_len)?).ok()?;
        let (protocol, payload) = frame::parse(payload).ok()?;
        let (octets, payload) = payload.split_first_chunk()?;
        let is_data = ip.protocol == gre::IP_PROTOCOL
            && !ip.is_fragment()
            && gre.sequence.is_some()
            && protocol == frame::Protocol::COMPRESSED;
        is_data.then(|| (ip, gre, MppeHeader::from_octets(*octets), payload))
    }

    proptest! {
        /// What has this form is read as by the parsers of its headers, and what they refuse has not.
        #[test]
        fn it_is_read_as_header_by_header(
            addresses: (u32, u32),
            call_id: u16,
            sequence: u32,
            acknowledgment: Option<u32>,
            tos: u8,
            mppe: [u8; 2],
            data in proptest::collection::vec(any::<u8>(), 4..80),
            padding in 0_usize..20,
            damage in proptest::option::of((0_usize..60, any::<u8>())),
            mend: bool,
            cut in proptest::option::of(0_usize..140),
        ) {
            let ppp = [&PPP.to_be_bytes()[..], &mppe, &data].concat();
            let payload_len = u16::try_from(ppp.len()).unwrap();
            let header =
                gre::Header { call_id, payload_len, sequence: Some(sequence), acknowledgment };
            let mut octets = [0; gre::MAX_HEADER_LEN];
            let len = header.emit(&mut octets);
            let body = [&octets[..len], &ppp].concat();
            let total = u16::try_from(body.len()).unwrap();
            let (from, to) = (addresses.0.into(), addresses.1.into());
            let ip = ipv4::header(total, tos, 7, gre::IP_PROTOCOL, from, to);
            let mut packet = [&ip[..], &body, &vec![0xEE; padding]].concat();
            if let Some((at, octet)) = damage && let Some(place) = packet.get_mut(at) {
                *place = octet;
                if mend {
                    packet[10..12].fill(0);
                    let sum = !ipv4::sum(&packet[..ipv4::HEADER_LEN]);
                    packet[10..12].copy_from_slice(&sum.to_be_bytes());
                }
            }
            packet.truncate(cut.unwrap_or(usize::MAX));
            let common = Common::read(&packet);
            if damage.is_none() && cut.is_none() {
                prop_assert!(common.is_some());
            }
            if let Some(common) = common {
                let (ip, gre, header, payload) = read(&packet).expect("a form of those");
                prop_assert_eq!((common.peer, common.local), (ip.source, ip.destination));
                prop_assert_eq!((common.tos, common.call_id), (ip.tos, gre.call_id));
                prop_assert_eq!((Some(common.sequence), common.acknowledgment),
                    (gre.sequence, gre.acknowledgment));
                prop_assert_eq!(common.header, header);
                prop_assert_eq!(&packet[common.start..common.start + common.len], payload);
            }
        }

        #[test]
        fn arbitrary_octets_never_panic(octets: Vec<u8>) {
            if let Some(common) = Common::read(&octets) {
                prop_assert!(common.start + common.len <= octets.len());
            }
        }
    }
}
