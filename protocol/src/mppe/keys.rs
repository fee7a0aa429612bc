//! MPPE's keys: from an MS-CHAPv2 login to the key of each packet.
//!
//! Implements RFC 3079 §3 (master key, start keys) and RFC 3078 §7.3 (key change). Keys wipe
//! themselves when dropped and are never printed.

use std::fmt;

use rc4::{KeyInit, Rc4, StreamCipher};
use sha1::{Digest, Sha1};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::mschap::{NtHashHash, NtResponse};

/// How many bits of a session key are secret (RFC 3078 §2.1, bits S, M and L).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Zeroize)]
#[repr(u8)]
pub enum Strength {
    /// 40 bit: 8-octet keys that start with D1 26 9E.
    Bits40,
    /// 56 bit: 8-octet keys that start with D1.
    Bits56,
    /// 128 bit: 16-octet keys.
    Bits128,
}

impl Strength {
    /// Octets of a key, 8 or 16.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::Bits40 | Self::Bits56 => 8,
            Self::Bits128 => 16,
        }
    }

    /// How many bits are secret.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Bits40 => 40,
            Self::Bits56 => 56,
            Self::Bits128 => 128,
        }
    }

    /// The octets that every session key of this strength starts with (RFC 3079 §3.3).
    #[must_use]
    pub const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Bits40 => &[0xD1, 0x26, 0x9E],
            Self::Bits56 => &[0xD1],
            Self::Bits128 => &[],
        }
    }
}

/// Who encrypts with a key: the side that dialled or the side that answered. Each side receives
/// with the key that the other one sends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The peer that was authenticated (the one that sent the Response).
    Client,
    /// The authenticator.
    Server,
}

/// `MasterKey` of RFC 3079 §3.4: the root of both directions' keys. Wiped when dropped, never
/// printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; 16]);

impl MasterKey {
    /// `GetMasterKey` (RFC 3079 §3.4), from a successful MS-CHAPv2 login.
    #[must_use]
    pub fn from_mschapv2(hash_hash: &NtHashHash, response: &NtResponse) -> Self {
        const MAGIC1: &[u8] = b"This is the MPPE Master Key";
        let digest: Zeroizing<[u8; 20]> = Zeroizing::new(
            Sha1::new()
                .chain_update(hash_hash.as_bytes())
                .chain_update(response.as_bytes())
                .chain_update(MAGIC1)
                .finalize()
                .into(),
        );
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        Self(key)
    }

    /// The 16 octets.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// `GetAsymmetricStartKey` (RFC 3079 §3.4) for what `sender` sends.
    #[must_use]
    pub fn start_key(&self, sender: Sender, strength: Strength) -> StartKey {
        // Magic2 and Magic3 of RFC 3079 §3.4.
        let magic: &[u8] = match sender {
            Sender::Client => {
                b"On the client side, this is the send key; on the server side, it is the receive key."
            }
            Sender::Server => {
                b"On the client side, this is the receive key; on the server side, it is the send key."
            }
        };
        let digest: Zeroizing<[u8; 20]> = Zeroizing::new(
            Sha1::new()
                .chain_update(self.0)
                .chain_update(SHA_PAD1)
                .chain_update(magic)
                .chain_update(SHA_PAD2)
                .finalize()
                .into(),
        );
        let mut key = Zeroizing::new([0; 16]);
        key.copy_from_slice(&digest[..16]);
        StartKey::new(&key, strength)
    }

    /// The initial session key of what `sender` sends.
    #[must_use]
    pub fn session_key(&self, sender: Sender, strength: Strength) -> SessionKey {
        SessionKey::initial(&self.start_key(sender, strength))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// The start key of one direction (RFC 3079 §3.4; also what RADIUS hands out, RFC 2548 §2.4.2): it
/// enters every key change and encrypts nothing. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct StartKey {
    /// For 40 and 56 bit only the first 8 octets are used, the others are zero.
    bytes: [u8; 16],
    strength: Strength,
}

impl StartKey {
    /// Takes the first [`Strength::key_len`] octets.
    #[must_use]
    pub fn new(octets: &[u8; 16], strength: Strength) -> Self {
        let mut bytes = [0; 16];
        bytes[..strength.key_len()].copy_from_slice(&octets[..strength.key_len()]);
        Self { bytes, strength }
    }

