//! What RADIUS says of MPPE: MS-MPPE-Encryption-Policy and -Types.
//!
//! Implements RFC 2548 §2.4.4 and §2.4.5, in one direction: RADIUS may demand more than the
//! configuration, and never allow less.

use protocol::mppe::Strength;
use protocol::ppp::ccp::{Level, Modes, Policy, Strengths};
use protocol::radius::Packet;
use protocol::radius::dictionary::{MS_MPPE_ENCRYPTION_POLICY, MS_MPPE_ENCRYPTION_TYPES};
use protocol::radius::microsoft::KeyError;

use super::number;

/// Encryption-Required (RFC 2548 §2.4.4); 1, allowed, demands nothing.
const REQUIRED: u32 = 2;

/// Bits of MS-MPPE-Encryption-Types (RFC 2548 §2.4.5).
const BITS_40: u32 = 0x2;
const BITS_128: u32 = 0x4;
/// Not in RFC 2548, but some servers know it.
const BITS_56: u32 = 0x8;

/// Why data cannot be encrypted as it must be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unencrypted {
    /// No key strength is allowed by both.
    #[error(
        "its MS-MPPE-Encryption-Types allow none of the key strengths that are allowed here ({0})"
    )]
    NoStrength(Strengths),
    /// Encryption is required and there are no keys.
    #[error(
        "encryption is required, and {0}. On FreeRADIUS: `use_mppe = yes` in `mods-enabled/mschap`"
    )]
    NoKeys(KeyError),
}

/// Whether nobody may come in without encryption.
pub(super) const fn is_required(policy: &Policy) -> bool {
    !policy.permits_clear()
}

/// The configuration's policy with what an Access-Accept demands beyond it.
pub(super) fn tighten(policy: Policy, packet: &Packet<'_>) -> Result<Policy, Unencrypted> {
    let required = number(packet, MS_MPPE_ENCRYPTION_POLICY) == Some(REQUIRED);
    let strengths = number(packet, MS_MPPE_ENCRYPTION_TYPES).map_or(Strengths::ALL, strengths);
    let level = if required { Level::Require } else { Level::Deny };
    let tightened = policy.tighten(Policy { level, strengths, modes: Modes::Stateful });
    match tightened.level {
        Level::Deny => Ok(policy),
        Level::Require if tightened.strengths.is_empty() => {
            Err(Unencrypted::NoStrength(policy.strengths))
        }
        // What may be in the clear is, where no strength is left.
        _ if tightened.strengths.is_empty() => Ok(Policy { level: Level::Deny, ..policy }),
        _ => Ok(tightened),
    }
}

/// RFC 2548 has no bit for 56, so whoever is content with 40 is content with 56, too.
fn strengths(types: u32) -> Strengths {
    let all = [
        (Strength::Bits128, types & BITS_128 != 0),
        (Strength::Bits56, types & (BITS_56 | BITS_40) != 0),
        (Strength::Bits40, types & BITS_40 != 0),
    ];
    let allowed: Vec<Strength> =
        all.into_iter().filter_map(|(strength, allowed)| allowed.then_some(strength)).collect();
    Strengths::of(&allowed)
}
