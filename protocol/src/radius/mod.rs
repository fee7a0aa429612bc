//! RADIUS as its client speaks it: RFC 2865, 2866, 2869, 2548, 3162, 4818, 6911, 5176, 5997.
//!
//! Octets become a [`Packet`] once, which is a view that needs no memory of its own; values become
//! what the [`dictionary`] says they are. Nothing here opens a socket, reads a clock or draws a
//! random number, and no octet of a peer chooses how much is allocated.
//!
//! | module | what |
//! |---|---|
//! | [`attributes`] | the list of attributes that a packet is made of |
//! | [`client`] | the machine that asks servers: identifiers, retransmission, failover |
//! | [`dictionary`] | names, numbers and kinds of the attributes that we know |
//! | [`hiding`] | User-Password and the key attributes |
//! | [`incoming`] | the gate for CoA-Requests and Disconnect-Requests |
//! | [`microsoft`] | the MS-CHAP attributes |
//! | [`packet`] | the view of a received packet |
//! | [`route`] | the text of Framed-Route and Framed-IPv6-Route |
//! | [`seal`] | authenticators: making and checking them |
//! | [`value`] | what an attribute's octets mean |

pub mod attributes;
pub mod client;
pub mod dictionary;
pub mod hiding;
pub mod incoming;
pub mod microsoft;
pub mod packet;
pub mod route;
pub mod seal;
pub mod value;

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

pub use attributes::{Attributes, TooLong};
pub use dictionary::{Definition, Id};
pub use packet::{Attribute, Malformed, OwnedPacket, Packet};
pub use seal::{Forged, Presence};
pub use value::{Value, WrongValue};

/// Octets of a packet without attributes (RFC 2865 §3).
pub const HEADER_LEN: usize = 20;
/// Octets of the longest packet (RFC 2865 §3).
pub const MAX_LEN: usize = 4096;

/// A Request or Response Authenticator (RFC 2865 §3).
pub type Authenticator = [u8; 16];

/// What a packet is (RFC 2865 §4, RFC 2866 §4, RFC 5176 §2.3, RFC 5997 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// 1.
    AccessRequest,
    /// 2.
    AccessAccept,
    /// 3.
    AccessReject,
    /// 4.
    AccountingRequest,
    /// 5.
    AccountingResponse,
    /// 11.
    AccessChallenge,
    /// 12: does it live?
    StatusServer,
    /// 40.
    DisconnectRequest,
    /// 41.
    DisconnectAck,
    /// 42.
    DisconnectNak,
    /// 43.
    CoaRequest,
    /// 44.
    CoaAck,
    /// 45.
    CoaNak,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::AccessRequest,
        Self::AccessAccept,
        Self::AccessReject,
        Self::AccountingRequest,
        Self::AccountingResponse,
        Self::AccessChallenge,
        Self::StatusServer,
        Self::DisconnectRequest,
        Self::DisconnectAck,
        Self::DisconnectNak,
        Self::CoaRequest,
        Self::CoaAck,
        Self::CoaNak,
    ];

    /// The first octet of the packet.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::AccessRequest => 1,
            Self::AccessAccept => 2,
            Self::AccessReject => 3,
            Self::AccountingRequest => 4,
            Self::AccountingResponse => 5,
            Self::AccessChallenge => 11,
            Self::StatusServer => 12,
            Self::DisconnectRequest => 40,
            Self::DisconnectAck => 41,
            Self::DisconnectNak => 42,
            Self::CoaRequest => 43,
            Self::CoaAck => 44,
            Self::CoaNak => 45,
        }
    }

    /// The code of a number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// Whether it answers this request.
    #[must_use]
    pub const fn answers(self, request: Self) -> bool {
        match request {
            Self::AccessRequest => {
                matches!(self, Self::AccessAccept | Self::AccessReject | Self::AccessChallenge)
            }
            Self::AccountingRequest => matches!(self, Self::AccountingResponse),
            Self::DisconnectRequest => matches!(self, Self::DisconnectAck | Self::DisconnectNak),
            Self::CoaRequest => matches!(self, Self::CoaAck | Self::CoaNak),
            // RFC 5997 §3: by the port, one or the other.
            Self::StatusServer => matches!(self, Self::AccessAccept | Self::AccountingResponse),
            _ => false,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AccessRequest => "Access-Request",
            Self::AccessAccept => "Access-Accept",
            Self::AccessReject => "Access-Reject",
            Self::AccountingRequest => "Accounting-Request",
            Self::AccountingResponse => "Accounting-Response",
            Self::AccessChallenge => "Access-Challenge",
            Self::StatusServer => "Status-Server",
            Self::DisconnectRequest => "Disconnect-Request",
            Self::DisconnectAck => "Disconnect-ACK",
            Self::DisconnectNak => "Disconnect-NAK",
            Self::CoaRequest => "CoA-Request",
            Self::CoaAck => "CoA-ACK",
            Self::CoaNak => "CoA-NAK",
        })
    }
}

/// What a server and we share (RFC 2865 §3). Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the octets.
    #[must_use]
    pub fn new(octets: impl Into<Vec<u8>>) -> Self {
        Self(octets.into())
    }

    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_their_numbers() {
        for number in 0..=u8::MAX {
            if let Some(code) = Code::from_number(number) {
                assert_eq!(code.number(), number, "{code}");
            }
        }
        assert_eq!(Code::from_number(0), None);
    }

    #[test]
    fn a_request_has_only_its_own_answers() {
        assert!(Code::AccessReject.answers(Code::AccessRequest));
        assert!(!Code::AccountingResponse.answers(Code::AccessRequest));
        assert!(!Code::AccessAccept.answers(Code::AccountingRequest));
        assert!(Code::ALL.into_iter().all(|code| !code.answers(Code::AccessAccept)));
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new(*b"xyzzy5461")), "Secret(..)");
    }
}
