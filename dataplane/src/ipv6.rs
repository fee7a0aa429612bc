//! IPv6 headers as a router needs them: a checked view, hop limit, traffic class, and what is behind
//! extension headers.
//!
//! Implements RFC 8200 §3, §4 and RFC 4291 §2.4, §2.5 (which addresses are forwarded). Looks through
//! few extension headers, and reassembles nothing.

use std::net::Ipv6Addr;

/// Octets of a header.
pub(crate) const HEADER_LEN: usize = 40;

/// Next headers (IANA).
pub(crate) const ICMPV6: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
/// Extension headers that are looked through: more have no honest use.
const MAX_EXTENSIONS: usize = 6;

/// What a router needs of a header that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    /// Octets of header and payload; what follows in the buffer is padding.
    pub(crate) total_len: usize,
    /// DSCP and ECN, as IPv4's type of service.
    pub(crate) traffic_class: u8,
    pub(crate) next_header: u8,
    pub(crate) hop_limit: u8,
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
}

impl View {
    /// Reads and verifies a header: version, and the length against the buffer. `None` if a router
    /// has to discard the packet. Jumbograms are none of ours.
    #[inline]
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_LEN] = packet.first_chunk()?;
        let total_len = HEADER_LEN + usize::from(u16::from_be_bytes([header[4], header[5]]));
        if header[0] >> 4 != 6 || packet.len() < total_len {
            return None;
        }
        Some(Self {
            total_len,
            traffic_class: traffic_class(packet)?,
            next_header: header[6],
            hop_limit: header[7],
            source: address(header, 8)?,
            destination: address(header, 24)?,
        })
    }
}

/// Whether a packet says that it is one of IPv6.
#[inline]
pub(crate) fn is_ipv6(packet: &[u8]) -> bool {
    packet.first().is_some_and(|octet| octet >> 4 == 6)
}

fn address(header: &[u8; HEADER_LEN], at: usize) -> Option<Ipv6Addr> {
    header.get(at..)?.first_chunk().copied().map(Ipv6Addr::from_octets)
}

/// Where the header of a packet has its destination, before anything is verified.
pub(crate) fn destination(packet: &[u8]) -> Option<Ipv6Addr> {
    address(packet.first_chunk()?, 24)
}

/// The traffic class of a packet that is long enough to have one.
pub(crate) fn traffic_class(packet: &[u8]) -> Option<u8> {
    let [first, second] = *packet.first_chunk()?;
    Some(first << 4 | second >> 4)
}

/// Sets the traffic class.
pub(crate) fn set_traffic_class(packet: &mut [u8], class: u8) {
    if let Some([first, second]) = packet.first_chunk_mut() {
        *first = *first & 0xF0 | class >> 4;
        *second = *second & 0x0F | class << 4;
    }
}

/// One hop less to live. The caller has seen that the hop limit is above 1.
pub(crate) fn decrement_hop_limit(packet: &mut [u8]) {
    if let Some(hop_limit) = packet.get_mut(7) {
        *hop_limit = hop_limit.wrapping_sub(1);
    }
}

/// What lies behind the extension headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Upper {
    pub(crate) protocol: u8,
    /// Where it begins.
    pub(crate) offset: usize,
    /// It is a later piece of a packet: the upper header is in another one.
    pub(crate) is_later: bool,
    /// The packet was cut.
    pub(crate) is_fragment: bool,
}

/// Looks for the upper-layer header. `None` if it hides.
pub(crate) fn upper(packet: &[u8], view: &View) -> Option<Upper> {
    let (mut protocol, mut offset) = (view.next_header, HEADER_LEN);
    let packet = packet.get(..view.total_len)?;
    for _ in 0..MAX_EXTENSIONS {
        match protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                let &[next, length] = packet.get(offset..)?.first_chunk()?;
                protocol = next;
                offset += (usize::from(length) + 1) * 8;
            }
            FRAGMENT => {
                let &[next, _, high, low] = packet.get(offset..)?.first_chunk()?;
                offset += 8;
                let is_later = u16::from_be_bytes([high, low]) >> 3 != 0;
                if is_later {
                    return Some(Upper { protocol: next, offset, is_later, is_fragment: true });
                }
                let behind = View { next_header: next, ..*view };
                return upper_from(packet, &behind, offset)
                    .map(|upper| Upper { is_fragment: true, ..upper });
            }
            _ => return Some(Upper { protocol, offset, is_later: false, is_fragment: false }),
        }
    }
    None
}

/// What a first fragment has behind its fragment header: destination options at most.
fn upper_from(packet: &[u8], view: &View, offset: usize) -> Option<Upper> {
    let mut protocol = view.next_header;
    let mut offset = offset;
    if protocol == DESTINATION_OPTIONS {
        let &[next, length] = packet.get(offset..)?.first_chunk()?;
        protocol = next;
        offset += (usize::from(length) + 1) * 8;
    }
    let is_known = !matches!(protocol, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | FRAGMENT);
    is_known.then_some(Upper { protocol, offset, is_later: false, is_fragment: false })
}

