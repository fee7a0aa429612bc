//! The MS-CHAP attributes.
//!
//! Implements RFC 2548 §2.1, §2.3 and §2.4. Checks no proof: the server did, and what it says of
//! it is read here. A key that cannot be read is an error and never a key of zeros.

use crate::mppe::Strength;
use crate::mschap::{AuthenticatorResponse, Challenge, NtResponse};
use crate::ppp::auth::{Failure, StartKeys};
use crate::ppp::ccp::Strengths;
use zeroize::Zeroizing;

use super::dictionary::{MS_CHAP_MPPE_KEYS, MS_MPPE_RECV_KEY, MS_MPPE_SEND_KEY};
use super::hiding::{self, Unreadable};
use super::{Authenticator, Packet, Secret};

/// Octets of an MS-CHAP-Response and an MS-CHAP2-Response (RFC 2548 §2.1.3, §2.3.2).
pub const RESPONSE_LEN: usize = 50;

/// The value of an MS-CHAP-Response of the NT kind: identifier, flags 1, no LM-Response,
/// NT-Response (RFC 2548 §2.1.3).
#[must_use]
pub fn chap_response(identifier: u8, nt_response: &NtResponse) -> [u8; RESPONSE_LEN] {
    let mut value = [0; RESPONSE_LEN];
    value[0] = identifier;
    value[1] = 1;
    value[26..].copy_from_slice(nt_response.as_bytes());
    value
}

/// The value of an MS-CHAP2-Response: identifier, flags 0, peer challenge, 8 reserved octets,
/// NT-Response (RFC 2548 §2.3.2).
#[must_use]
pub fn chap2_response(
    identifier: u8,
    peer_challenge: &Challenge,
    nt_response: &NtResponse,
) -> [u8; RESPONSE_LEN] {
    let mut value = [0; RESPONSE_LEN];
    value[0] = identifier;
    value[2..18].copy_from_slice(peer_challenge);
    value[26..].copy_from_slice(nt_response.as_bytes());
    value
}

/// An MS-CHAP2-Success (RFC 2548 §2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chap2Success {
    /// Of the Response that it accepts.
    pub identifier: u8,
    /// The server's proof for the peer.
    pub response: AuthenticatorResponse,
}

impl Chap2Success {
    /// Reads a value: the identifier and `S=` with 40 digits, perhaps with a message behind it.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (&identifier, text) = value.split_first()?;
        Some(Self { identifier, response: AuthenticatorResponse::from_message(text)? })
    }
}

/// An MS-CHAP-Error (RFC 2548 §2.1.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChapError {
    /// Of the Response that it refuses.
    pub identifier: u8,
    /// What a Failure packet would say: the text is the same.
    pub failure: Failure,
}

impl ChapError {
    /// Reads a value. What the text leaves out is not there; `None` if there is not even an
    /// identifier.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (&identifier, text) = value.split_first()?;
        Some(Self { identifier, failure: Failure::parse(text) })
    }
}

/// Why an Access-Accept yields no keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is none of this attribute.
    #[error("the answer has no {0}")]
    Missing(&'static str),
    /// It cannot be decrypted.
    #[error("{name}: {reason}")]
    Unreadable {
        /// The attribute.
        name: &'static str,
        /// Why.
        reason: Unreadable,
    },
    /// A start key has 8 or 16 octets.
    #[error("{name} has a key of {length} octets, not of 8 or 16")]
    Length {
        /// The attribute.
        name: &'static str,
        /// Octets of the key.
        length: usize,
    },
}

/// The start keys in MS-MPPE-Send-Key (NAS to client) and MS-MPPE-Recv-Key, as MS-CHAPv2 has them
/// (RFC 2548 §2.4.2, §2.4.3; RFC 3079 §3). `request` is the authenticator of the Access-Request.
/// A key of 8 octets serves 40 and 56 bit only.
///
/// # Errors
/// If one is missing or cannot be read.
pub fn start_keys(
    accept: &Packet<'_>,
    request: &Authenticator,
    secret: &Secret,
) -> Result<StartKeys, KeyError> {
    let key = |definition: super::Definition| {
        let name = definition.name;
        let value = accept.first(definition).ok_or(KeyError::Missing(name))?;
        let key = hiding::reveal_key(value, request, secret)
            .map_err(|reason| KeyError::Unreadable { name, reason })?;
        if ![8, 16].contains(&key.len()) {
            return Err(KeyError::Length { name, length: key.len() });
        }
        let mut octets = Zeroizing::new([0; 16]);
        octets[..key.len()].copy_from_slice(&key);
        let short = Strengths::of(&[Strength::Bits40, Strength::Bits56]);
        Ok((octets, if key.len() == 16 { Strengths::ALL } else { short }))
    };
    let (client, client_strengths) = key(MS_MPPE_RECV_KEY)?;
    let (server, server_strengths) = key(MS_MPPE_SEND_KEY)?;
    let strengths = client_strengths.intersection(server_strengths);
    Ok(StartKeys::new(*client, *server, strengths))
}

/// What MS-CHAP-MPPE-Keys holds (RFC 2548 §2.4.1).
#[derive(Clone)]
pub struct ChapMppeKeys {
    /// First 8 octets of the LM hash.
    pub lm: Zeroizing<[u8; 8]>,
    /// The hash of the NT hash; MS-CHAPv1's 128-bit start key is made of it and the challenge
    /// (RFC 3079 §2.4).
    pub nt: Zeroizing<[u8; 16]>,
}

/// Reads MS-CHAP-MPPE-Keys. `request` is the authenticator of the Access-Request.
///
/// # Errors
/// If it is missing or is not 32 octets.
pub fn chap_mppe_keys(
    accept: &Packet<'_>,
    request: &Authenticator,
    secret: &Secret,
) -> Result<ChapMppeKeys, KeyError> {
    let name = MS_CHAP_MPPE_KEYS.name;
    let value = accept.first(MS_CHAP_MPPE_KEYS).ok_or(KeyError::Missing(name))?;
    let plain = hiding::reveal(value, request, secret)
        .map_err(|reason| KeyError::Unreadable { name, reason })?;
    let length = KeyError::Length { name, length: plain.len() };
    // RFC 2548 §2.4.1: 8 and 16 octets, and 8 of padding.
    let plain: &[u8; 32] = plain.as_slice().try_into().map_err(|_| length)?;
    let (mut lm, mut nt) = (Zeroizing::new([0; 8]), Zeroizing::new([0; 16]));
    lm.copy_from_slice(&plain[..8]);
    nt.copy_from_slice(&plain[8..24]);
    Ok(ChapMppeKeys { lm, nt })
}

#[cfg(test)]
mod tests;
