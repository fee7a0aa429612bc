//! Authenticators: what proves that a packet is from whom it should be.
//!
//! Implements RFC 2865 §3, RFC 2866 §3, RFC 2869 §5.14 (Message-Authenticator, HMAC-MD5) and RFC
//! 5176 §3.3 and §3.4. A Message-Authenticator stands first in every Access-Request, as the
//! remedy for CVE-2024-3596 wants it. All comparisons take constant time.

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

use super::dictionary::{MESSAGE_AUTHENTICATOR, USER_PASSWORD};
use super::{
    Attributes, Authenticator, Code, HEADER_LEN, MAX_LEN, Packet, Secret, TooLong, hiding,
};

/// Whether a packet had a Message-Authenticator, which then was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// One, and right.
    Present,
    /// None: only MD5 with the secret behind it vouches for the packet.
    Absent,
}

/// Why a packet is not believed. It is silently discarded (RFC 2865 §3, RFC 2869 §5.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// The Request or Response Authenticator is wrong.
    #[error("the authenticator is wrong: forged, late, or the shared secrets differ")]
    Authenticator,
    /// The Message-Authenticator is wrong, has a wrong length, or there are several.
    #[error("the Message-Authenticator is wrong: forged, or the shared secrets differ")]
    MessageAuthenticator,
}

const MESSAGE_AUTHENTICATOR_NUMBER: u8 = 80;
const MESSAGE_AUTHENTICATOR_LEN: usize = 18;

/// An Access-Request with a Message-Authenticator in front. `random` is the Request
/// Authenticator, which must never repeat under one secret (RFC 2865 §3); `password` becomes the
/// User-Password.
///
/// # Errors
/// If it does not fit.
pub fn access_request(
    identifier: u8,
    random: &Authenticator,
    attributes: &Attributes,
    password: Option<&[u8]>,
    secret: &Secret,
) -> Result<Vec<u8>, TooLong> {
    let mut all = attributes.clone();
    if let Some(password) = password {
        let hidden = hiding::hide(password, random, secret)
            .map_err(|length| TooLong { name: USER_PASSWORD.name, length })?;
        all.octets(USER_PASSWORD, &hidden);
    }
    let mut packet = lay_out(Code::AccessRequest, identifier, random, &all, true)?;
    authenticate(&mut packet, secret);
    Ok(packet)
}

/// A Status-Server, which is protected as an Access-Request is (RFC 5997 §3).
///
/// # Errors
/// If it does not fit.
pub fn status_server(
    identifier: u8,
    random: &Authenticator,
    attributes: &Attributes,
    secret: &Secret,
) -> Result<Vec<u8>, TooLong> {
    let mut packet = lay_out(Code::StatusServer, identifier, random, attributes, true)?;
    authenticate(&mut packet, secret);
    Ok(packet)
}

/// An Accounting-Request, Disconnect-Request or CoA-Request: its authenticator is a hash of the
/// packet with zeros in its place (RFC 2866 §3, RFC 5176 §2.3). Accounting has no
/// Message-Authenticator (RFC 2869 §5.19); with the others it is at the sender's choice.
///
/// # Errors
/// If it does not fit.
pub fn hashed_request(
    code: Code,
    identifier: u8,
    attributes: &Attributes,
    message_authenticator: bool,
    secret: &Secret,
) -> Result<Vec<u8>, TooLong> {
    let mut packet = lay_out(code, identifier, &[0; 16], attributes, message_authenticator)?;
    if message_authenticator {
        // RFC 5176 §3.4: computed with an authenticator of zeros.
        authenticate(&mut packet, secret);
    }
    sign(&mut packet, secret);
    Ok(packet)
}

/// An answer to a request that had this authenticator.
///
/// # Errors
/// If it does not fit.
pub fn response(
    code: Code,
    identifier: u8,
    request: &Authenticator,
    attributes: &Attributes,
    message_authenticator: bool,
    secret: &Secret,
) -> Result<Vec<u8>, TooLong> {
    let mut packet = lay_out(code, identifier, request, attributes, message_authenticator)?;
    if message_authenticator {
        authenticate(&mut packet, secret);
    }
    sign(&mut packet, secret);
    Ok(packet)
}

