//! Microsoft Point-to-Point Encryption: keys (RFC 3079) and the cipher's reference form
//! (RFC 3078), in both modes.
//!
//! | module | what |
//! |---|---|
//! | [`keys`] | master key, start keys, the chain of session keys |
//! | [`header`] | the two octets in front of the encrypted data |
//! | [`stateless`] | one packet at a time, packets in order: what faster engines are tested against |
//! | [`stateful`] | the same of stateful mode |

use std::fmt;

pub mod header;
pub mod keys;
pub mod stateful;
pub mod stateless;

pub use header::{CoherencyCount, Header};
pub use keys::{MasterKey, Sender, SessionKey, StartKey, Strength};
pub use stateless::{Refused, Stateless};

/// How often keys change (RFC 3078 §2.1, bit H).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Before each packet: a lost packet costs no other.
    Stateless,
    /// Every 256 packets: a lost packet costs all until the sender has been asked to start again.
    Stateful,
}

/// What one direction starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cipher {
    /// Its initial key.
    pub key: SessionKey,
    /// How often it changes.
    pub mode: Mode,
}

impl fmt::Display for Cipher {
    /// RouterOS's word for it: `MPPE128 stateless`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            Mode::Stateless => "stateless",
            Mode::Stateful => "stateful",
        };
        write!(f, "MPPE{} {mode}", self.key.strength().bits())
    }
}
