//! MS-CHAP's arithmetic: password hashes, responses and their proofs.
//!
//! Implements RFC 2433 §A.2, §A.5 and RFC 2759 §8. Parses no packet and knows no CHAP identifiers: that is the CHAP
//! machine's business. Never prints a secret and compares nothing in variable time.

use std::fmt;

use des::Des;
use des::cipher::{Array, BlockCipherEncrypt, KeyInit};
use md4::Md4;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A challenge of either side, 16 octets (RFC 2759 §4).
pub type Challenge = [u8; 16];

/// MD4 of the password in UTF-16LE (RFC 2759 §8.3). Worth as much as the password itself: wiped
/// when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct NtHash([u8; 16]);

impl NtHash {
    /// Hashes a password.
    #[must_use]
    pub fn of_password(password: &str) -> Self {
        let mut utf16 = Zeroizing::new(Vec::with_capacity(2 * password.len()));
        for unit in password.encode_utf16() {
            utf16.extend_from_slice(&unit.to_le_bytes());
        }
        Self(Md4::digest(utf16.as_slice()).into())
    }

    /// Takes a hash that was stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 octets, to store them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The hash of the hash (RFC 2759 §8.4).
    #[must_use]
    pub fn hash(&self) -> NtHashHash {
        NtHashHash(Md4::digest(self.0).into())
    }
}

impl PartialEq for NtHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for NtHash {}

impl fmt::Debug for NtHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NtHash(..)")
    }
}

/// MD4 of an [`NtHash`] (RFC 2759 §8.4): root of the authenticator's proof and of the MPPE keys.
/// Wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct NtHashHash([u8; 16]);

impl NtHashHash {
    /// Takes what RADIUS hands out as MS-CHAPv1's NT-Key (RFC 2548 §2.4.1).
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 octets.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for NtHashHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NtHashHash(..)")
    }
}

/// What both sides know once the Response was sent: the input of all proofs.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// From the Challenge packet.
    pub authenticator_challenge: &'a Challenge,
    /// From the Response packet.
    pub peer_challenge: &'a Challenge,
    /// The name as in the Response packet. A `DOMAIN\` in front is allowed and left out of the
    /// hash, as RFC 2759 §4 and §8.2 want it.
    pub user: &'a [u8],
}

impl Exchange<'_> {
    /// `ChallengeHash` (RFC 2759 §8.2): what the password hash encrypts.
    #[must_use]
    pub fn challenge_hash(&self) -> [u8; 8] {
        let digest: [u8; 20] = Sha1::new()
            .chain_update(self.peer_challenge)
            .chain_update(self.authenticator_challenge)
            .chain_update(without_domain(self.user))
            .finalize()
            .into();
        let mut challenge = [0; 8];
        challenge.copy_from_slice(&digest[..8]);
        challenge
    }

    /// `GenerateNTResponse` (RFC 2759 §8.1): the peer's proof that it knows the password.
    #[must_use]
    pub fn nt_response(&self, hash: &NtHash) -> NtResponse {
        NtResponse(challenge_response(&self.challenge_hash(), hash))
    }

    /// `GenerateAuthenticatorResponse` (RFC 2759 §8.7): the authenticator's proof that it knows
    /// the hash of the password's hash.
    #[must_use]
    pub fn authenticator_response(
        &self,
        hash_hash: &NtHashHash,
        response: &NtResponse,
    ) -> AuthenticatorResponse {
        const MAGIC1: &[u8] = b"Magic server to client signing constant";
        const MAGIC2: &[u8] = b"Pad to make it do more than one iteration";
        let inner = Sha1::new()
            .chain_update(hash_hash.0)
            .chain_update(response.0)
            .chain_update(MAGIC1)
            .finalize();
        let outer = Sha1::new()
            .chain_update(inner)
            .chain_update(self.challenge_hash())
            .chain_update(MAGIC2)
            .finalize();
        AuthenticatorResponse(outer.into())
    }
}

/// MS-CHAPv1's NT-Response (RFC 2433 §A.5): the Challenge itself under the password's hash.
#[must_use]
pub fn nt_response_v1(challenge: &[u8; 8], hash: &NtHash) -> NtResponse {
    NtResponse(challenge_response(challenge, hash))
}

/// The user name without the domain in front of it: what follows the last backslash.
#[must_use]
pub fn without_domain(name: &[u8]) -> &[u8] {
    name.rsplit(|&octet| octet == b'\\').next().unwrap_or(name)
}

/// The NT-Response of a Response packet, 24 octets (RFC 2759 §4). Equality takes constant time.
#[derive(Debug, Clone, Copy)]
pub struct NtResponse([u8; 24]);

impl NtResponse {
    /// Takes the octets of a Response packet.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 24]) -> Self {
        Self(bytes)
    }

    /// The octets of a Response packet.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 24] {
        &self.0
    }
}

impl PartialEq for NtResponse {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for NtResponse {}

/// The authenticator's proof in a Success packet (RFC 2759 §5). Equality takes constant time.
#[derive(Debug, Clone, Copy)]
pub struct AuthenticatorResponse([u8; 20]);

impl AuthenticatorResponse {
    /// Octets of its text form: `S=` and 40 hexadecimal digits.
    pub const TEXT_LEN: usize = 42;

    /// The text at the start of a Success packet's message: `S=` and 40 upper-case hexadecimal
    /// digits (RFC 2759 §5).
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{self}")
    }

    /// Reads the text at the start of a Success packet's message; what follows the 42 octets is
    /// the caller's. Lower-case digits are taken too. `None` if there is no such text.
    #[must_use]
    pub fn from_message(message: &[u8]) -> Option<Self> {
        let digits = message.strip_prefix(b"S=")?.get(..40)?;
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Some(Self(bytes))
    }
}

impl PartialEq for AuthenticatorResponse {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for AuthenticatorResponse {}

impl fmt::Display for AuthenticatorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("S=")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

const fn hex_digit(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        b'a'..=b'f' => Some(octet - b'a' + 10),
        _ => None,
    }
}

/// `ChallengeResponse` (RFC 2759 §8.5): the challenge under three DES keys, which are the hash's
/// 16 octets and five of zero in slices of seven.
fn challenge_response(challenge: &[u8; 8], hash: &NtHash) -> [u8; 24] {
    let mut padded = Zeroizing::new([0; 21]);
    padded[..16].copy_from_slice(&hash.0);
    let mut response = [0; 24];
    for (out, seven) in response.chunks_exact_mut(8).zip(padded.chunks_exact(7)) {
        let key = Zeroizing::new(des_key(seven));
        let mut block = Array(*challenge);
        Des::new(&Array(*key)).encrypt_block(&mut block);
        out.copy_from_slice(&block);
    }
    response
}

/// Spreads 56 bits over the upper seven bits of eight octets (RFC 2759 §8.6); DES ignores the
/// parity bits, so they stay zero.
fn des_key(seven: &[u8]) -> [u8; 8] {
    let bits = seven.iter().fold(0_u64, |bits, &octet| bits << 8 | u64::from(octet));
    let mut key = [0; 8];
    for (index, octet) in key.iter_mut().enumerate() {
        let septet = bits >> (49 - 7 * index) & 0x7F;
        *octet = septet.to_le_bytes()[0] << 1;
    }
    key
}
