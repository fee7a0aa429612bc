//! PPP's own header: address, control and protocol fields as PPTP carries them, without flags,
//! byte stuffing or FCS (RFC 2637 §4).
//!
//! Implements RFC 1661 §2, §6.5, §6.6 and RFC 1662 §3. Accepts every form whatever was negotiated;
//! never looks into the payload.

use std::fmt;

/// A protocol number that RFC 1661 §2 allows: low octet odd, high octet even.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Protocol(u16);

impl Protocol {
    /// IPv4 packets (RFC 1332 §2).
    pub const IPV4: Self = Self(0x0021);
    /// IPv6 packets (RFC 5072 §2).
    pub const IPV6: Self = Self(0x0057);
    /// Bridged frames (RFC 3518 §4.2).
    pub const BRIDGED: Self = Self(0x0031);
    /// Multilink fragments (RFC 1990 §3).
    pub const MULTILINK: Self = Self(0x003D);
    /// Compressed or encrypted packets (RFC 1962 §2; RFC 3078 §3).
    pub const COMPRESSED: Self = Self(0x00FD);
    /// Bridging Control Protocol (RFC 3518 §4.1).
    pub const BCP: Self = Self(0x8031);
    /// IP Control Protocol (RFC 1332 §3).
    pub const IPCP: Self = Self(0x8021);
    /// IPv6 Control Protocol (RFC 5072 §3).
    pub const IPV6CP: Self = Self(0x8057);
    /// Compression Control Protocol (RFC 1962 §2).
    pub const CCP: Self = Self(0x80FD);
    /// Link Control Protocol (RFC 1661 §5).
    pub const LCP: Self = Self(0xC021);
    /// Password Authentication Protocol (RFC 1334 §2).
    pub const PAP: Self = Self(0xC023);
    /// Challenge-Handshake Authentication Protocol (RFC 1994 §3).
    pub const CHAP: Self = Self(0xC223);

    /// Checks a number. `None` if its octets break RFC 1661 §2.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        // 0x00FF would look like an address field when compressed (RFC 1661 §6.5).
        if number & 0x0101 == 0x0001 && number != 0x00FF { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Packets of a network layer, encrypted ones included: 0x0001–0x3FFF (RFC 1661 §2).
    #[must_use]
    pub const fn is_data(self) -> bool {
        self.0 < 0x4000
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Protocol({self})")
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IPV4 => f.write_str("IPv4"),
            Self::IPV6 => f.write_str("IPv6"),
            Self::BRIDGED => f.write_str("bridged frames"),
            Self::BCP => f.write_str("BCP"),
            Self::MULTILINK => f.write_str("multilink"),
            Self::COMPRESSED => f.write_str("compressed data"),
            Self::IPCP => f.write_str("IPCP"),
            Self::IPV6CP => f.write_str("IPV6CP"),
            Self::CCP => f.write_str("CCP"),
            Self::LCP => f.write_str("LCP"),
            Self::PAP => f.write_str("PAP"),
            Self::CHAP => f.write_str("CHAP"),
            Self(number) => write!(f, "{number:#06x}"),
        }
    }
}

/// How the header of what we send may be shortened, as the peer asked for in LCP. What we receive
/// may have every form whatever was agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Framing {
    /// Leave FF 03 away (RFC 1661 §6.6).
    pub compress_address_control: bool,
    /// Send protocol numbers below 0x100 in one octet (RFC 1661 §6.5).
    pub compress_protocol: bool,
}

/// Why a frame has no protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends before its protocol field does.
    #[error("the frame ends inside its header")]
    Truncated,
    /// Its protocol field breaks RFC 1661 §2.
    #[error("{0:#06x} is no PPP protocol number")]
    Protocol(u16),
}

const ADDRESS_CONTROL: [u8; 2] = [0xFF, 0x03];

