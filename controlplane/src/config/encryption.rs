//! How data is encrypted: `encryption`, `encryption-strengths` and `encryption-mode` of the server,
//! `use-encryption` of a profile.
//!
//! Words and numbers here; what they mean is CCP's.

use clap::ValueEnum;
use protocol::mppe::Strength;
use protocol::ppp::ccp::{Level, Modes, Policy, Strengths};
use serde::Deserialize;

/// Whether data is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// Always, or there is no session.
    Require,
    /// We propose it, and do without if the peer refuses.
    Prefer,
    /// If the peer proposes it.
    Allow,
    /// Never: data crosses in the clear.
    Deny,
}

impl From<Encryption> for Level {
    fn from(encryption: Encryption) -> Self {
        match encryption {
            Encryption::Require => Self::Require,
            Encryption::Prefer => Self::Prefer,
            Encryption::Allow => Self::Allow,
            Encryption::Deny => Self::Deny,
        }
    }
}

/// Secret bits of MPPE's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(try_from = "u8")]
pub enum KeyBits {
    /// 128.
    #[value(name = "128")]
    Bits128,
    /// 56.
    #[value(name = "56")]
    Bits56,
    /// 40.
    #[value(name = "40")]
    Bits40,
}

impl TryFrom<u8> for KeyBits {
    type Error = String;

    fn try_from(bits: u8) -> Result<Self, String> {
        match bits {
            128 => Ok(Self::Bits128),
            56 => Ok(Self::Bits56),
            40 => Ok(Self::Bits40),
            _ => Err(format!("MPPE has keys of 128, 56 and 40 bits, and none of {bits}")),
        }
    }
}

impl From<KeyBits> for Strength {
    fn from(bits: KeyBits) -> Self {
        match bits {
            KeyBits::Bits128 => Self::Bits128,
            KeyBits::Bits56 => Self::Bits56,
            KeyBits::Bits40 => Self::Bits40,
        }
    }
}

/// MPPE's modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum EncryptionMode {
    /// A new key for each packet.
    Stateless,
    /// Stateless, or stateful for a peer that asks for it.
    Any,
    /// A new key every 256 packets; stateless for a peer that insists on it.
    Stateful,
}

impl From<EncryptionMode> for Modes {
    fn from(mode: EncryptionMode) -> Self {
        match mode {
            EncryptionMode::Stateless => Self::Stateless,
            EncryptionMode::Any => Self::Any,
            EncryptionMode::Stateful => Self::Stateful,
        }
    }
}

/// All in CCP's words.
#[must_use]
pub fn policy(encryption: Encryption, strengths: &[KeyBits], mode: EncryptionMode) -> Policy {
    let strengths: Vec<Strength> = strengths.iter().copied().map(Strength::from).collect();
    Policy { level: encryption.into(), strengths: Strengths::of(&strengths), modes: mode.into() }
}
