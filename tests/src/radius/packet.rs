//! RADIUS packets as bytes (RFC 2865 §3, RFC 3579 §3.2): taken apart, spoiled and signed again.
//! Shares no code with the product: what a forger could compute is computed here, independently.
//! Never judges what it is given.

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};

/// Code of an Access-Accept.
pub const ACCESS_ACCEPT: u8 = 2;
/// Type of the attribute Message-Authenticator (RFC 3579 §3.2).
pub const MESSAGE_AUTHENTICATOR: u8 = 80;
/// Type of the attribute that holds a vendor's (RFC 2865 §5.26).
pub const VENDOR_SPECIFIC: u8 = 26;

const HEADER: usize = 20;

/// The attributes of a packet, whole, in their order: type, length and value.
pub fn attributes(packet: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = packet.get(HEADER..).unwrap_or_default();
    let mut all = Vec::new();
    while let [_, length, ..] = *rest {
        let Some((one, others)) = rest.split_at_checked(usize::from(length)) else { break };
        if one.len() < 2 {
            break;
        }
        all.push(one.to_vec());
        rest = others;
    }
    all
}

/// The value of the first attribute of a type.
pub fn value(packet: &[u8], kind: u8) -> Option<Vec<u8>> {
    let found = attributes(packet).into_iter().find(|attribute| attribute[0] == kind)?;
    Some(found[2..].to_vec())
}

/// An answer with other attributes, signed for the request by `secret`: with the response
/// authenticator of RFC 2865 §3, and the Message-Authenticator if there is room for one.
pub fn answer(code: u8, request: &[u8], attributes: &[Vec<u8>], secret: &str) -> Option<Vec<u8>> {
    let mut packet = vec![code, *request.get(1)?];
    let body = attributes.concat();
    packet.extend_from_slice(&u16::try_from(HEADER + body.len()).ok()?.to_be_bytes());
    packet.extend_from_slice(request.get(4..HEADER)?);
    packet.extend_from_slice(&body);

    let mut place = HEADER;
    for attribute in attributes {
        if attribute.first() == Some(&MESSAGE_AUTHENTICATOR) && attribute.len() == 18 {
            packet[place + 2..place + 18].fill(0);
            let mut mac = Hmac::<Md5>::new_from_slice(secret.as_bytes()).ok()?;
            mac.update(&packet);
            packet[place + 2..place + 18].copy_from_slice(&mac.finalize().into_bytes());
        }
        place += attribute.len();
    }
    authenticated(&packet, request, secret)
}

/// An answer with the response authenticator that fits its octets (RFC 2865 §3): what one can make
/// who finds collisions of MD5 but cannot compute a Message-Authenticator.
pub fn authenticated(answered: &[u8], request: &[u8], secret: &str) -> Option<Vec<u8>> {
    let mut packet = answered.to_vec();
    packet.get_mut(4..HEADER)?.copy_from_slice(request.get(4..HEADER)?);
    let mut digest = Md5::new();
    digest.update(&packet);
    digest.update(secret.as_bytes());
    packet[4..HEADER].copy_from_slice(&digest.finalize());
    Some(packet)
}

/// The answer as it is but with other attributes, signed again.
pub fn altered(
    answered: &[u8],
    request: &[u8],
    secret: &str,
    alter: impl FnOnce(&mut Vec<Vec<u8>>),
) -> Option<Vec<u8>> {
    let mut attributes = attributes(answered);
    alter(&mut attributes);
    answer(*answered.first()?, request, &attributes, secret)
}

/// An answer without Message-Authenticator, as servers sent them before Blast-RADIUS.
pub fn unsigned(answered: &[u8], request: &[u8], secret: &str) -> Option<Vec<u8>> {
    altered(answered, request, secret, |attributes| {
        attributes.retain(|attribute| attribute.first() != Some(&MESSAGE_AUTHENTICATOR));
    })
}