/// Whether packets to or from an address go beyond their link: not unspecified, loopback, IPv4 in
/// disguise, link-local or multicast (RFC 4291 §2.5.2, §2.5.3, §2.5.5, §2.5.6, §2.7).
pub(crate) const fn is_forwarded(address: Ipv6Addr) -> bool {
    let [first, second, third, ..] = address.segments();
    let is_special = first == 0 && second == 0 && third == 0;
    !is_special && !address.is_unicast_link_local() && !address.is_multicast()
}

/// Whether a packet ends on the link that it is on.
pub(crate) const fn is_of_link(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local() || address.is_multicast()
}

/// The ones' complement sum over the pseudo header (RFC 8200 §8.1) and a message.
pub(crate) fn pseudo_sum(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    protocol: u8,
    message: &[u8],
) -> u16 {
    let mut pseudo = [0; HEADER_LEN];
    pseudo[..16].copy_from_slice(&source.octets());
    pseudo[16..32].copy_from_slice(&destination.octets());
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    pseudo[32..36].copy_from_slice(&length.to_be_bytes());
    pseudo[39] = protocol;
    crate::ipv4::add(crate::ipv4::sum(&pseudo), crate::ipv4::sum(message))
}

/// A header for `payload` octets.
pub(crate) fn header(
    payload: u16,
    protocol: u8,
    source: Ipv6Addr,
    destination: Ipv6Addr,
) -> [u8; HEADER_LEN] {
    const HOP_LIMIT: u8 = 64;
    let mut header = [0; HEADER_LEN];
    header[0] = 0x60;
    header[4..6].copy_from_slice(&payload.to_be_bytes());
    header[6] = protocol;
    header[7] = HOP_LIMIT;
    header[8..24].copy_from_slice(&source.octets());
    header[24..].copy_from_slice(&destination.octets());
    header
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 2);

    fn packet(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap();
        [&header(length, next_header, A, B)[..], payload].concat()
    }

    #[test]
    fn what_is_written_is_read_and_every_truncation_is_refused() {
        let mut whole = packet(17, &[1; 20]);
        set_traffic_class(&mut whole, 0xB9);
        let view = View::parse(&whole).unwrap();
        assert_eq!((view.total_len, view.traffic_class, view.next_header), (60, 0xB9, 17));
        assert_eq!((view.source, view.destination, view.hop_limit), (A, B, 64));
        decrement_hop_limit(&mut whole);
        assert_eq!(View::parse(&whole).unwrap().hop_limit, 63);
        for len in 0..whole.len() {
            assert_eq!(View::parse(&whole[..len]), None, "{len}");
        }
        whole.push(0);
        assert_eq!(View::parse(&whole).unwrap().total_len, 60, "padding");
        whole[0] = 0x45;
        assert_eq!(View::parse(&whole), None);
    }

    #[test]
    fn the_upper_layer_is_found_behind_extension_headers() {
        let found = |next: u8, payload: &[u8]| {
            let packet = packet(next, payload);
            upper(&packet, &View::parse(&packet).unwrap())
        };
        let upper = |protocol, offset, is_later, is_fragment| {
            Some(Upper { protocol, offset, is_later, is_fragment })
        };
        assert_eq!(found(6, &[0; 20]), upper(6, 40, false, false));
        assert_eq!(found(0, &[17, 0, 0, 0, 0, 0, 0, 0]), upper(17, 48, false, false));
        assert_eq!(found(60, &[[43, 1], [0; 2]].concat().repeat(8)), None, "an endless chain");
        assert_eq!(found(44, &[6, 0, 0, 1, 0, 0, 0, 9]), upper(6, 48, false, true));
        assert_eq!(found(44, &[6, 0, 0, 8, 0, 0, 0, 9]), upper(6, 48, true, true));
        assert_eq!(
            found(44, &[60, 0, 0, 1, 0, 0, 0, 9, 6, 0, 0, 0, 0, 0, 0, 0]),
            upper(6, 56, false, true)
        );
        assert_eq!(found(0, &[17]), None, "cut short");
    }

    #[test]
    fn addresses_of_the_link_and_of_nobody_are_not_forwarded() {
        for no in ["::", "::1", "::ffff:10.0.0.1", "fe80::1", "ff02::1", "ff0e::1"] {
            assert!(!is_forwarded(no.parse().unwrap()), "{no}");
        }
        for yes in ["2001:db8::1", "fd00::1", "64:ff9b::a00:1"] {
            assert!(is_forwarded(yes.parse().unwrap()), "{yes}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, next: u8, payload in prop::collection::vec(any::<u8>(), 0..200)) {
            for packet in [bytes, packet(next, &payload)] {
                if let Some(view) = View::parse(&packet) {
                    prop_assert!(view.total_len <= packet.len());
                    let _ = upper(&packet, &view);
                }
            }
        }
    }
}
