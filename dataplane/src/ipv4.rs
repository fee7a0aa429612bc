//! IPv4 headers as a router needs them: a checked view, Time To Live, and the outer header.
//!
//! Implements RFC 791 §3.1 with RFC 1812 §5.2.2 (what a router verifies) and RFC 1624 (checksums
//! updated in place). Knows no options beyond their length, and reassembles nothing.

use std::net::Ipv4Addr;

/// Octets of a header without options.
pub(crate) const HEADER_LEN: usize = 20;
/// What such a header begins with: version and length.
const PLAIN: u8 = 0x45;

/// The word of flags and fragment offset.
pub(crate) const DONT_FRAGMENT: u16 = 0x4000;
pub(crate) const MORE_FRAGMENTS: u16 = 0x2000;
pub(crate) const FRAGMENT_OFFSET: u16 = 0x1FFF;

/// What a router needs of a header that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    /// Octets before the payload, 20 to 60.
    pub(crate) header_len: usize,
    /// Octets of header and payload; what follows in the buffer is padding.
    pub(crate) total_len: usize,
    /// Type of service: DSCP (RFC 2474) and ECN (RFC 3168).
    pub(crate) tos: u8,
    pub(crate) dont_fragment: bool,
    pub(crate) more_fragments: bool,
    /// Where a fragment's payload lies in the whole packet's, in units of 8 octets.
    pub(crate) fragment_offset: u16,
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
}

impl View {
    /// Reads and verifies a header: version, both lengths against the buffer, checksum
    /// (RFC 1812 §5.2.2). `None` if a router has to discard the packet.
    #[expect(clippy::inline_always, reason = "fields are to stay in registers, not to be copied")]
    #[inline(always)]
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let fixed: &[u8; HEADER_LEN] = packet.first_chunk()?;
        if fixed[0] >> 4 != 4 {
            return None;
        }
        let header_len = usize::from(fixed[0] & 0x0F) * 4;
        let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if header_len < HEADER_LEN || total_len < header_len || packet.len() < total_len {
            return None;
        }
        // Nearly all have no options.
        let is_right = if header_len == HEADER_LEN {
            is_right(fixed)
        } else {
            sum(packet.get(..header_len)?) == 0xFFFF
        };
        if !is_right {
            return None;
        }
        Self::read(packet)
    }

    /// Reads the header of a packet that was verified before. `None` if it is too short for one.
    #[expect(clippy::inline_always, reason = "fields are to stay in registers, not to be copied")]
    #[inline(always)]
    pub(crate) fn read(packet: &[u8]) -> Option<Self> {
        let fixed: &[u8; HEADER_LEN] = packet.first_chunk()?;
        let fragment = u16::from_be_bytes([fixed[6], fixed[7]]);
        Some(Self {
            header_len: usize::from(fixed[0] & 0x0F) * 4,
            total_len: usize::from(u16::from_be_bytes([fixed[2], fixed[3]])),
            tos: fixed[1],
            dont_fragment: fragment & DONT_FRAGMENT != 0,
            more_fragments: fragment & MORE_FRAGMENTS != 0,
            fragment_offset: fragment & FRAGMENT_OFFSET,
            ttl: fixed[8],
            protocol: fixed[9],
            source: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]),
            destination: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]),
        })
    }

    /// Whether it says more than where the packet goes, as routers may have to obey (RFC 791 §3.1).
    #[inline]
    pub(crate) const fn has_options(&self) -> bool {
        self.header_len > HEADER_LEN
    }

    /// Whether this is not the whole packet.
    #[inline]
    pub(crate) const fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }
}

/// Whether a packet says that it is one of IPv4.
#[inline]
pub(crate) fn is_ipv4(packet: &[u8]) -> bool {
    packet.first().is_some_and(|octet| octet >> 4 == 4)
}

