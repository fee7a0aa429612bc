//! The Internet checksum (RFC 1071), and finishing one that the kernel left to us.

use super::{VnetHeader, write};

/// A one's complement sum in progress, in the byte order of the machine (RFC 1071 §2 (B)): it is
/// the same sum with its octets swapped, and is swapped once at the end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds octets that start at an even offset of what is summed.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        let mut total = self.0;
        let (words, rest) = bytes.as_chunks::<4>();
        // 2^32 words fit before the sum overflows: packets have 2^14.
        for &word in words {
            total += u64::from(u32::from_ne_bytes(word));
        }
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        Self(total + u64::from(u32::from_ne_bytes(last)))
    }

    /// Adds the pseudo header of TCP or UDP (RFC 9293 §3.1, RFC 8200 §8.1): both addresses,
    /// protocol and length of the segment.
    #[must_use]
    pub fn with_pseudo_header(self, addresses: &[u8], protocol: u8, length: u16) -> Self {
        let [high, low] = length.to_be_bytes();
        self.with(addresses).with(&[0, protocol, high, low])
    }

    /// The sum folded to sixteen bits, not complemented.
    #[must_use]
    pub fn folded(self) -> [u8; 2] {
        let mut total = self.0;
        while total > 0xffff {
            total = (total & 0xffff) + (total >> 16);
        }
        let [a, b, ..] = total.to_le_bytes();
        u16::from_le_bytes([a, b]).to_ne_bytes()
    }

    /// The checksum: the folded sum's complement, as it stands in a header.
    #[must_use]
    pub fn complement(self) -> [u8; 2] {
        self.folded().map(|octet| !octet)
    }

    /// Whether the sum over data that includes its checksum is right.
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.folded() == [0xff, 0xff]
    }
}

/// Finishes a checksum of which the kernel only wrote the pseudo header's part. `None`, and no
/// change, if `header` does not fit the packet.
#[must_use]
pub fn finish(packet: &mut [u8], header: &VnetHeader) -> Option<()> {
    let range = packet.get_mut(usize::from(header.checksum_start)..)?;
    let at = usize::from(header.checksum_offset);
    range.get(at..at + 2)?;
    let sum = Sum::default().with(range).complement();
    // All zeros mean "no checksum" in UDP; its complement is the same number (RFC 768).
    write(range, at, if sum == [0, 0] { [0xff, 0xff] } else { sum })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The words of RFC 1071 §1, one after the other.
    fn oracle(bytes: &[u8]) -> u16 {
        let mut total = 0_u32;
        for pair in bytes.chunks(2) {
            total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            total = (total & 0xffff) + (total >> 16);
        }
        !u16::try_from(total).unwrap()
    }

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        let sum = Sum::default().with(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.folded(), [0xdd, 0xf2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn any_bytes_sum_as_in_rfc_1071(
            head in proptest::collection::vec(any::<[u8; 2]>(), 0..50),
            tail in proptest::collection::vec(any::<u8>(), 0..3000),
        ) {
            let head = head.concat();
            let sum = Sum::default().with(&head).with(&tail).complement();
            prop_assert_eq!(u16::from_be_bytes(sum), oracle(&[head, tail].concat()));
        }

        #[test]
        fn finishing_makes_the_range_sum_to_all_ones_or_refuses(
            mut packet in proptest::collection::vec(any::<u8>(), 0..100),
            checksum_start in 0..120_u16,
            checksum_offset in prop_oneof![0..60_u16, any::<u16>()],
        ) {
            let header = VnetHeader { checksum_start, checksum_offset, ..Default::default() };
            let (start, before) = (usize::from(checksum_start), packet.clone());
            let at = start + usize::from(checksum_offset);
            if at + 2 > packet.len() {
                prop_assert!(finish(&mut packet, &header).is_none());
                prop_assert_eq!(packet, before);
            } else {
                // What the kernel leaves there stands for the pseudo header.
                let pseudo = [packet[at], packet[at + 1]];
                prop_assert!(finish(&mut packet, &header).is_some());
                prop_assume!(checksum_offset % 2 == 0);
                let sum = Sum::default().with(&pseudo).with(&packet[start..]);
                prop_assert!(sum.is_valid() || sum.folded() == [0, 0]);
            }
        }
    }
}
