//! The SHA-1 half of MPPE's key change, for any number of chains.
//!
//! Implements `GetNewKeyFromSHA` (RFC 3078 §7.3), whose message always fills two blocks. Knows
//! nothing of the RC4 step that follows.

use protocol::mppe::Strength;
use sha1::block_api::compress;

use super::packet::Key;
#[cfg(target_arch = "x86_64")]
use super::sha_ni::ShaNi;

/// What a key change starts from.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    pub strength: Strength,
    pub start: &'a Key,
    pub key: &'a Key,
}

/// How SHA-1 is computed.
#[derive(Debug, Clone, Copy)]
pub enum Sha {
    #[cfg(target_arch = "x86_64")]
    ShaNi(ShaNi),
    Portable,
}

impl Sha {
    /// SHA-NI if this CPU has it.
    #[cfg(target_arch = "x86_64")]
    pub fn fastest() -> Self {
        ShaNi::detect().map_or(Self::Portable, Self::ShaNi)
    }

    /// There is no SHA-NI elsewhere.
    #[cfg(not(target_arch = "x86_64"))]
    pub const fn fastest() -> Self {
        Self::Portable
    }

    /// Gives the interim keys. Only the first [`Strength::key_len`] octets of each count.
    pub fn interim_keys<'a>(
        self,
        changes: impl Iterator<Item = Change<'a>>,
        mut each: impl FnMut(usize, Key),
    ) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::ShaNi(sha_ni) => {
                let mut changes = changes.enumerate();
                while let Some((index, first)) = changes.next() {
                    let mut give = |keys: &[Key]| {
                        for (n, key) in keys.iter().enumerate() {
                            each(index + n, *key);
                        }
                    };
                    match (changes.next(), changes.next()) {
                        (Some((_, second)), Some((_, third))) => {
                            give(&sha_ni.interim_keys([first, second, third]));
                        }
                        (Some((_, second)), None) => give(&sha_ni.interim_keys([first, second])),
                        _ => give(&sha_ni.interim_keys([first])),
                    }
                }
            }
            Self::Portable => {
                for (index, change) in changes.enumerate() {
                    each(index, portable(change));
                }
            }
        }
    }
}

/// SHA-1's initial state.
pub(super) const IV: [u32; 5] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];

/// Octets of `SHApad2` (RFC 3078 §7.3).
pub(super) const PAD2: u8 = 0xF2;

fn portable(Change { strength, start, key }: Change<'_>) -> Key {
    let len = strength.key_len();
    let mut blocks = [[0; 64]; 2];
    let message = blocks.as_flattened_mut();
    message[..len].copy_from_slice(&start[..len]);
    message[40 + len..][..len].copy_from_slice(&key[..len]);
    message[40 + 2 * len..][..40].fill(PAD2);
    let end = 80 + 2 * len;
    message[end] = 0x80;
    message[120..].copy_from_slice(&(8 * end as u64).to_be_bytes());
    let mut state = IV;
    compress(&mut state, &blocks);
    let mut interim = [0; 16];
    for (octets, word) in interim.chunks_exact_mut(4).zip(state) {
        octets.copy_from_slice(&word.to_be_bytes());
    }
    interim
}