impl Packet<'_> {
    /// Checks an answer to a request that had this authenticator.
    ///
    /// # Errors
    /// If it is not from whoever has the secret, or answers something else.
    pub fn verify_response(
        &self,
        request: &Authenticator,
        secret: &Secret,
    ) -> Result<Presence, Forged> {
        self.verify_hash(request, secret)?;
        // An Accounting-Response has none (RFC 2869 §5.19); the hash alone has to do, as it does
        // for the request.
        if self.code() == Code::AccountingResponse {
            return Ok(Presence::Absent);
        }
        self.verify_message_authenticator(request, secret)
    }

    /// Checks an Accounting-Request, Disconnect-Request or CoA-Request.
    ///
    /// # Errors
    /// If it is not from whoever has the secret.
    pub fn verify_hashed_request(&self, secret: &Secret) -> Result<Presence, Forged> {
        self.verify_hash(&[0; 16], secret)?;
        self.verify_message_authenticator(&[0; 16], secret)
    }

    /// Checks an Access-Request, whose authenticator proves nothing.
    ///
    /// # Errors
    /// If its Message-Authenticator is wrong.
    pub fn verify_access_request(&self, secret: &Secret) -> Result<Presence, Forged> {
        self.verify_message_authenticator(&self.authenticator(), secret)
    }

    /// RFC 2865 §3: MD5 of the packet with `stand_in` as its authenticator, and the secret.
    fn verify_hash(&self, stand_in: &Authenticator, secret: &Secret) -> Result<(), Forged> {
        let bytes = self.as_bytes();
        let hash = Md5::new()
            .chain_update(&bytes[..4])
            .chain_update(stand_in)
            .chain_update(&bytes[HEADER_LEN..])
            .chain_update(secret.as_bytes())
            .finalize();
        let equal = hash.as_slice().ct_eq(&self.authenticator());
        if equal.into() { Ok(()) } else { Err(Forged::Authenticator) }
    }

    /// RFC 2869 §5.14: HMAC-MD5 of the packet with `stand_in` as its authenticator and zeros in
    /// place of the attribute's own value.
    fn verify_message_authenticator(
        &self,
        stand_in: &Authenticator,
        secret: &Secret,
    ) -> Result<Presence, Forged> {
        let mut positions = self.positions(MESSAGE_AUTHENTICATOR_NUMBER);
        let Some(position) = positions.next() else { return Ok(Presence::Absent) };
        if positions.next().is_some() || position.len() != 16 {
            return Err(Forged::MessageAuthenticator);
        }
        let bytes = self.as_bytes();
        let parts: [&[u8]; 5] = [
            &bytes[..4],
            stand_in,
            &bytes[HEADER_LEN..position.start],
            &[0; 16],
            &bytes[position.end..],
        ];
        let equal = hmac(secret, &parts).as_slice().ct_eq(&bytes[position]);
        if equal.into() { Ok(Presence::Present) } else { Err(Forged::MessageAuthenticator) }
    }
}

/// The packet with zeros where a Message-Authenticator goes.
fn lay_out(
    code: Code,
    identifier: u8,
    authenticator: &Authenticator,
    attributes: &Attributes,
    message_authenticator: bool,
) -> Result<Vec<u8>, TooLong> {
    let attributes = attributes.as_bytes()?;
    let extra = if message_authenticator { MESSAGE_AUTHENTICATOR_LEN } else { 0 };
    let length = HEADER_LEN + extra + attributes.len();
    let too_long = TooLong { name: MESSAGE_AUTHENTICATOR.name, length };
    let field = u16::try_from(length).ok().filter(|_| length <= MAX_LEN).ok_or(too_long)?;
    let mut packet = Vec::with_capacity(length);
    packet.extend_from_slice(&[code.number(), identifier]);
    packet.extend_from_slice(&field.to_be_bytes());
    packet.extend_from_slice(authenticator);
    if message_authenticator {
        packet.extend_from_slice(&[MESSAGE_AUTHENTICATOR_NUMBER, 18]);
        packet.extend_from_slice(&[0; 16]);
    }
    packet.extend_from_slice(attributes);
    Ok(packet)
}

/// Fills in the Message-Authenticator that stands first.
fn authenticate(packet: &mut [u8], secret: &Secret) {
    let code = hmac(secret, &[packet]);
    packet[HEADER_LEN + 2..HEADER_LEN + MESSAGE_AUTHENTICATOR_LEN].copy_from_slice(&code);
}

/// Replaces the authenticator by the hash of the packet and the secret.
fn sign(packet: &mut [u8], secret: &Secret) {
    let hash = Md5::new().chain_update(&*packet).chain_update(secret.as_bytes()).finalize();
    packet[4..HEADER_LEN].copy_from_slice(&hash);
}

fn hmac(secret: &Secret, parts: &[&[u8]]) -> [u8; 16] {
    // A key of any length will do (RFC 2104 §2), so there is no error.
    let Ok(mut hmac) = Hmac::<Md5>::new_from_slice(secret.as_bytes()) else { return [0; 16] };
    for part in parts {
        hmac.update(part);
    }
    hmac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;