/// Octets of header and payload, of a packet that was verified to be one of IPv4; `None` for others.
#[inline]
pub(crate) fn total_len(packet: &[u8]) -> Option<usize> {
    let fixed: &[u8; HEADER_LEN] = packet.first_chunk()?;
    (fixed[0] >> 4 == 4).then(|| usize::from(u16::from_be_bytes([fixed[2], fixed[3]])))
}

/// Where a packet that was verified goes, if that is a host and its Time To Live takes it there.
/// What has options is the kernel's to judge.
#[inline]
pub(crate) fn next_hop(packet: &[u8]) -> Option<Ipv4Addr> {
    let fixed: &[u8; HEADER_LEN] = packet.first_chunk()?;
    let destination = Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]);
    (fixed[0] == PLAIN && fixed[8] > 1 && is_host(destination)).then_some(destination)
}

/// Where the header of a packet has its destination, before anything is verified.
#[inline]
pub(crate) fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    const DESTINATION: usize = 16;
    let octets: &[u8; 4] = packet.get(DESTINATION..)?.first_chunk()?;
    Some(Ipv4Addr::from_octets(*octets))
}

/// One hop less to live; the checksum follows (RFC 1624 §3, eqn. 3). The caller has seen that the
/// Time To Live is above 1.
#[inline]
pub(crate) fn decrement_ttl(packet: &mut [u8]) {
    if let Some(header) = packet.first_chunk_mut::<HEADER_LEN>() {
        header[8] = header[8].wrapping_sub(1);
        // The field went down by 0x0100, so its complement's sum goes up by as much.
        let sum = u32::from(u16::from_be_bytes([header[10], header[11]])) + 0x0100;
        let [high, low] = fold(sum).to_be_bytes();
        (header[10], header[11]) = (high, low);
    }
}

/// Sets the type of service; the checksum follows.
#[inline]
pub(crate) fn set_tos(packet: &mut [u8], tos: u8) {
    if let Some(header) = packet.first_chunk_mut::<HEADER_LEN>() {
        let old = u16::from_be_bytes([header[0], header[1]]);
        header[1] = tos;
        let new = u16::from_be_bytes([header[0], header[1]]);
        let checksum = u16::from_be_bytes([header[10], header[11]]);
        header[10..12].copy_from_slice(&updated_checksum(checksum, old, new).to_be_bytes());
    }
}

/// Whether an address can be a single host's: not this network, loopback, multicast, reserved or
/// limited broadcast (RFC 1122 §3.2.1.3, RFC 1812 §5.3.7).
pub(crate) const fn is_host(address: Ipv4Addr) -> bool {
    !matches!(address.octets()[0], 0 | 127 | 224..=255)
}

/// A checksum after one of the words that it covers went from `old` to `new` (RFC 1624 §3, eqn. 3).
#[inline]
pub(crate) const fn updated_checksum(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(!checksum as u32 + !old as u32 + new as u32)
}

