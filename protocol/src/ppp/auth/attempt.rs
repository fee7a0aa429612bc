//! A login that somebody has to judge, and what a right password yields.
//!
//! Implements the checks of RFC 1334 §2, RFC 1994 §2, RFC 2433 §6 and RFC 2759 §4, §5. Knows no
//! users: the owner of them, or RADIUS, decides.

use md5::Md5;
use sha1::Digest;
use subtle::ConstantTimeEq;

use crate::mppe::MasterKey;
use crate::mschap::{self, AuthenticatorResponse, Challenge, Exchange, NtHash, NtResponse};

use super::{Credential, Method, Password, StartKeys};

/// A login that the owner of the users has to judge: enough for a local table and for RADIUS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Names the attempt, and with CHAP it is the identifier of the packets; the verdict names it.
    pub identifier: u8,
    /// The user's name as sent, `DOMAIN\` included. Octets, in whatever charset the peer uses.
    pub name: Vec<u8>,
    /// What proves the password.
    pub proof: Proof,
    /// Follows a Failure with `R=1` in the same exchange: together they are one failure at most.
    pub is_retry: bool,
}

/// What a peer sent to prove that it knows its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// RFC 1334 §2.2.1: the password itself.
    Pap {
        /// As sent, in whatever charset the peer uses.
        password: Password,
    },
    /// RFC 1994 §4.1. The CHAP identifier, which the hash covers, is the attempt's.
    ChapMd5 {
        /// Ours, from the Challenge packet.
        challenge: Challenge,
        /// The Response's value.
        response: [u8; 16],
    },
    /// RFC 2433 §6.
    MsChapV1 {
        /// Ours, from the Challenge packet.
        challenge: [u8; 8],
        /// NT-Response of the Response.
        nt_response: NtResponse,
    },
    /// RFC 2759 §4.
    MsChapV2 {
        /// Ours, from the Challenge packet.
        authenticator_challenge: Challenge,
        /// The peer's, from its Response.
        peer_challenge: Challenge,
        /// NT-Response of the Response.
        nt_response: NtResponse,
    },
}

impl Proof {
    /// The method that it belongs to.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self {
            Self::Pap { .. } => Method::Pap,
            Self::ChapMd5 { .. } => Method::ChapMd5,
            Self::MsChapV1 { .. } => Method::MsChapV1,
            Self::MsChapV2 { .. } => Method::MsChapV2,
        }
    }
}

/// Why a proof does not hold, for a log. The peer learns no more than "wrong password".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// The password is another.
    #[error("wrong password")]
    WrongPassword,
    /// Nobody can tell.
    #[error("CHAP-MD5 needs the clear password, and only a hash of it is stored")]
    NoClearPassword,
}

impl Attempt {
    /// Checks the proof against what is stored, in constant time.
    ///
    /// # Errors
    /// If the password is wrong, or what is stored does not do for the method.
    pub fn verify(&self, stored: &Credential) -> Result<Accepted, Unproven> {
        let hash = stored.nt_hash();
        let (right, accepted) = match &self.proof {
            Proof::Pap { password } => (is_password(password, stored), Accepted::default()),
            Proof::ChapMd5 { challenge, response } => {
                let clear = stored.clear().ok_or(Unproven::NoClearPassword)?;
                let right = md5_response(self.identifier, clear, challenge).ct_eq(response);
                (right.into(), Accepted::default())
            }
            Proof::MsChapV1 { challenge, nt_response } => {
                let keys = StartKeys::from_mschapv1(&hash.hash(), challenge);
                let right = mschap::nt_response_v1(challenge, hash) == *nt_response;
                (right, Accepted { response: None, keys: Some(keys) })
            }
            Proof::MsChapV2 { authenticator_challenge, peer_challenge, nt_response } => {
                let exchange =
                    Exchange { authenticator_challenge, peer_challenge, user: &self.name };
                let hash_hash = hash.hash();
                let master = MasterKey::from_mschapv2(&hash_hash, nt_response);
                let response = exchange.authenticator_response(&hash_hash, nt_response);
                let right = exchange.nt_response(hash) == *nt_response;
                let keys = StartKeys::from(&master);
                (right, Accepted { response: Some(response), keys: Some(keys) })
            }
        };
        if right { Ok(accepted) } else { Err(Unproven::WrongPassword) }
    }
}

/// The clear password decides where it is stored, else the hash of what was sent.
fn is_password(sent: &Password, stored: &Credential) -> bool {
    match (stored.clear(), std::str::from_utf8(sent.as_bytes())) {
        (Some(clear), _) => sent == clear,
        (None, Ok(password)) => NtHash::of_password(password) == *stored.nt_hash(),
        (None, Err(_)) => false,
    }
}

/// The value of a CHAP-MD5 Response (RFC 1994 §4.1): identifier, secret, challenge.
pub(super) fn md5_response(identifier: u8, secret: &Password, challenge: &[u8]) -> [u8; 16] {
    Md5::new()
        .chain_update([identifier])
        .chain_update(secret.as_bytes())
        .chain_update(challenge)
        .finalize()
        .into()
}

/// What a right password yields: nothing for PAP and CHAP-MD5. RADIUS hands out both parts
/// (RFC 2548 §2.3.3, §2.4).
#[derive(Debug, Clone, Default)]
pub struct Accepted {
    /// MS-CHAPv2's: the server's own proof, for the Success packet (RFC 2759 §5). The peer is
    /// refused without it.
    pub response: Option<AuthenticatorResponse>,
    /// What MPPE's keys are made of.
    pub keys: Option<StartKeys>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pap(password: &[u8]) -> Attempt {
        let proof = Proof::Pap { password: Password::from(password) };
        Attempt { identifier: 1, name: b"alice".to_vec(), proof, is_retry: false }
    }

    #[test]
    fn pap_needs_a_hash_only() {
        let hash = Credential::of_hash(NtHash::of_password("пароль"));
        let clear = Credential::of_password("пароль");
        for stored in [&hash, &clear] {
            let accepted = pap("пароль".as_bytes()).verify(stored).unwrap();
            assert!(accepted.keys.is_none() && accepted.response.is_none());
            for wrong in [&b""[..], b"\xFF\xFE", "пароль ".as_bytes()] {
                assert_eq!(pap(wrong).verify(stored).unwrap_err(), Unproven::WrongPassword);
            }
        }
    }

    #[test]
    fn chap_md5_says_that_a_hash_does_not_do() {
        let clear = Credential::of_password("secret");
        let challenge = [9; 16];
        let response = md5_response(7, clear.clear().unwrap(), &challenge);
        let proof = Proof::ChapMd5 { challenge, response };
        let attempt = Attempt { identifier: 7, name: b"alice".to_vec(), proof, is_retry: false };
        assert!(attempt.verify(&clear).is_ok());
        let hash = Credential::of_hash(NtHash::of_password("secret"));
        assert_eq!(attempt.verify(&hash).unwrap_err(), Unproven::NoClearPassword);
        // RFC 1994 §4.1: the hash covers the identifier.
        let other = Attempt { identifier: 8, ..attempt };
        assert_eq!(other.verify(&clear).unwrap_err(), Unproven::WrongPassword);
    }
}
