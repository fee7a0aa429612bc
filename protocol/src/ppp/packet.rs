//! The packet that LCP, the NCPs, PAP and CHAP share: code, identifier, length, data.
//!
//! Implements RFC 1661 §5 (and RFC 1994 §4, which repeats it). Never interprets the data.

/// Code numbers of LCP and the NCPs (RFC 1661 §5; RFC 1570 §1; RFC 1962 §3).
pub mod code {
    /// Configure-Request.
    pub const CONFIGURE_REQUEST: u8 = 1;
    /// Configure-Ack.
    pub const CONFIGURE_ACK: u8 = 2;
    /// Configure-Nak.
    pub const CONFIGURE_NAK: u8 = 3;
    /// Configure-Reject.
    pub const CONFIGURE_REJECT: u8 = 4;
    /// Terminate-Request.
    pub const TERMINATE_REQUEST: u8 = 5;
    /// Terminate-Ack.
    pub const TERMINATE_ACK: u8 = 6;
    /// Code-Reject.
    pub const CODE_REJECT: u8 = 7;
    /// Protocol-Reject, LCP only.
    pub const PROTOCOL_REJECT: u8 = 8;
    /// Echo-Request, LCP only.
    pub const ECHO_REQUEST: u8 = 9;
    /// Echo-Reply, LCP only.
    pub const ECHO_REPLY: u8 = 10;
    /// Discard-Request, LCP only.
    pub const DISCARD_REQUEST: u8 = 11;
    /// Identification, LCP only (RFC 1570 §1.1).
    pub const IDENTIFICATION: u8 = 12;
    /// Time-Remaining, LCP only (RFC 1570 §1.2).
    pub const TIME_REMAINING: u8 = 13;
    /// Reset-Request, CCP only.
    pub const RESET_REQUEST: u8 = 14;
    /// Reset-Ack, CCP only.
    pub const RESET_ACK: u8 = 15;
}

/// Octets of code, identifier and length.
pub const HEADER_LEN: usize = 4;

/// Why a packet is silently discarded (RFC 1661 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than its header.
    #[error("the packet is shorter than its header")]
    Truncated,
    /// Its length field is below four or beyond the end.
    #[error("the packet says {0} octets long, which cannot be")]
    Length(u16),
}

/// A checked packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What kind it is.
    pub code: u8,
    /// Matches replies to requests.
    pub identifier: u8,
    /// What follows the header, without padding.
    pub data: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a packet. Octets beyond its length are padding (RFC 1661 §5).
    ///
    /// # Errors
    /// The packet must be silently discarded.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let [code, identifier, high, low, ref rest @ ..] = *bytes else {
            return Err(Malformed::Truncated);
        };
        let length = u16::from_be_bytes([high, low]);
        let data = usize::from(length)
            .checked_sub(HEADER_LEN)
            .and_then(|len| rest.get(..len))
            .ok_or(Malformed::Length(length))?;
        Ok(Self { code, identifier, data })
    }

    /// The packet's octets. Data beyond what the length field can say is left out.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let room = usize::from(u16::MAX) - HEADER_LEN;
        let data = &self.data[..self.data.len().min(room)];
        let length = u16::try_from(HEADER_LEN + data.len()).unwrap_or(u16::MAX);
        let mut bytes = Vec::with_capacity(HEADER_LEN + data.len());
        bytes.extend_from_slice(&[self.code, self.identifier]);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    /// The packet with its data cut so that the whole fits `mru` octets (RFC 1661 §5.6–§5.8).
    #[must_use]
    pub fn truncated(self, mru: u16) -> Self {
        let room = usize::from(mru).saturating_sub(HEADER_LEN);
        Self { data: &self.data[..self.data.len().min(room)], ..self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn padding_is_left_out() {
        // RFC 1661 §5: "Octets outside the range of the Length field are treated as padding".
        let packet = Packet::parse(&[1, 7, 0, 5, 0xAA, 0, 0]).unwrap();
        assert_eq!(packet, Packet { code: 1, identifier: 7, data: &[0xAA] });
    }

    #[test]
    fn lying_lengths_are_refused() {
        assert_eq!(Packet::parse(&[1, 7, 0]), Err(Malformed::Truncated));
        assert_eq!(Packet::parse(&[1, 7, 0, 3]), Err(Malformed::Length(3)));
        assert_eq!(Packet::parse(&[1, 7, 0, 6, 0]), Err(Malformed::Length(6)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert!(bytes.starts_with(&packet.emit()));
            }
        }

        #[test]
        fn what_is_emitted_parses(code: u8, identifier: u8, data: Vec<u8>, mru: u16) {
            let packet = Packet { code, identifier, data: &data };
            let emitted = packet.emit();
            prop_assert_eq!(Packet::parse(&emitted), Ok(packet));
            let cut = packet.truncated(mru);
            prop_assert!(cut.emit().len() <= usize::from(mru).max(HEADER_LEN));
        }
    }
}
