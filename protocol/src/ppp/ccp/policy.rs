//! What an owner wants of encryption: whether, how strong, and in which mode.
//!
//! The levels are RouterOS's `use-encryption`; strengths and mode are RFC 3078 §2.1's bits.

use std::fmt;

use crate::mppe::{Mode, Strength};

/// A set of key strengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Strengths(u8);

/// The strongest first.
const ORDER: [Strength; 3] = [Strength::Bits128, Strength::Bits56, Strength::Bits40];

const fn member(strength: Strength) -> u8 {
    match strength {
        Strength::Bits128 => 1,
        Strength::Bits56 => 2,
        Strength::Bits40 => 4,
    }
}

impl Strengths {
    /// No strength at all.
    pub const NONE: Self = Self(0);
    /// 128 bit alone.
    pub const BITS_128: Self = Self(member(Strength::Bits128));
    /// All three.
    pub const ALL: Self = Self(7);

    /// The set of these.
    #[must_use]
    pub fn of(strengths: &[Strength]) -> Self {
        Self(strengths.iter().fold(0, |set, &strength| set | member(strength)))
    }

    /// Is this strength in the set?
    #[must_use]
    pub const fn contains(self, strength: Strength) -> bool {
        self.0 & member(strength) != 0
    }

    /// Is there none in it?
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// All in the set, the strongest first.
    pub fn iter(self) -> impl Iterator<Item = Strength> {
        ORDER.into_iter().filter(move |&strength| self.contains(strength))
    }

    /// The strongest in the set.
    #[must_use]
    pub fn strongest(self) -> Option<Strength> {
        self.iter().next()
    }
}

impl fmt::Display for Strengths {
    /// `MPPE-128`, `MPPE-128/56/40`, `MPPE` for none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MPPE")?;
        for (index, strength) in self.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { '-' } else { '/' }, strength.bits())?;
        }
        Ok(())
    }
}

/// Whether data is to be encrypted, from the laxest to the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Never: CCP is refused as a whole.
    Deny,
    /// If the peer proposes it.
    Allow,
    /// We propose it, and do without if the peer refuses.
    Prefer,
    /// Always, or there is no link.
    Require,
}

/// The modes of RFC 3078 §8 that are agreed to, from the strictest to the laxest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Modes {
    /// Stateless mode alone: the key changes with every packet.
    Stateless,
    /// Stateless mode is proposed, and stateful mode is accepted.
    Any,
    /// Stateful mode is proposed, and stateless mode is accepted from a peer that insists on it.
    Stateful,
}

impl Modes {
    /// What is proposed.
    #[must_use]
    pub const fn preferred(self) -> Mode {
        match self {
            Self::Stateless | Self::Any => Mode::Stateless,
            Self::Stateful => Mode::Stateful,
        }
    }

    /// Is this one agreed to?
    #[must_use]
    pub const fn permit(self, mode: Mode) -> bool {
        matches!(mode, Mode::Stateless) || !matches!(self, Self::Stateless)
    }
}

/// What an owner wants of encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Whether.
    pub level: Level,
    /// With keys of these strengths; the strongest that the peer has.
    pub strengths: Strengths,
    /// In which modes.
    pub modes: Modes,
}

impl Policy {
    /// No encryption.
    pub const DENY: Self =
        Self { level: Level::Deny, strengths: Strengths::ALL, modes: Modes::Stateless };

    /// Stateless MPPE of one of these strengths, or no link.
    #[must_use]
    pub const fn require(strengths: Strengths) -> Self {
        Self { level: Level::Require, strengths, modes: Modes::Stateless }
    }

    /// What satisfies both: never weaker than either. Where one requires encryption and no
    /// strength is left, there is no link.
    #[must_use]
    pub fn tighten(self, other: Self) -> Self {
        Self {
            level: self.level.max(other.level),
            strengths: self.strengths.intersection(other.strengths),
            modes: self.modes.min(other.modes),
        }
    }

    /// Is this an encryption that the policy agrees to?
    #[must_use]
    pub const fn permits(&self, strength: Strength, mode: Mode) -> bool {
        !matches!(self.level, Level::Deny)
            && self.strengths.contains(strength)
            && self.modes.permit(mode)
    }

    /// Does it agree to data in the clear?
    #[must_use]
    pub const fn permits_clear(&self) -> bool {
        !matches!(self.level, Level::Require)
    }
}

impl Default for Policy {
    /// 128 bit, stateless, required.
    fn default() -> Self {
        Self::require(Strengths::BITS_128)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> impl Strategy<Value = Policy> {
        let level = prop_oneof![
            Just(Level::Deny),
            Just(Level::Allow),
            Just(Level::Prefer),
            Just(Level::Require)
        ];
        let modes = prop_oneof![Just(Modes::Stateless), Just(Modes::Any), Just(Modes::Stateful)];
        (level, 0_u8..8, modes).prop_map(|(level, set, modes)| Policy {
            level,
            strengths: Strengths(set),
            modes,
        })
    }

    proptest! {
        /// A second word on encryption may only make it stricter.
        #[test]
        fn what_is_tightened_is_never_weaker_than_either(a in policy(), b in policy()) {
            let both = a.tighten(b);
            prop_assert_eq!(both, b.tighten(a));
            for one in [a, b] {
                prop_assert!(both.level >= one.level);
                prop_assert!(one.permits_clear() || !both.permits_clear());
                for strength in ORDER {
                    for mode in [Mode::Stateless, Mode::Stateful] {
                        // Who denies encryption permits what is weaker than any of it.
                        let permitted = one.level == Level::Deny || one.permits(strength, mode);
                        prop_assert!(permitted || !both.permits(strength, mode));
                    }
                }
            }
            prop_assert_eq!(a.tighten(a), a);
        }
    }

    #[test]
    fn sets_are_shown_the_strongest_first() {
        assert_eq!(Strengths::ALL.to_string(), "MPPE-128/56/40");
        assert_eq!(Strengths::BITS_128.to_string(), "MPPE-128");
        assert_eq!(Strengths::NONE.to_string(), "MPPE");
    }
}
