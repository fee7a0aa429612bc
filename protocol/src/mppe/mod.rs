//! Microsoft Point-to-Point Encryption: keys (RFC 3079) and the cipher's reference form (RFC 3078).

use zeroize::{Zeroize, ZeroizeOnDrop};

/// How many bits of a session key are secret (RFC 3078 §2.1, bits S, M and L).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Zeroize)]
pub enum Strength {
    /// 40 bit: 8-octet keys that start with D1 26 9E.
    Bits40,
    /// 56 bit: 8-octet keys that start with D1.
    Bits56,
    /// 128 bit: 16-octet keys.
    Bits128,
}

/// A session key of one direction. Wiped from memory when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SessionKey {
    /// For 40 and 56 bit only the first 8 octets are used, the others are zero.
    bytes: [u8; 16],
    strength: Strength,
}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionKey").field("strength", &self.strength).finish_non_exhaustive()
    }
}
