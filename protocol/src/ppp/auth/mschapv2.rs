//! MS-CHAPv2's Response value.
//!
//! Implements RFC 2759 §4. What it proves is [`mschap`](crate::mschap)'s business.

use crate::mschap::{Challenge, NtResponse};

/// Octets of a Response's value (RFC 2759 §4): peer challenge 16, reserved 8, NT-Response 24,
/// flags 1.
pub const RESPONSE_LEN: usize = 49;

/// The value of a Response packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// The peer's own challenge.
    pub peer_challenge: Challenge,
    /// The proof.
    pub nt_response: NtResponse,
}

impl Response {
    /// Reads a value. `None` unless it has 49 octets. Reserved octets and flags must be zero when
    /// sent but are not looked at: RFC 2759 §4 gives no reason to refuse them.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value: &[u8; RESPONSE_LEN] = value.try_into().ok()?;
        let (peer_challenge, rest) = value.split_first_chunk::<16>()?;
        let (_reserved, rest) = rest.split_first_chunk::<8>()?;
        let (nt_response, _flags) = rest.split_first_chunk::<24>()?;
        Some(Self {
            peer_challenge: *peer_challenge,
            nt_response: NtResponse::from_bytes(*nt_response),
        })
    }

    /// The value.
    #[must_use]
    pub fn emit(&self) -> [u8; RESPONSE_LEN] {
        let mut value = [0; RESPONSE_LEN];
        value[..16].copy_from_slice(&self.peer_challenge);
        value[24..48].copy_from_slice(self.nt_response.as_bytes());
        value
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_values_never_panic(value: Vec<u8>) {
            prop_assert_eq!(Response::parse(&value).is_some(), value.len() == RESPONSE_LEN);
        }

        #[test]
        fn a_response_survives_the_wire(challenge: [u8; 16], proof: [u8; 24]) {
            let response = Response {
                peer_challenge: challenge,
                nt_response: NtResponse::from_bytes(proof),
            };
            prop_assert_eq!(Response::parse(&response.emit()), Some(response));
        }
    }
}
