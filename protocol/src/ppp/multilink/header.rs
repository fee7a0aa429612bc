//! The header of a fragment: whether it begins and ends a packet, and its number.
//!
//! Implements RFC 1990 §3, both formats. Never looks behind the header.

/// Octets of the longest header.
pub const MAX_LEN: usize = 4;

const BEGIN: u8 = 0x80;
const END: u8 = 0x40;

/// How long sequence numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// 24 bits: four octets (RFC 1990 §3, figure 2).
    #[default]
    Long,
    /// 12 bits: two octets (figure 3), once the receiver asked for it.
    Short,
}

impl Format {
    /// Octets of a header.
    #[must_use]
    pub const fn header_len(self) -> usize {
        match self {
            Self::Long => 4,
            Self::Short => 2,
        }
    }

    /// All bits of a number.
    #[must_use]
    pub const fn mask(self) -> u32 {
        match self {
            Self::Long => 0x00FF_FFFF,
            Self::Short => 0x0FFF,
        }
    }

    /// The number after this one.
    #[must_use]
    pub const fn next(self, number: u32) -> u32 {
        number.wrapping_add(1) & self.mask()
    }
}

/// A fragment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// It begins a packet.
    pub begin: bool,
    /// It ends a packet.
    pub end: bool,
    /// Its place among all fragments, 0 to [`Format::mask`].
    pub number: u32,
}

impl Header {
    /// Reads a header; what follows it is the piece of the packet. Reserved bits mean nothing.
    /// `None` if it is cut short.
    #[must_use]
    pub fn parse(format: Format, fragment: &[u8]) -> Option<(Self, &[u8])> {
        let (flags, number, piece) = match format {
            Format::Long => {
                let (&[flags, high, middle, low], piece) = fragment.split_first_chunk()?;
                (flags, u32::from_be_bytes([0, high, middle, low]), piece)
            }
            Format::Short => {
                let (&[first, low], piece) = fragment.split_first_chunk()?;
                (first, u32::from_be_bytes([0, 0, first & 0x0F, low]), piece)
            }
        };
        let header = Self { begin: flags & BEGIN != 0, end: flags & END != 0, number };
        Some((header, piece))
    }

    /// Writes the header and returns its length.
    #[must_use]
    pub const fn emit(self, format: Format, into: &mut [u8; MAX_LEN]) -> usize {
        let flags = if self.begin { BEGIN } else { 0 } | if self.end { END } else { 0 };
        let [_, high, middle, low] = (self.number & format.mask()).to_be_bytes();
        *into = match format {
            Format::Long => [flags, high, middle, low],
            Format::Short => [flags | middle, low, 0, 0],
        };
        format.header_len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn format() -> impl Strategy<Value = Format> {
        prop_oneof![Just(Format::Long), Just(Format::Short)]
    }

    #[test]
    fn both_formats_are_as_in_the_figures() {
        // RFC 1990 §3, figures 2 and 3.
        let header = Header { begin: true, end: false, number: 0xABC };
        let mut octets = [0; MAX_LEN];
        assert_eq!(header.emit(Format::Long, &mut octets), 4);
        assert_eq!(octets, [0x80, 0, 0x0A, 0xBC]);
        assert_eq!(header.emit(Format::Short, &mut octets), 2);
        assert_eq!(octets[..2], [0x8A, 0xBC]);
        let last = Header { begin: false, end: true, number: 0xFFF };
        assert_eq!(Header::parse(Format::Short, &[0x7F, 0xFF, 9]), Some((last, &[9][..])));
        assert_eq!(Header::parse(Format::Long, &[0x80, 0, 0]), None);
        assert_eq!(Header::parse(Format::Short, &[0x80]), None);
    }

    #[test]
    fn numbers_begin_again_behind_the_last_one() {
        assert_eq!(Format::Long.next(0x00FF_FFFF), 0);
        assert_eq!(Format::Short.next(0x0FFF), 0);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(format in format(), bytes: Vec<u8>) {
            if let Some((header, piece)) = Header::parse(format, &bytes) {
                prop_assert!(header.number <= format.mask());
                prop_assert_eq!(bytes.len(), format.header_len() + piece.len());
            }
        }

        #[test]
        fn what_is_emitted_parses(
            format in format(), begin: bool, end: bool, number: u32, piece: Vec<u8>,
        ) {
            let number = number & format.mask();
            let header = Header { begin, end, number };
            let mut octets = [0; MAX_LEN];
            let len = header.emit(format, &mut octets);
            let fragment = [&octets[..len], &piece].concat();
            prop_assert_eq!(Header::parse(format, &fragment), Some((header, &piece[..])));
        }
    }
}
