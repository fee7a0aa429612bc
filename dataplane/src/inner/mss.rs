//! The largest segment that a TCP SYN announces, lowered to what the tunnel carries whole.
//!
//! Implements RFC 9293 §3.2 (the option), RFC 6691 §2 (its value: the MTU less both headers without
//! options; 60 octets with IPv6) and RFC 1624 (the checksum updated). Never raises a value, adds an option, or touches
//! fragments and segments that are not well-formed.

use crate::ipv4::{self, View};
use crate::ipv6;

/// TCP's protocol number.
const TCP: u8 = 6;
/// Octets of an IPv4 and a TCP header without options, and of an IPv6 and a TCP header.
const HEADERS: u16 = 40;
const HEADERS_IPV6: u16 = 60;

/// Octets of a TCP header without options, and where its fields are (RFC 9293 §3.1).
const FIXED: usize = 20;
const DATA_OFFSET: usize = 12;
const FLAGS: usize = 13;
const CHECKSUM: usize = 16;
const SYN: u8 = 0x02;

/// Kinds of options (RFC 9293 §3.2).
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;

/// Whether [`clamp`] may find something in a packet of IPv4: `false` for nearly all.
#[inline]
pub(crate) fn may_announce(packet: &[u8]) -> bool {
    const PROTOCOL: usize = 9;
    packet.get(PROTOCOL) == Some(&TCP)
        // Behind options the octet is another one.
        && (packet.first() != Some(&0x45)
            || packet.get(ipv4::HEADER_LEN + FLAGS).is_some_and(|flags| flags & SYN != 0))
}

/// Lowers the announcement of a SYN or SYN-ACK to segments that fit packets of `mtu` octets.
/// `false` if there was nothing to lower.
#[inline]
pub(crate) fn clamp(packet: &mut [u8], inner: &View, mtu: u16) -> bool {
    if inner.protocol != TCP || inner.is_fragment() {
        return false;
    }
    let segment = packet.get_mut(inner.header_len..inner.total_len).unwrap_or_default();
    match segment.get(FLAGS) {
        Some(flags) if flags & SYN != 0 => lower(segment, mtu.saturating_sub(HEADERS)),
        _ => false,
    }
}

/// The same for a packet of IPv6.
pub(crate) fn clamp_ipv6(packet: &mut [u8], view: &ipv6::View, mtu: u16) -> bool {
    let upper = ipv6::upper(packet, view);
    let Some(upper) = upper.filter(|upper| upper.protocol == TCP && !upper.is_fragment) else {
        return false;
    };
    let segment = packet.get_mut(upper.offset..view.total_len).unwrap_or_default();
    match segment.get(FLAGS) {
        Some(flags) if flags & SYN != 0 => lower(segment, mtu.saturating_sub(HEADERS_IPV6)),
        _ => false,
    }
}

fn lower(segment: &mut [u8], limit: u16) -> bool {
    let header_len = usize::from(segment.get(DATA_OFFSET).copied().unwrap_or_default() >> 4) * 4;
    let Some(header) = segment.get_mut(..header_len).filter(|header| header.len() >= FIXED) else {
        return false;
    };
    let Some(at) = header.get(FIXED..).and_then(find) else { return false };
    let at = FIXED + at;
    let Some(value) = header.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) else {
        return false;
    };
    let announced = u16::from_be_bytes(*value);
    if announced <= limit {
        return false;
    }
    *value = limit.to_be_bytes();
    // At an odd place the value's octets lie in the low half of one word of the sum and in the
    // high half of the next, which is the same as to exchange them (RFC 1071 §2 (B)).
    let (old, new) = match at % 2 {
        0 => (announced, limit),
        _ => (announced.swap_bytes(), limit.swap_bytes()),
    };
    if let Some(checksum) = header.get_mut(CHECKSUM..).and_then(|rest| rest.first_chunk_mut()) {
        let before = u16::from_be_bytes(*checksum);
        *checksum = ipv4::updated_checksum(before, old, new).to_be_bytes();
    }
    true
}