/// The protocol and payload of a received frame, in any of its forms.
///
/// # Errors
/// The frame is too short for a header, or its protocol number is impossible.
#[inline]
pub fn parse(frame: &[u8]) -> Result<(Protocol, &[u8]), Malformed> {
    let frame = frame.strip_prefix(&ADDRESS_CONTROL).unwrap_or(frame);
    let (number, payload) = match *frame {
        // An odd first octet can only be the low one: the number is compressed (RFC 1661 §6.5).
        [low, ref payload @ ..] if low & 1 == 1 => (u16::from(low), payload),
        [high, low, ref payload @ ..] => (u16::from_be_bytes([high, low]), payload),
        _ => return Err(Malformed::Truncated),
    };
    Protocol::new(number).map(|protocol| (protocol, payload)).ok_or(Malformed::Protocol(number))
}

/// The header of one frame, 1 to 4 octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    octets: [u8; 4],
    start: usize,
    end: usize,
}

impl Header {
    /// The header that agrees with `framing`. LCP's never is compressed (RFC 1661 §6.5, §6.6).
    #[must_use]
    #[inline]
    pub const fn new(protocol: Protocol, framing: Framing) -> Self {
        let [high, low] = protocol.0.to_be_bytes();
        let compressible = protocol.0 != Protocol::LCP.0;
        let start = if framing.compress_address_control && compressible { 2 } else { 0 };
        if framing.compress_protocol && high == 0 {
            Self { octets: [ADDRESS_CONTROL[0], ADDRESS_CONTROL[1], low, 0], start, end: 3 }
        } else {
            Self { octets: [ADDRESS_CONTROL[0], ADDRESS_CONTROL[1], high, low], start, end: 4 }
        }
    }

    /// The octets to send.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets[self.start..self.end]
    }
}

/// A whole frame by negotiated framing.
#[must_use]
pub fn emit(protocol: Protocol, payload: &[u8], framing: Framing) -> Vec<u8> {
    [Header::new(protocol, framing).as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONE: Framing = Framing { compress_address_control: false, compress_protocol: false };
    const BOTH: Framing = Framing { compress_address_control: true, compress_protocol: true };

    #[test]
    fn every_form_of_the_header_is_accepted() {
        for frame in [&[0xFF, 3, 0, 0x21, 9][..], &[0xFF, 3, 0x21, 9], &[0, 0x21, 9], &[0x21, 9]] {
            assert_eq!(parse(frame), Ok((Protocol::IPV4, &[9][..])), "{frame:02x?}");
        }
    }

    #[test]
    fn lcp_is_never_compressed() {
        // RFC 1661 §6.5, §6.6.
        assert_eq!(emit(Protocol::LCP, &[1], BOTH), [0xFF, 3, 0xC0, 0x21, 1]);
        assert_eq!(emit(Protocol::CCP, &[1], BOTH), [0x80, 0xFD, 1]);
        assert_eq!(emit(Protocol::IPV4, &[1], BOTH), [0x21, 1]);
        assert_eq!(emit(Protocol::IPV4, &[1], NONE), [0xFF, 3, 0, 0x21, 1]);
    }

    #[test]
    fn impossible_protocol_numbers_are_refused() {
        // RFC 1661 §2: low octet odd, high octet even.
        assert_eq!(parse(&[0x80, 0x20, 0]), Err(Malformed::Protocol(0x8020)));
        assert_eq!(parse(&[0xFF, 3, 0xFF]), Err(Malformed::Protocol(0xFF)));
        for short in [&[][..], &[0xFF, 3], &[0xFF, 3, 0xC0], &[0xC0]] {
            assert_eq!(parse(short), Err(Malformed::Truncated), "{short:02x?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            if let Ok((protocol, payload)) = parse(&bytes) {
                prop_assert_eq!(Protocol::new(protocol.number()), Some(protocol));
                prop_assert!(bytes.ends_with(payload));
            }
        }

        #[test]
        fn what_is_emitted_parses(number: u16, payload: Vec<u8>, a: bool, p: bool) {
            let framing = Framing { compress_address_control: a, compress_protocol: p };
            if let Some(protocol) = Protocol::new(number) {
                let frame = emit(protocol, &payload, framing);
                prop_assert_eq!(parse(&frame), Ok((protocol, &payload[..])));
            }
        }
    }
}
