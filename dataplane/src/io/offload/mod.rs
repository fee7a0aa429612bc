//! Offloads that a TUN shares with the kernel: large TCP packets and unfinished checksums.
//!
//! | module | what |
//! |---|---|
//! | [`checksum`] | the Internet checksum (RFC 1071) |
//! | [`segment`] | one large packet of the kernel becomes packets that fit a link |
//! | [`coalesce`] | consecutive segments of a burst become one large packet for the kernel |
//!
//! Everything here is a function of bytes: no I/O, no allocation that a packet sizes, no panic.

pub mod checksum;
pub mod coalesce;
#[cfg(test)]
mod packets;
pub mod segment;

/// Offsets in the IPv4 header (RFC 791 §3.1).
mod ipv4 {
    pub(super) const HEADER: usize = 20;
    pub(super) const TYPE_OF_SERVICE: usize = 1;
    pub(super) const TOTAL_LENGTH: usize = 2;
    pub(super) const IDENTIFICATION: usize = 4;
    pub(super) const FRAGMENT: usize = 6;
    pub(super) const TIME_TO_LIVE: usize = 8;
    pub(super) const PROTOCOL: usize = 9;
    pub(super) const CHECKSUM: usize = 10;
    pub(super) const ADDRESSES: std::ops::Range<usize> = 12..20;
    /// "More fragments" and the fragment's offset.
    pub(super) const FRAGMENT_MASK: u16 = 0x3fff;
    pub(super) const DONT_FRAGMENT: u16 = 0x4000;
}

/// Offsets in the IPv6 header (RFC 8200 §3).
mod ipv6 {
    pub(super) const HEADER: usize = 40;
    pub(super) const PAYLOAD_LENGTH: usize = 4;
    pub(super) const NEXT_HEADER: usize = 6;
    pub(super) const ADDRESSES: std::ops::Range<usize> = 8..40;
}

/// Offsets and flags in the TCP header (RFC 9293 §3.1).
mod tcp {
    pub(super) const HEADER: usize = 20;
    pub(super) const SEQUENCE: usize = 4;
    pub(super) const ACKNOWLEDGMENT: usize = 8;
    pub(super) const DATA_OFFSET: usize = 12;
    pub(super) const FLAGS: usize = 13;
    pub(super) const WINDOW: usize = 14;
    pub(super) const CHECKSUM: usize = 16;
    pub(super) const URGENT: usize = 18;
    pub(super) const FIN: u8 = 0x01;
    pub(super) const PSH: u8 = 0x08;
    pub(super) const ACK: u8 = 0x10;
    pub(super) const CWR: u8 = 0x80;
    /// The protocol's number.
    pub(super) const PROTOCOL: u8 = 6;
}

/// What stands before each packet of a TUN: `struct virtio_net_hdr` (virtio 1.2 §5.1.6), in the
/// byte order of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VnetHeader {
    /// [`Self::NEEDS_CHECKSUM`] or nothing that matters here.
    pub flags: u8,
    /// 0, or how the packet is to be cut.
    pub gso_type: u8,
    /// Length of all headers of a packet that is to be cut, a hint.
    pub header_length: u16,
    /// Payload of each segment of a packet that is to be cut.
    pub gso_size: u16,
    /// Where the unfinished checksum's range begins.
    pub checksum_start: u16,
    /// Where in that range the checksum is.
    pub checksum_offset: u16,
}

impl VnetHeader {
    /// Its length, bytes.
    pub const LENGTH: usize = 10;
    /// The checksum covers only the pseudo header yet.
    pub const NEEDS_CHECKSUM: u8 = 1;
    /// Not to be cut.
    pub const GSO_NONE: u8 = 0;
    /// TCP over IPv4, to be cut.
    pub const GSO_TCPV4: u8 = 1;
    /// TCP over IPv6, to be cut.
    pub const GSO_TCPV6: u8 = 4;
    /// Beside the type: CWR belongs to the first segment only.
    pub const GSO_ECN: u8 = 0x80;

    /// Reads a header.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        let [flags, gso_type, a, b, c, d, e, f, g, h] = bytes;
        Self {
            flags,
            gso_type,
            header_length: u16::from_ne_bytes([a, b]),
            gso_size: u16::from_ne_bytes([c, d]),
            checksum_start: u16::from_ne_bytes([e, f]),
            checksum_offset: u16::from_ne_bytes([g, h]),
        }
    }

    /// Writes the header.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let [a, b] = self.header_length.to_ne_bytes();
        let [c, d] = self.gso_size.to_ne_bytes();
        let [e, f] = self.checksum_start.to_ne_bytes();
        let [g, h] = self.checksum_offset.to_ne_bytes();
        [self.flags, self.gso_type, a, b, c, d, e, f, g, h]
    }
}

/// The big-endian number at `at`; `None` beyond the end.
fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|&octets| u16::from_be_bytes(octets))
}

/// As [`read_u16`], of four octets.
fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|&octets| u32::from_be_bytes(octets))
}

/// Writes a big-endian number at `at`; `None`, and no change, beyond the end.
fn write<const N: usize>(bytes: &mut [u8], at: usize, octets: [u8; N]) -> Option<()> {
    bytes.get_mut(at..)?.first_chunk_mut().map(|place| *place = octets)
}