/// Where the value of the option stands in these options, if they are well-formed up to it.
fn find(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    // Every round moves on, through at most 40 octets.
    loop {
        at += match *options.get(at..)? {
            [NO_OPERATION, ..] => 1,
            [MAXIMUM_SEGMENT_SIZE, 4, _, _, ..] => return Some(at + 2),
            [END | MAXIMUM_SEGMENT_SIZE, ..] => return None,
            [_, length @ 2..=u8::MAX, ..] => usize::from(length),
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
    const DESTINATION: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);

    /// The sum that a right TCP checksum makes all ones, pseudo header included.
    fn sum(segment: &[u8]) -> u16 {
        let mut pseudo = [SOURCE.octets(), DESTINATION.octets()].concat();
        pseudo.extend([0, TCP]);
        pseudo.extend(u16::try_from(segment.len()).unwrap().to_be_bytes());
        ipv4::sum(&[&pseudo, segment].concat())
    }

    /// A TCP packet with these flags and options, which are padded with zeros.
    fn packet(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut segment = vec![0xC0, 0x01, 0x00, 0x50, 1, 2, 3, 4, 5, 6, 7, 8];
        let words = options.len().div_ceil(4);
        segment.extend([u8::try_from(5 + words).unwrap() << 4, flags, 0xFF, 0xFF, 0, 0, 0, 0]);
        segment.extend(options);
        segment.resize(FIXED + 4 * words, 0);
        segment.extend(payload);
        let checksum = !sum(&segment);
        segment[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
        let len = u16::try_from(segment.len()).unwrap();
        [&ipv4::header(len, 0, 7, TCP, SOURCE, DESTINATION)[..], &segment].concat()
    }

    fn clamped(mut packet: Vec<u8>, mtu: u16) -> Option<Vec<u8>> {
        let before = packet.clone();
        let view = View::parse(&packet).unwrap();
        if clamp(&mut packet, &view, mtu) {
            return Some(packet);
        }
        assert_eq!(packet, before);
        None
    }

    /// RFC 6691 §2: the MTU less 40, whatever other options there are.
    #[test]
    fn a_syn_and_its_answer_are_lowered_to_the_mtu_less_forty() {
        let linux = [2, 4, 0x05, 0xB4, 4, 2, 8, 10, 0, 1, 2, 3, 0, 0, 0, 0, 1, 3, 3, 7];
        for flags in [SYN, SYN | 0x10, SYN | 0xC0] {
            let out = clamped(packet(flags, &linux, b""), 1400).unwrap();
            assert_eq!(out[40..44], [2, 4, 0x05, 0x50]);
            assert_eq!(sum(&out[20..]), 0xFFFF);
        }
    }

    #[test]
    fn what_fits_already_and_what_announces_nothing_stays() {
        for options in [&[2, 4, 0x05, 0x50][..], &[2, 4, 0, 0], &[], &[1, 1, 1, 1], &[4, 2]] {
            assert_eq!(clamped(packet(SYN, options, b"x"), 1400), None);
        }
        assert_eq!(clamped(packet(0x10, &[2, 4, 0xFF, 0xFF], b""), 1400), None);
    }

    #[test]
    fn malformed_options_stay() {
        for options in [
            &[2, 3, 0xFF, 0xFF][..],
            &[2, 5, 0xFF, 0xFF, 0],
            &[1, 2, 4, 0xFF],
            &[8, 0, 2, 4, 0xFF, 0xFF],
            &[8, 1, 2, 4, 0xFF, 0xFF],
            &[8, 40, 2, 4, 0xFF, 0xFF],
            &[0, 2, 4, 0xFF, 0xFF],
            &[1, 1, 1, 8],
        ] {
            assert_eq!(clamped(packet(SYN, options, b""), 1400), None, "{options:?}");
        }
        // The data offset lies: shorter than a header, or longer than the packet.
        for offset in [0x00, 0x40, 0xF0] {
            let mut lying = packet(SYN, &[2, 4, 0xFF, 0xFF], b"");
            lying[20 + DATA_OFFSET] = offset;
            assert_eq!(clamped(lying, 1400), None);
        }
    }

    #[test]
    fn fragments_stay() {
        let whole = packet(SYN, &[2, 4, 0xFF, 0xFF], b"");
        for flags in [0x20_u8, 0x01] {
            let mut fragment = whole.clone();
            fragment[6] = flags;
            let checksum = u16::from_be_bytes([fragment[10], fragment[11]]);
            let checksum = ipv4::updated_checksum(checksum, 0, u16::from_be_bytes([flags, 0]));
            fragment[10..12].copy_from_slice(&checksum.to_be_bytes());
            assert_eq!(clamped(fragment, 1400), None);
        }
    }

    proptest! {
        #[test]
        fn only_the_value_falls_and_the_checksum_stays_right(
            before in prop::collection::vec(Just(NO_OPERATION), 0..6),
            announced: u16,
            mtu in 0_u16..2000,
            payload in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let [high, low] = announced.to_be_bytes();
            let options = [&before[..], &[MAXIMUM_SEGMENT_SIZE, 4, high, low]].concat();
            let packet = packet(SYN, &options, &payload);
            let limit = mtu.saturating_sub(40);
            match clamped(packet.clone(), mtu) {
                None => prop_assert!(announced <= limit),
                Some(out) => {
                    prop_assert!(announced > limit);
                    prop_assert_eq!(sum(&out[20..]), 0xFFFF);
                    let mut expected = packet;
                    let at = 40 + before.len() + 2;
                    expected[at..at + 2].copy_from_slice(&limit.to_be_bytes());
                    expected[36..38].copy_from_slice(&out[36..38]);
                    prop_assert_eq!(out, expected);
                }
            }
        }

        #[test]
        fn arbitrary_segments_never_panic_nor_grow(bytes: Vec<u8>, mtu: u16) {
            let len = u16::try_from(bytes.len()).unwrap();
            let header = ipv4::header(len, 0, 7, TCP, SOURCE, DESTINATION);
            let mut packet = [&header[..], &bytes].concat();
            let view = View::parse(&packet).unwrap();
            clamp(&mut packet, &view, mtu);
            prop_assert_eq!(View::parse(&packet), Some(view));
        }
    }
}
