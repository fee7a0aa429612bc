//! The two octets between PPP protocol 0x00FD and the encrypted data.
//!
//! Implements RFC 3078 §3.1. Every pair of octets is a header; whether its bits fit the
//! negotiated mode is the cipher's question.

/// A packet's number modulo 4096 (RFC 3078 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CoherencyCount(u16);

impl CoherencyCount {
    /// How many counts there are: 4095 is followed by 0.
    pub const MODULUS: u16 = 4096;

    /// The count of packet number `packet`, where the first packet is number 0.
    #[must_use]
    pub const fn of_packet(packet: u64) -> Self {
        // Reduced below 4096: nothing is cut.
        #[expect(clippy::cast_possible_truncation)]
        Self((packet % Self::MODULUS as u64) as u16)
    }

    /// 0 to 4095.
    #[must_use]
    pub const fn value(self) -> u16 {
        self.0
    }

    /// The count of the packet that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self((self.0 + 1) % Self::MODULUS)
    }

    /// How many steps lead from `earlier` to here, 0 to 4095, the whole turns left out.
    #[must_use]
    pub const fn steps_from(self, earlier: Self) -> u16 {
        (self.0 + Self::MODULUS - earlier.0) % Self::MODULUS
    }
}

/// MPPE's header. Bits B and C mean nothing in MPPE (RFC 3078 §3.1): they are sent as zero and
/// ignored when received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    /// Bit A: the tables were initialised before this packet. Set on every packet in stateless
    /// mode.
    pub flushed: bool,
    /// Bit D: the packet is encrypted.
    pub encrypted: bool,
    /// The packet's number modulo 4096.
    pub count: CoherencyCount,
}

impl Header {
    /// Octets of a header.
    pub const LEN: usize = 2;

    const FLUSHED: u16 = 0x8000;
    const ENCRYPTED: u16 = 0x1000;

    /// The header of every stateless packet: bits A and D set (RFC 3078 §3.1).
    #[must_use]
    pub const fn stateless(count: CoherencyCount) -> Self {
        Self { flushed: true, encrypted: true, count }
    }

    /// Reads a header.
    #[must_use]
    pub const fn from_octets(octets: [u8; 2]) -> Self {
        let word = u16::from_be_bytes(octets);
        Self {
            flushed: word & Self::FLUSHED != 0,
            encrypted: word & Self::ENCRYPTED != 0,
            count: CoherencyCount(word % CoherencyCount::MODULUS),
        }
    }

    /// The header as it is sent.
    #[must_use]
    pub const fn to_octets(self) -> [u8; 2] {
        let mut word = self.count.0;
        if self.flushed {
            word |= Self::FLUSHED;
        }
        if self.encrypted {
            word |= Self::ENCRYPTED;
        }
        word.to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn count_4095_is_followed_by_0() {
        assert_eq!(CoherencyCount::of_packet(4095).next(), CoherencyCount::of_packet(4096));
        assert_eq!(CoherencyCount::of_packet(4096).value(), 0);
    }

    proptest! {
        /// RFC 3078 §3.1: bits B and C have no significance, all else survives.
        #[test]
        fn every_pair_of_octets_is_a_header(octets: [u8; 2]) {
            let header = Header::from_octets(octets);
            prop_assert_eq!(header.to_octets(), [octets[0] & 0x9F, octets[1]]);
        }

        #[test]
        fn what_is_written_is_read(flushed: bool, encrypted: bool, packet: u64) {
            let header = Header { flushed, encrypted, count: CoherencyCount::of_packet(packet) };
            prop_assert_eq!(Header::from_octets(header.to_octets()), header);
        }

        #[test]
        fn steps_lead_from_the_earlier_to_the_later(earlier in 0..1_u64 << 40, steps in 0..4096_u16) {
            let later = CoherencyCount::of_packet(earlier + u64::from(steps));
            prop_assert_eq!(later.steps_from(CoherencyCount::of_packet(earlier)), steps);
        }
    }
}
