//! CCP's one option: MPPE.
//!
//! Implements RFC 1962 §2 and RFC 3078 §2. Offers stateless mode only, no compression, and never
//! agrees to less than the policy allows.

use std::fmt;

use crate::mppe::Strength;

use super::frame::Protocol;
use super::negotiation::{Judgement, Policy as Negotiate, Settlement};
use super::options::{Opt, OptionList, Options};
use super::packet::code;

/// The option that negotiates MPPE and MPPC (RFC 3078 §2).
pub const MPPE: u8 = 18;
/// Bit H: stateless mode (RFC 3078 §2.1).
pub const STATELESS: u32 = 0x0100_0000;
/// Bits M, S and L: 56, 128 and 40 bit.
const STRENGTHS: [(Strength, u32); 3] =
    [(Strength::Bits128, 0x40), (Strength::Bits56, 0x80), (Strength::Bits40, 0x20)];

/// A set of key strengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Strengths(u32);

impl Strengths {
    /// No strength at all.
    pub const NONE: Self = Self(0);
    /// 128 bit alone.
    pub const BITS_128: Self = Self(0x40);
    /// All three.
    pub const ALL: Self = Self(0xE0);

    /// The set of these.
    #[must_use]
    pub fn of(strengths: &[Strength]) -> Self {
        Self(strengths.iter().fold(0, |set, &strength| set | bit(strength)))
    }

    /// Is this strength in the set?
    #[must_use]
    pub const fn contains(self, strength: Strength) -> bool {
        self.0 & bit(strength) != 0
    }

    /// What is in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The strongest in the set.
    #[must_use]
    pub fn strongest(self) -> Option<Strength> {
        STRENGTHS.into_iter().find(|&(_, bit)| self.0 & bit != 0).map(|(strength, _)| strength)
    }
}

impl fmt::Display for Strengths {
    /// `MPPE-128`, `MPPE-128/56/40`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names =
            [(Strength::Bits128, "128"), (Strength::Bits56, "56"), (Strength::Bits40, "40")]
                .into_iter()
                .filter(|&(strength, _)| self.contains(strength))
                .map(|(_, name)| name);
        write!(f, "MPPE-{}", names.collect::<Vec<_>>().join("/"))
    }
}

/// What an owner wants of encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// No encryption: CCP is refused as a whole.
    Deny,
    /// Stateless MPPE of one of these strengths, or no link.
    Require(Strengths),
}

impl Default for Policy {
    fn default() -> Self {
        Self::Require(Strengths::BITS_128)
    }
}

const fn bit(strength: Strength) -> u32 {
    match strength {
        Strength::Bits128 => 0x40,
        Strength::Bits56 => 0x80,
        Strength::Bits40 => 0x20,
    }
}

/// State of CCP's option.
#[derive(Debug, Clone)]
pub(crate) struct Ccp {
    allowed: Strengths,
    /// Of what the peer sends: what we ask for, `None` after a Reject (RFC 1962 §2: the option
    /// says what its sender can decompress).
    receive: Option<Strength>,
    /// Of what we send: what we acknowledged.
    send: Option<Strength>,
}

impl Ccp {
    pub(crate) fn new(allowed: Strengths) -> Self {
        Self { allowed, receive: allowed.strongest(), send: None }
    }

    pub(crate) const fn allowed(&self) -> Strengths {
        self.allowed
    }

    /// Strengths of what the peer sends and of what we send, once both are agreed.
    pub(crate) const fn agreed_strengths(&self) -> Option<(Strength, Strength)> {
        match (self.receive, self.send) {
            (Some(receive), Some(send)) => Some((receive, send)),
            _ => None,
        }
    }

    /// The strength that this option value stands for, if it is exactly what we allow: bit H and
    /// one strength (RFC 3078 §2.1), no bit C for compression.
    fn acceptable(&self, value: u32) -> Option<Strength> {
        STRENGTHS
            .into_iter()
            .map(|(strength, _)| strength)
            .find(|&strength| value == STATELESS | bit(strength))
            .filter(|&strength| self.allowed.contains(strength))
    }

    /// The strongest that we allow of what the value offers, else the strongest that we allow.
    fn proposal(&self, value: u32) -> Option<Strength> {
        let common = self.allowed.intersection(Strengths(value));
        common.strongest().or_else(|| self.allowed.strongest())
    }
}

fn value(strength: Strength) -> [u8; 4] {
    (STATELESS | bit(strength)).to_be_bytes()
}

impl Negotiate for Ccp {
    const PROTOCOL: Protocol = Protocol::CCP;

    fn knows(code: u8) -> bool {
        matches!(code, code::RESET_REQUEST | code::RESET_ACK)
    }

    fn request(&self) -> OptionList {
        let mut options = OptionList::new();
        if let Some(strength) = self.receive {
            options.push(MPPE, &value(strength));
        }
        options
    }

    fn judge(&mut self, option: Opt<'_>) -> Judgement {
        if option.kind != MPPE {
            return Judgement::Reject;
        }
        let bits = option.as_u32();
        if bits.is_some_and(|bits| self.acceptable(bits).is_some()) {
            return Judgement::Ack;
        }
        // MPPE with too many bits, MPPC's among them, is Naked, never Rejected (RFC 3078 §2.1).
        match self.proposal(bits.unwrap_or(0)) {
            Some(strength) => Judgement::Nak(value(strength).to_vec()),
            None => Judgement::Reject,
        }
    }

    fn missing(&self, request: Options<'_>) -> OptionList {
        let mut options = OptionList::new();
        if let (None, Some(strength)) = (request.find(MPPE), self.allowed.strongest()) {
            options.push(MPPE, &value(strength));
        }
        options
    }

    fn settle(&self, _unacceptable: bool) -> Settlement {
        Settlement::Fail
    }

    fn agreed(&mut self, request: Options<'_>) {
        self.send = request
            .find(MPPE)
            .and_then(|option| option.as_u32())
            .and_then(|bits| self.acceptable(bits));
    }

    fn naked(&mut self, option: Opt<'_>) {
        if option.kind == MPPE
            && let Some(bits) = option.as_u32()
            && let common = self.allowed.intersection(Strengths(bits))
            && let Some(strength) = common.strongest()
        {
            self.receive = Some(strength);
        }
    }

    fn rejected(&mut self, kind: u8) {
        if kind == MPPE {
            self.receive = None;
        }
    }
    fn is_hopeless(&self) -> bool {
        self.receive.is_none()
    }
}
