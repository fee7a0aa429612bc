//! MS-CHAPv1's Response value.
//!
//! Implements RFC 2433 §6. Never uses the LAN Manager response: whoever has it has the password.

use crate::mschap::NtResponse;

/// Octets of a Response's value (RFC 2433 §6): LM-Response 24, NT-Response 24, flags 1.
pub const RESPONSE_LEN: usize = 49;

/// Says that the NT-Response is to be used.
const USE_NT: u8 = 1;

/// The value of a Response packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response(pub NtResponse);

impl Response {
    /// Reads a value. `None` unless it has 49 octets and its flag says that the NT-Response is
    /// there.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value: &[u8; RESPONSE_LEN] = value.try_into().ok()?;
        let (_lm_response, rest) = value.split_first_chunk::<24>()?;
        let (nt_response, flags) = rest.split_first_chunk::<24>()?;
        (flags == [USE_NT]).then(|| Self(NtResponse::from_bytes(*nt_response)))
    }

    /// The value, with zeros for the LAN Manager response as RFC 2433 §6 wants it.
    #[must_use]
    pub fn emit(&self) -> [u8; RESPONSE_LEN] {
        let mut value = [0; RESPONSE_LEN];
        value[24..48].copy_from_slice(self.0.as_bytes());
        value[48] = USE_NT;
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
            let good = value.len() == RESPONSE_LEN && value[48] == 1;
            prop_assert_eq!(Response::parse(&value).is_some(), good);
        }

        #[test]
        fn a_response_survives_the_wire(proof: [u8; 24], flag: u8) {
            let response = Response(NtResponse::from_bytes(proof));
            let mut value = response.emit();
            prop_assert_eq!(Response::parse(&value), Some(response));
            // RFC 2433 §6: flag 0 is the LAN Manager response alone.
            value[48] = flag;
            prop_assert_eq!(Response::parse(&value).is_some(), flag == 1);
        }
    }
}