/// A header without options for `payload` octets.
#[inline]
pub(crate) fn header(
    payload: u16,
    tos: u8,
    identification: u16,
    protocol: u8,
    source: Ipv4Addr,
    destination: Ipv4Addr,
) -> [u8; HEADER_LEN] {
    const TTL: u8 = 64;
    let mut header = [0; HEADER_LEN];
    // The payload is a tunnelled packet that fits a frame: the sum cannot wrap.
    let total = payload.wrapping_add(20);
    header[0] = PLAIN;
    header[1] = tos;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[4..6].copy_from_slice(&identification.to_be_bytes());
    header[8] = TTL;
    header[9] = protocol;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    // The same words, but from registers (RFC 1071 §2 (C)).
    let words = [
        u32::from_be_bytes([PLAIN, tos, 0, 0]) >> 16,
        total.into(),
        identification.into(),
        u32::from_be_bytes([0, 0, TTL, protocol]),
        source.to_bits(),
        destination.to_bits(),
    ];
    let checksum = !fold_long(words.into_iter().map(u64::from).sum());
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

/// Whether the checksum of a header without options, which is not all zeros, is right: the sum of its
/// words is a multiple of all ones, whatever their length and order (RFC 1071 §2 (B), (C)).
#[inline]
pub(crate) fn is_right(header: &[u8; HEADER_LEN]) -> bool {
    words(header).is_multiple_of(0xFFFF)
}

/// The words of a header added up. No carry is lost: there are five.
#[inline]
fn words(header: &[u8; HEADER_LEN]) -> u64 {
    let (words, _) = header.as_chunks::<4>();
    words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum()
}

/// The ones' complement sum of 16 bits that a sum of words of up to 32 bits comes to, of which there
/// are no more than a header has.
#[inline]
const fn fold_long(sum: u64) -> u16 {
    // 35 bits, 20, 17, 16.
    let sum = (sum >> 16) + (sum & 0xFFFF);
    let sum = (sum >> 16) + (sum & 0xFFFF);
    (((sum >> 16) + (sum & 0xFFFF)) & 0xFFFF) as u16
}

/// The ones' complement sum of 16-bit words (RFC 1071). `bytes` are no more than a packet's.
#[inline]
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks::<2>();
    let sum: u32 = words.iter().map(|&word| u32::from(u16::from_be_bytes(word))).sum();
    fold(sum + rest.first().map_or(0, |&octet| u32::from(u16::from_be_bytes([octet, 0]))))
}

/// Two sums together.
pub(crate) const fn add(one: u16, other: u16) -> u16 {
    fold(one as u32 + other as u32)
}

/// At most 2^15 words were added: two folds suffice.
#[inline]
const fn fold(sum: u32) -> u16 {
    let once = (sum & 0xFFFF) + (sum >> 16);
    let [_, _, high, low] = ((once & 0xFFFF) + (once >> 16)).to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(payload: usize) -> Vec<u8> {
        let (source, destination) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(192, 0, 2, 7));
        let len = u16::try_from(payload).unwrap();
        let mut packet = header(len, 0xB8, 7, 17, source, destination).to_vec();
        packet.resize(HEADER_LEN + payload, 0xAA);
        packet
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(
            View::parse(&packet(30)),
            Some(View {
                header_len: 20,
                total_len: 50,
                tos: 0xB8,
                dont_fragment: false,
                more_fragments: false,
                fragment_offset: 0,
                ttl: 64,
                protocol: 17,
                source: Ipv4Addr::new(10, 0, 0, 1),
                destination: Ipv4Addr::new(192, 0, 2, 7),
            })
        );
    }

    #[test]
    fn every_truncation_is_refused_and_padding_is_not() {
        let whole = packet(30);
        for len in 0..whole.len() {
            assert_eq!(View::parse(&whole[..len]), None, "{len}");
        }
        let padded = [&whole[..], &[0; 9]].concat();
        assert_eq!(View::parse(&padded).unwrap().total_len, 50);
    }

    #[test]
    fn every_flipped_header_bit_is_refused() {
        let whole = packet(30);
        for bit in 0..HEADER_LEN * 8 {
            let mut broken = whole.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(View::parse(&broken), None, "{bit}");
        }
    }

    /// RFC 1624: the updated checksum is the one computed anew.
    #[test]
    fn every_step_of_the_time_to_live_keeps_the_checksum_right() {
        let mut packet = packet(8);
        for identification in 0..=u16::MAX {
            packet[4..6].copy_from_slice(&identification.to_be_bytes());
            packet[8] = 64;
            packet[10..12].fill(0);
            let checksum = !sum(&packet[..HEADER_LEN]);
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            decrement_ttl(&mut packet);
            assert_eq!(View::parse(&packet).unwrap().ttl, 63);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            if let Some(view) = View::parse(&bytes) {
                prop_assert!(view.header_len <= view.total_len && view.total_len <= bytes.len());
            }
        }
    }
}