    /// The key, 8 or 16 octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.strength.key_len()]
    }
}

impl fmt::Debug for StartKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartKey").field("strength", &self.strength).finish_non_exhaustive()
    }
}

/// A session key of one direction, with the start key that the next one is made of: a place in
/// the chain of keys. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SessionKey {
    start: StartKey,
    /// For 40 and 56 bit only the first 8 octets are used, the others are zero.
    bytes: [u8; 16],
}

impl SessionKey {
    /// The initial session key (RFC 3079 §3.4): the start key through `GetNewKeyFromSHA` and the
    /// strength's prefix. Other than in a key change there is no RC4 step. Stateless mode
    /// encrypts nothing with it: the first packet already has the next key.
    #[must_use]
    pub fn initial(start: &StartKey) -> Self {
        let bytes = finish(new_key_from_sha(start, start.as_bytes()), start.strength);
        Self { start: start.clone(), bytes }
    }

    /// Takes a place in the chain that was saved: the first [`Strength::key_len`] octets of
    /// `current`.
    #[must_use]
    pub fn resume(start: &StartKey, current: &[u8; 16]) -> Self {
        let mut bytes = [0; 16];
        let len = start.strength.key_len();
        bytes[..len].copy_from_slice(&current[..len]);
        Self { start: start.clone(), bytes }
    }

    /// The key, 8 or 16 octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.strength().key_len()]
    }

    /// The start key of the direction.
    #[must_use]
    pub const fn start_key(&self) -> &StartKey {
        &self.start
    }

    /// How many bits are secret.
    #[must_use]
    pub const fn strength(&self) -> Strength {
        self.start.strength
    }

    /// The next key in the chain (RFC 3078 §7.3): SHA, then RC4 of the interim key with itself.
    #[must_use]
    pub fn next_key(&self) -> Self {
        let mut key = new_key_from_sha(&self.start, self.as_bytes());
        let interim = Zeroizing::new(*key);
        let len = self.strength().key_len();
        apply_rc4(&interim[..len], &mut key[..len]);
        Self { start: self.start.clone(), bytes: finish(key, self.strength()) }
    }

    /// Encrypts or decrypts `data` in place with freshly initialised tables (RFC 3078 §5, §6).
    pub fn apply_keystream(&self, data: &mut [u8]) {
        apply_rc4(self.as_bytes(), data);
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKey").field("strength", &self.strength()).finish_non_exhaustive()
    }
}

/// `SHApad1` of RFC 3078 §7.3 and RFC 3079 §3.4.
const SHA_PAD1: [u8; 40] = [0x00; 40];
/// `SHApad2`, likewise.
const SHA_PAD2: [u8; 40] = [0xF2; 40];

/// `GetNewKeyFromSHA` (RFC 3078 §7.3). Octets beyond the key's length are zero.
fn new_key_from_sha(start: &StartKey, session: &[u8]) -> Zeroizing<[u8; 16]> {
    let digest: Zeroizing<[u8; 20]> = Zeroizing::new(
        Sha1::new()
            .chain_update(start.as_bytes())
            .chain_update(SHA_PAD1)
            .chain_update(session)
            .chain_update(SHA_PAD2)
            .finalize()
            .into(),
    );
    let len = start.strength.key_len();
    let mut interim = Zeroizing::new([0; 16]);
    interim[..len].copy_from_slice(&digest[..len]);
    interim
}

/// Overwrites the first octets with the strength's prefix, after every change (RFC 3079 §3.3).
fn finish(mut key: Zeroizing<[u8; 16]>, strength: Strength) -> [u8; 16] {
    let prefix = strength.prefix();
    key[..prefix.len()].copy_from_slice(prefix);
    *key
}

fn apply_rc4(key: &[u8], data: &mut [u8]) {
    // The only error is a key length outside 1 to 256, and keys here have 8 or 16 octets.
    if let Ok(mut cipher) = Rc4::new_from_slice(key) {
        cipher.apply_keystream(data);
    }
}
